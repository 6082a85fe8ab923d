"""How fast windows are judged: single features a second of CPU time, after the default reference, while nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.quality.budget.kinds import EventStream
from benchmarks.quality.budget.trial import BEGIN, BudgetTrial, Size

#: What has to be reached, and what is aimed at.
LEAST_PER_SECOND, AIM_PER_SECOND = 50_000.0, 200_000.0
_KIND = "gaussian"
_JUDGED_SECONDS = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Speed:
    """One measurement; `per_second` is of one core, since CPU time is that of all threads."""

    features: int
    judged: int
    per_second: float


def speed(size: Size, seed: int, tick: Callable[[float], None] = lambda _share: None) -> Speed:
    """Return how fast the windows of three hours are judged."""
    trial = BudgetTrial(size.spec, size.features)
    stream = EventStream(_KIND, size.features, begin=BEGIN, seed=seed)
    trial.run(stream, until=size.counted_from + _JUDGED_SECONDS, tick=tick)
    return Speed(size.features, trial.judged, trial.per_second)
