"""What a model's monitor returns: alerts, requests to retrain, references that were learned."""

from __future__ import annotations

import msgspec

from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.reference.feature_reference import FeatureReference


class ReferenceLearned(msgspec.Struct, frozen=True):
    """A segment got a reference for features: what the outlier scorer needs.

    Args:
        at: event time from which it holds, epoch seconds.
        features: feature -> reference, the whole set of the segment.
    """

    model: str
    segment: str
    at: float
    features: dict[str, FeatureReference]


Finding = Alert | Request | ReferenceLearned
