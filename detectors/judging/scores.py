"""Statistics of a window -> standard scores: about N(0, 1) and white while nothing changes.

Every statistic of every feature is a cell, rows by statistic and columns by feature; all arrays here are of shape (S, F). The
expectation of a cell comes from its baseline. The last residual of a cell is kept as well: the next residual is whitened with it.
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

#: Time constant with which the level of a season by slots of the week follows the statistic, in seconds.
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
        windows: how many reference windows the baseline was learned from; 0 for a cell without a baseline.
        last: residual of the last window, in standard deviations; that window began at `last_start`, epoch seconds.
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
        """Give a cell a baseline, or none."""
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
        """Return the expected value of each statistic at `local` seconds of the local week, shape (S, F)."""
        return np.asarray(self.seasons.expect(local) + self.level)

    def score(self, moment: Moment, measured: Measures, expected: Floats, due: Flags) -> Floats:
        """Return the standard score of each statistic, shape (S, F), NaN for a cell that is not scored.

        Args:
            moment: of the window; windows must come in order.
            measured: the statistics.
            expected: their expected values, shape (S, F).
            due: cells to score, shape (S, F); the others do not change.
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
        """Let the seasons of the week of some cells follow their statistics, which are normal in this window."""
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
