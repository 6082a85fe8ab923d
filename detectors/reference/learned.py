"""The result of learning: reference and baselines of a feature, and the calendar they rest on."""

from __future__ import annotations

import msgspec

from detectors.reference.baseline import Baseline
from detectors.reference.feature_reference import FeatureReference
from detectors.statistics import StatisticName


class FeatureBaseline(msgspec.Struct, frozen=True):
    """Reference and baselines of one feature; `rollup_width` is the number of windows that are merged before they are judged."""

    reference: FeatureReference
    baselines: dict[StatisticName, Baseline]
    #: `stride` in files, whose version is a hash of their content.
    rollup_width: int = msgspec.field(default=1, name="stride")


class Calendar(msgspec.Struct, frozen=True):
    """The time of a reference: its length in seconds, and the time zone and public holidays that define its days."""

    reference_seconds: float
    timezone: str
    holidays: str
