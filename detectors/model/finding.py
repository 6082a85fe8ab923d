"""Findings: what a model's monitor returns, which is alerts, requests to retrain, and references that were learned."""

from __future__ import annotations

import msgspec

from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from detectors.reference.feature_reference import FeatureReference


class ReferenceLearned(msgspec.Struct, frozen=True):
    """A segment has new references of features, which the stage that looks for outliers needs.

    Args:
        at: event time from which they are in force, epoch seconds; -inf if they were in force before a restart.
        features: feature -> reference, for all features of the segment.
    """

    model: str
    segment: str
    at: float
    features: dict[str, FeatureReference]


Finding = Alert | Request | ReferenceLearned
