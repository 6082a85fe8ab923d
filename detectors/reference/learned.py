"""What is learned of a feature while all is well."""

from __future__ import annotations

import msgspec

from detectors.reference.baseline import Baseline
from detectors.reference.feature_reference import FeatureReference
from detectors.statistics import StatisticName


class FeatureBaseline(msgspec.Struct, frozen=True):
    """What came of it for one feature; `rollup_width` is how many windows are merged before they are judged."""

    reference: FeatureReference
    baselines: dict[StatisticName, Baseline]
    #: `stride` in files, whose version is a hash of their content.
    rollup_width: int = msgspec.field(default=1, name="stride")


class Calendar(msgspec.Struct, frozen=True):
    """How a reference sees time: its length in seconds, and where its days begin."""

    reference_seconds: float
    timezone: str
    holidays: str
