"""Statistics of a window -> standard scores: about N(0, 1) and white while nothing changes.

Every statistic of every feature is a cell, rows by statistic and columns by feature; all arrays here are of shape (S, F).
What a cell expects comes from its baseline; beside it stands what it was last, from which the next one is whitened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.arrays import Floats, widened
from detectors.measure.measure import Measures
from detectors.reference.baseline import Baseline, steady
from detectors.reference.local_time import DAY_SECONDS
from detectors.reference.season import SWINGS, Flags, Seasons, swing_at
from detectors.statistics import STATISTICS

#: Time constant of the slow level that slots of the week follow, in seconds.
_SLOW_SECONDS = 21 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Moment:
    """When a window is: its first second, epoch seconds and in seconds of the local week, and its width."""

    start: float
    local: float
    seconds: float


class Scores(msgspec.Struct):
    """The baselines in force, as arrays by cell.

    Args:
        seasons: expectation by time.
        between: variance between windows.
        within: variance within a window, to be divided by its number of events.
        floor: least standard deviation, times the number of events.
        correlation: of a window with the one before it.
        spread: long-run standard deviation of the whitened statistic.
        windows: how many reference windows each was learned from; 0 for a cell without a baseline.
        last: residual of the last window, in standard deviations; it began at `last_start`.
        level: slow level of a statistic around its season.
        swings: daily harmonics of the log of the deviation, shape (12, S, F).
    """

    seasons: Seasons
    between: np.ndarray
    within: np.ndarray
    floor: np.ndarray
    correlation: np.ndarray
    spread: np.ndarray
    windows: np.ndarray
    last: np.ndarray
    last_start: np.ndarray
    level: np.ndarray
    swings: np.ndarray

    @classmethod
    def empty(cls, window_seconds: float) -> Scores:
        """Return scores without a column."""
        shape = (len(STATISTICS), 0)
        arrays = {name: np.zeros(shape) for name in _FIGURES}
        return cls(Seasons.empty(window_seconds, shape), **arrays, swings=np.zeros((SWINGS, *shape)))

    def widen(self, columns: int) -> None:
        """Add so many columns without a baseline."""
        self.seasons.widen(columns)
        for name in _FIGURES:
            setattr(self, name, widened(getattr(self, name), columns))
        self.swings = widened(self.swings, columns)

    def set(self, cell: tuple[int, int], baseline: Baseline | None) -> None:
        """Let a cell have a baseline, or none."""
        if baseline is None:
            self.windows[cell] = 0.0
            self.seasons.clear(cell)
            return
        self.seasons.set(cell, baseline.season)
        for name in _LEARNED:
            getattr(self, name)[cell] = getattr(baseline, name)
        self.level[cell] = 0.0
        self.swings[(slice(None), *cell)] = baseline.swing or 0.0

    def expected(self, local: float) -> Floats:
        """Return what each statistic is expected to be at `local` seconds of the local week."""
        return np.asarray(self.seasons.expect(local) + self.level)

    def score(self, moment: Moment, measured: Measures, expected: Floats, due: Flags) -> Floats:
        """Return the standard score of each statistic, NaN where there is none.

        Args:
            moment: when the window was; windows must come in order.
            measured: the statistics.
            expected: what they were expected to be.
            due: which cells are to be scored; of the others nothing changes.
        """
        due = due & (self.windows > 0) & ~np.isnan(measured.value)
        count = measured.count
        deviation = np.maximum(np.sqrt(self.between + self.within / count), self.floor / count)
        if self.swings.any():
            deviation *= swing_at(moment.local, self.swings)
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = (measured.value - expected) / deviation
            gap = (moment.start - self.last_start) / moment.seconds
            carried = self.correlation
            whitened = residual - carried * self.last
            late = due & (gap > 1.0)
            if late.any():
                carried = self.correlation[late] ** gap[late]
                whitened[late] = (residual[late] - carried * self.last[late]) * steady(self.correlation[late], carried)
            scores = whitened / self.spread
        self.last[due] = residual[due]
        self.last_start[due] = moment.start
        scores[~due] = np.nan
        return np.asarray(scores)

    def follow(self, moment: Moment, measured: Measures, expected: Floats, calm: Flags) -> None:
        """Let seasons of the week follow what is normal: the statistics of those cells."""
        slots = calm & self.seasons.are("slot-of-week")
        cells = slots | (calm & self.seasons.are("weekly"))
        if cells.any():
            of_season = expected - self.level
            share = min(1.0, self.seasons.window_seconds / _SLOW_SECONDS)
            self.level[slots] += share * (measured.value - expected)[slots]
            self.seasons.follow(moment.local, measured.value - self.level - of_season, cells, moment.seconds)


#: Arrays of `Scores` of shape (S, F) that come from a baseline, under the same name; and all of that shape.
_LEARNED: Sequence[str] = ("between", "within", "floor", "correlation", "spread", "windows", "last", "last_start")
_FIGURES: Sequence[str] = (*_LEARNED, "level")
