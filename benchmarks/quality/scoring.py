"""How alarms are scored against known changes, and what alarms that know nothing would score.

Rules:
1. Every table carries floors: never an alarm, one every N, as many at random. What does not beat them detects nothing.
2. A change and an alarm belong to each other at most once: ten alarms at one change are one hit and nine that are false.
3. F1 and covering are those of the Turing change point benchmark (van den Burg and Williams 2020): the first row is a
   change point for everybody, and annotators count alike. So `never` has points too, and they are shown.
4. Changes and alarms are positions in the same unit, rows or seconds. Within a margin an alarm may stand before its change;
   a delay, and what is found within a time, count only alarms that come after it.
5. Where a change has an interval in which it is to be found, an alarm there is a hit, more of them are repeats, and one
   elsewhere is false. A repeat is an alarm too many (rule 2); F1 without repeats stands beside it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np


def matched(changes: Sequence[float], alarms: Sequence[float], margin: float) -> int:
    """Return how many pairs of a change and an alarm within `margin` of it there can be, each used once.

    >>> matched([100, 200], [95, 104, 330], margin=5)
    1
    """
    waiting = sorted(alarms)
    pairs = place = 0
    for change in sorted(changes):
        while place < len(waiting) and waiting[place] < change - margin:
            place += 1
        if place < len(waiting) and waiting[place] <= change + margin:
            pairs += 1
            place += 1
    return pairs


def f1(annotators: Sequence[Sequence[int]], alarms: Sequence[int], margin: int) -> float:
    """Return F1: precision against what any annotator marked, recall as the mean over annotators (rule 3).

    >>> f1([[100, 200]], [102], margin=5), round(f1([[100, 200]], [], margin=5), 3)
    (0.8, 0.5)
    """
    ordered = sorted({0, *alarms})
    everything = sorted({0, *(change for changes in annotators for change in changes)})
    precision = matched(everything, ordered, margin) / len(ordered)
    recalls = [matched(mine, ordered, margin) / len(mine) for mine in (sorted({0, *changes}) for changes in annotators)]
    recall = sum(recalls) / len(recalls)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def covering(annotators: Sequence[Sequence[int]], alarms: Sequence[int], length: int) -> float:
    """Return how well the stretches between alarms cover those between changes, of `length` rows; 1 is perfect.

    Each true stretch counts by its rows and takes the best overlap (rows in both by rows in either).

    >>> covering([[50]], [50], 100), covering([[50]], [], 100)
    (1.0, 0.5)
    """
    ordered = _stretches(alarms, length)
    scores: list[float] = []
    for changes in annotators:
        total = 0.0
        for low, high in _stretches(changes, length):
            best = max((min(high, end) - max(low, begin)) / (max(high, end) - min(low, begin)) for begin, end in ordered)
            total += (high - low) * best
        scores.append(total / length)
    return sum(scores) / len(scores)


def _stretches(cuts: Sequence[int], length: int) -> list[tuple[int, int]]:
    return list(pairwise(sorted({0, length, *(cut for cut in cuts if 0 < cut < length)})))


def delays(changes: Sequence[float], alarms: Sequence[float], *, end: float, within: float = math.inf) -> list[float | None]:
    """Return for each change how long the first alarm after it took, None if it was missed.

    It is missed if the alarm does not come before the next change (or `end`), or takes longer than `within`.

    >>> delays([100, 200], [130, 140], end=300)
    [30, None]
    """
    ordered, known = sorted(alarms), sorted(changes)
    found: list[float | None] = []
    for change, following in pairwise([*known, end]):
        place = bisect_left(ordered, change)
        late = place == len(ordered) or ordered[place] >= following or ordered[place] - change > within
        found.append(None if late else ordered[place] - change)
    return found


@dataclass(frozen=True, slots=True)
class Episodes:
    """How alarms met intervals (rule 5); two of them add up.

    Args:
        delays: for each change rows from its begin to the first alarm in its interval, None if it was missed.
        repeats: more alarms in an interval.
        false: alarms in none.
        calm_rows: rows in no interval.
    """

    delays: list[float | None] = field(default_factory=list)
    repeats: float = 0
    false: float = 0
    calm_rows: int = 0

    def __add__(self, other: Episodes) -> Episodes:
        return Episodes(
            self.delays + other.delays, self.repeats + other.repeats, self.false + other.false, self.calm_rows + other.calm_rows
        )

    @property
    def hits(self) -> int:
        """How many changes were found."""
        return sum(delay is not None for delay in self.delays)

    @property
    def alarms(self) -> float:
        """How many alarms there were."""
        return self.hits + self.repeats + self.false

    @property
    def precision(self) -> float | None:
        """Share of the alarms that are hits, None without alarms."""
        return self.hits / self.alarms if self.alarms else None

    @property
    def recall(self) -> float:
        """Share of the changes that were found."""
        return self.hits / max(1, len(self.delays))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(1, len(self.delays) + self.alarms)

    @property
    def f1_but_for_repeats(self) -> float:
        """The same if repeats were no alarms."""
        return 2 * self.hits / max(1, len(self.delays) + self.hits + self.false)

    @property
    def false_per_100k(self) -> float:
        """False alarms in 100,000 rows that are in no interval."""
        return 100_000 * self.false / max(1, self.calm_rows)


def episodes(intervals: Sequence[tuple[int, int]], alarms: Sequence[float], *, length: int) -> Episodes:
    """Return how alarms met intervals, which are (begin, end], in order and apart, among `length` rows.

    >>> found = episodes([(100, 200), (400, 500)], [50, 130, 140, 300], length=1000)
    >>> found.delays, found.repeats, found.false, found.calm_rows
    ([30, None], 1, 2, 800)
    """
    ordered = sorted(alarms)
    delays: list[float | None] = []
    inside = 0
    for begin, end in intervals:
        first, behind = bisect_right(ordered, begin), bisect_right(ordered, end)
        delays.append(ordered[first] - begin if first < behind else None)
        inside += behind - first
    hits = sum(delay is not None for delay in delays)
    calm_rows = length - sum(end - begin for begin, end in intervals)
    return Episodes(delays, inside - hits, len(ordered) - inside, calm_rows)


def found_share(onsets: Sequence[float], alarms: Sequence[float], within: float) -> float:
    """Return the share of onsets with an alarm after them and not later than `within`, whatever raised it.

    >>> found_share([0, 100], [0, 130], within=50)
    0.5
    """
    ordered = sorted(alarms)
    hits = sum(bisect_right(ordered, onset) < bisect_right(ordered, onset + within) for onset in onsets)
    return hits / len(onsets) if onsets else 0.0


def random_share(rate: float, within: float) -> float:
    """Return the share of changes that alarms at random find, `rate` of them in a unit of time.

    >>> round(random_share(1 / 7, within=3), 2)
    0.35
    """
    return -math.expm1(-rate * within)


def regular_share(step: float, within: float) -> float:
    """Return the share of changes that one alarm every `step` finds.

    >>> regular_share(6, within=3)
    0.5
    """
    return min(1.0, within / step)


def every(step: int, *, begin: int, end: int) -> list[int]:
    """Return alarms every `step` rows, after the first of them from `begin` on.

    >>> every(100, begin=50, end=400)
    [150, 250, 350]
    """
    return list(range(begin + step, end, step))


def at_random(draw: np.random.Generator, count: int, *, begin: int, end: int) -> list[int]:
    """Return so many alarms at random rows from `begin` to before `end`, in order, no row twice."""
    return sorted((begin + draw.choice(end - begin, size=min(count, end - begin), replace=False)).tolist())
