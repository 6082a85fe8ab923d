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
    """Give every monitor of some segments its part of the model's false-alarm budget.

    Args:
        spec: of the model.
        judges: of the segments, all of one kind of windows.
        share: part of the budget that this kind of windows has, 0 to 1.
    """
    allowed = share * spec.false_alarms_per_week
    every, fast = sides_of(judges)
    for judge in judges:
        monitors = judge.monitors
        if not monitors.watched.any():  # a restart shares the budget too, and must change nothing
            continue
        monitors.threshold = threshold(false_alarms_per_week=allowed, window_seconds=judge.seconds, sides=every)
        monitors.limit = math.inf
        if DETECTORS[monitors.detector].budgeted:
            monitors.limit = fast_limit(false_alarms_per_week=allowed, window_seconds=judge.seconds, sides=fast)


def sides_of(judges: Iterable[Judge]) -> tuple[float, float]:
    """Return how many sides the monitors of some segments have in a bucket: in all, and with a fast path.

    A monitor that alarms on rises and falls has two sides, the others have one. With a roll-up width of k, a monitor has a
    window in every kth bucket only, so its sides count 1 / k.
    """
    every = fast = 0.0
    for judge in judges:
        monitors = judge.monitors
        sides = np.where(monitors.watched, 2.0 - monitors.up, 0.0) / judge.rollup.rollup_widths
        every += float(sides.sum())
        fast += float((sides * monitors.fast).sum())
    return every, fast
