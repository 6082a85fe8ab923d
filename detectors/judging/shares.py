"""How a model's budget of false alarms is shared among its monitors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from detectors.judging.budget import fast_limit, threshold
from detectors.judging.detectors import DETECTORS
from detectors.judging.judge import Judge
from detectors.spec import ModelSpec


def share_budget(spec: ModelSpec, judges: list[Judge], *, share: float) -> None:
    """Give every monitor of some segments its part of a share of the model's false-alarm budget."""
    allowed = share * spec.false_alarms_per_week
    every, fast = sides_of(judges)
    for judge in judges:
        monitors = judge.monitors
        if not monitors.watched.any():  # so that a restart, which shares the budget as well, changes nothing
            continue
        monitors.threshold = threshold(false_alarms_per_week=allowed, window_seconds=judge.seconds, sides=every)
        monitors.limit = math.inf
        if DETECTORS[monitors.detector].budgeted:
            monitors.limit = fast_limit(false_alarms_per_week=allowed, window_seconds=judge.seconds, sides=fast)


def sides_of(judges: Iterable[Judge]) -> tuple[float, float]:
    """Return how many sides the monitors of some segments have, in a bucket: all of them, and those with a fast path.

    A monitor of a feature whose stride is k has a window in every kth bucket only, and counts as much.
    """
    every = fast = 0.0
    for judge in judges:
        monitors = judge.monitors
        sides = np.where(monitors.watched, 2.0 - monitors.up, 0.0) / judge.rollup.rollup_widths
        every += float(sides.sum())
        fast += float((sides * monitors.fast).sum())
    return every, fast
