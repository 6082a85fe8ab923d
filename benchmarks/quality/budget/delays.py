"""How soon a change in one feature of many raises an alarm, and what alarms that ignore the data would reach.

Rules:
1. A delay is the end of the window that raised the verdict of the changed feature, less the time of the change. A change
   that raises no alarm while it lasts is missed.
2. A median is of all changes of a sort; one that was missed counts as later than all others. So there is none
   where half are missed.
3. A floor has to name the feature as well: `every` names every feature in turn, each once in `_EVERY_SECONDS`; `random` names
   features at random, as many as Driftline did. What they cost in false alarms stands beside them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.quality.budget.changes import APART_SECONDS, CHANGES, LAST_SECONDS, Injected, altering, schedule
from benchmarks.quality.budget.kinds import EventStream
from benchmarks.quality.budget.trial import BEGIN, BudgetTrial, Size
from benchmarks.quality.scoring import random_share, regular_share
from detectors.judging.verdict import Verdict
from detectors.reference.local_time import WEEK_SECONDS

#: Before the first change and after the last.
_CALM_SECONDS = 1800.0
_EVERY_SECONDS = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Floor:
    """What alarms that ignore the data reach: features alerted a week, share of changes missed, median delay."""

    alerted_per_week: float
    missed: float
    median_s: float | None


@dataclass(frozen=True, slots=True)
class Delays:
    """What was found on one kind of stream.

    Args:
        found: change -> for each time that it was made seconds until its alarm, None if it was missed.
        alerted: verdicts in all.
        elsewhere: verdicts on a feature that was not changed at that time.
        weeks: from the reference to the end.
        per_second: windows of single features judged in a second of CPU time.
    """

    kind: str
    features: int
    found: dict[str, list[float | None]]
    alerted: int
    elsewhere: int
    weeks: float
    per_second: float

    def missed(self, change: str) -> float:
        """Return the share of these changes that was missed."""
        return sum(delay is None for delay in self.found[change]) / max(1, len(self.found[change]))

    def median(self, change: str) -> float | None:
        """Return the median delay in seconds (rule 2)."""
        return median(self.found[change])

    @property
    def floors(self) -> dict[str, Floor]:
        """What alarms that ignore the data would reach in the same time (rule 3)."""
        rate = self.alerted / self.features / self.weeks / WEEK_SECONDS
        share = random_share(rate, LAST_SECONDS)
        # By then alarms of that rate have found half of all changes.
        half = math.log(2.0) / rate if share > 0.5 else None
        every = f"every {_EVERY_SECONDS / 3600:g} h"
        left_out = 1.0 - regular_share(_EVERY_SECONDS, LAST_SECONDS)
        return {
            "never": Floor(0.0, 1.0, None),
            every: Floor(self.features * WEEK_SECONDS / _EVERY_SECONDS, left_out, _EVERY_SECONDS / 2),
            "random": Floor(self.alerted / self.weeks, 1.0 - share, half),
        }


def delays(kind: str, size: Size, seed: int, tick: Callable[[float], None] = lambda _share: None) -> Delays:
    """Change each feature of a model once, and return how soon each change raised an alarm."""
    spec = size.spec
    injected = schedule(size.features, begin=size.counted_from + _CALM_SECONDS, window_seconds=spec.window_seconds, seed=seed)
    until = size.counted_from + size.features * APART_SECONDS + LAST_SECONDS + 2 * _CALM_SECONDS
    trial = BudgetTrial(spec, size.features)
    stream = EventStream(kind, size.features, begin=BEGIN, seed=seed)
    trial.run(stream, until=until, alter=altering(injected, kind, seed), tick=tick)
    verdicts = trial.verdicts
    found: dict[str, list[float | None]] = {name: [] for name in CHANGES}
    for one, delay in zip(injected, delays_of(injected, verdicts), strict=True):
        found[one.change].append(delay)
    caught = sum(delay is not None for every in found.values() for delay in every)
    weeks = (until - size.counted_from) / WEEK_SECONDS
    return Delays(kind, size.features, found, len(verdicts), len(verdicts) - caught, weeks, trial.per_second)


def delays_of(injected: Sequence[Injected], verdicts: Sequence[Verdict]) -> list[float | None]:
    """Return for each change how long the first verdict on its feature took, None if there was none while it lasted (rule 1)."""
    times: dict[str, list[float]] = {}
    for verdict in verdicts:
        times.setdefault(verdict.feature, []).append(verdict.at)
    mine = ((one, times.get(f"f{one.feature}", ())) for one in injected)
    return [min((at - one.at for at in every if one.at < at <= one.until), default=None) for one, every in mine]


def median(delays: Sequence[float | None]) -> float | None:
    """Return the median where None is later than everything else; None if that is where it falls.

    >>> median([60.0, None, 90.0]), median([60.0, None, None])
    (90.0, None)
    """
    middle = statistics.median(math.inf if delay is None else delay for delay in delays) if delays else math.inf
    return middle if math.isfinite(middle) else None
