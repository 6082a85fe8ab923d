"""Rows of each bucket of a reference -> the baseline of `volume`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from detectors.learning.fit_baseline import learn
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.learned import Calendar, FeatureBaseline
from detectors.reference.local_time import DAY_SECONDS, local_times
from detectors.reference.season import choose
from detectors.statistics import FLOOR

#: Least deviation of the log volume if the reference covers less than a week: a weekend may halve or double the traffic for
#: good, which must raise no alarm. Page and Hinkley's test allows half a standard deviation, and a baseline's spread is at least
#: half (detectors/learning/fit_baseline.py): log 2 times 4.
_UNKNOWN_WEEK = 4 * math.log(2)
_LEAST_BUCKETS = 8


def learn_volume(buckets: Sequence[tuple[float, int]], window_seconds: float, calendar: Calendar) -> FeatureBaseline | None:
    """Return the baseline of `volume` from (first second, rows) of buckets in order of time; None if they are too few."""
    if len(buckets) < _LEAST_BUCKETS:
        return None
    starts, rows = (np.array(column, dtype=np.float64) for column in zip(*buckets, strict=True))
    local = local_times(starts, calendar.timezone, calendar.holidays)
    (baseline,) = learn(
        choose(window_seconds, calendar.reference_seconds, local),
        window_seconds,
        starts=starts,
        local=local,
        values=np.log1p(rows)[:, None],
        within=np.ones(1),
        counts=np.maximum(1.0, rows)[:, None],
        floor=np.array([FLOOR]),
        least=_UNKNOWN_WEEK if calendar.reference_seconds < 7 * DAY_SECONDS else 0.0,
    )
    nothing = FeatureReference(quantiles=np.empty(0), shares={}, other=0.0, known={}, mean=float(rows.mean()))
    return FeatureBaseline(nothing, {"volume": baseline})
