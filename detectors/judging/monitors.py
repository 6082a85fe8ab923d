"""Monitors of a segment: scores -> alarms, and the date of the change. One monitor is one statistic of one feature.

All arrays are of shape (S, F), rows by statistic and columns by feature, as in detectors/judging/scores.py. Every step is a few
array operations for all monitors together. When a change is over is decided in detectors/judging/recovery.py.

Page and Hinkley's test is River's `PageHinkley(min_instances=1, delta=ALLOWANCE, alpha=1)`, written for arrays;
tests/detectors/test_monitors.py compares the two. Other detectors are River's own objects, one for each monitor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats, widened
from detectors.judging.budget import ALLOWANCE
from detectors.judging.detectors import DETECTORS, Armed, Arming, Direction, arm
from detectors.judging.recovery import LARGEST_SCORE, Recovery
from detectors.judging.scores import Scores
from detectors.reference.baseline import Baseline
from detectors.reference.local_time import DAY_SECONDS
from detectors.statistics import STATISTICS

#: A larger shift, in standard deviations, is no better evidence of anything.
_LARGEST_SHIFT = 4.0

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm of one cell.

    Args:
        cell: row of the statistic, column of the feature.
        score: of the window that raised it, in standard deviations.
        began_at: first second of the window in which the change began, epoch seconds.
    """

    cell: Cell
    score: float
    began_at: float


class Monitors(msgspec.Struct):
    """The monitors of a segment.

    Args:
        detector: name in the table of detectors.
        direction: `up` alarms on rises only, whatever the statistic.
        scores: the baselines; a cell without a baseline is not watched.
        threshold: of Page and Hinkley's test, from the budget, in standard deviations; infinite until the budget is shared.
        limit: of the fast path, in standard deviations; infinite until the budget is shared.
        recovery: the alarms that stand, and whether their change is over.
        up: whether only rises raise an alarm, bool.
        fast: whether two windows alone may raise an alarm, bool.
    """

    detector: str
    direction: Direction
    scores: Scores
    threshold: float
    limit: float
    recovery: Recovery
    up: np.ndarray
    fast: np.ndarray
    #: Page and Hinkley's test: number and mean of the scores, and the sums of rises and falls with their extremes.
    count: np.ndarray
    mean: np.ndarray
    increase: np.ndarray
    least: np.ndarray
    decrease: np.ndarray
    most: np.ndarray
    #: CUSUM of rises; where it last left zero (the estimated change point, epoch seconds); and the windows since then.
    rise: np.ndarray
    rise_began: np.ndarray
    rise_windows: np.ndarray
    #: The same for falls.
    fall: np.ndarray
    fall_began: np.ndarray
    fall_windows: np.ndarray
    #: Score of the window before; 0 without one.
    previous: np.ndarray
    #: `statistic/column` -> River's object, for detectors that have one.
    river: dict[str, Armed] = {}

    @classmethod
    def empty(cls, detector: str, direction: Direction, window_seconds: float) -> Monitors:
        """Return monitors without a column."""
        shape = (len(STATISTICS), 0)
        arrays: dict[str, Any] = {name: np.zeros(shape, dtype=np.bool_) for name in _FLAGS}
        arrays |= {name: np.zeros(shape) for name in _FLOATS}
        scores, recovery = Scores.empty(window_seconds), Recovery.empty(shape)
        return cls(detector, direction, scores, math.inf, math.inf, recovery, **arrays)

    @property
    def watched(self) -> Flags:
        """Which cells have a baseline, shape (S, F)."""
        return np.asarray(self.scores.windows > 0)

    def widen(self, columns: int) -> None:
        """Add so many columns that are not watched."""
        self.scores.widen(columns)
        self.recovery.widen(columns)
        for name in (*_FLAGS, *_FLOATS):
            setattr(self, name, widened(getattr(self, name), columns))

    def set(self, cell: Cell, baseline: Baseline | None, *, up: bool = False) -> None:
        """Watch a cell against a baseline, or no longer, and start from nothing."""
        self.scores.set(cell, baseline)
        self.up[cell] = up or self.direction == "up"
        self.fast[cell] = baseline is not None and baseline.fast
        self.river.pop(_name(cell), None)
        only = np.zeros(self.up.shape, dtype=np.bool_)
        only[cell] = True
        self.rearm(only)

    def exchange(self, detector: str) -> None:
        """Go on with new detectors of that name, against the same baselines; an alarm stands until its recovery."""
        self.detector = detector
        self.river = {}
        self._reset(np.ones(self.up.shape, dtype=np.bool_))

    def rearm(self, cells: Flags) -> None:
        """Start detecting again from nothing, against the same baselines."""
        self._reset(cells)
        self.recovery.clear(cells)
        for name in ("rise", "fall", "previous"):
            getattr(self, name)[cells] = 0.0
        for statistic, column in np.argwhere(cells).tolist():
            self.river.pop(_name((statistic, column)), None)

    def _reset(self, cells: Flags) -> None:
        # The test compares scores with their running mean. Scores are centred, so it begins with the reference's own mean;
        # otherwise the first windows after a change would be the norm.
        self.count[cells] = self.scores.windows[cells]
        for name in ("mean", "increase", "least", "decrease", "most"):
            getattr(self, name)[cells] = 0.0

    def weigh(self, start: float, scores: Floats, errors: Sequence[tuple[int, int]] | None = None) -> list[Raised]:
        """Take the scores of one window and return the alarms that it raised, in order of column and statistic.

        Args:
            start: first second of the window, epoch seconds.
            scores: shape (S, F), NaN where there is no score.
            errors: (errors, outcomes) of the window for each column, for detectors that are fed outcomes.
        """
        there = ~np.isnan(scores)
        scores = np.where(there, scores, 0.0)
        self._date(scores, start, there)
        waiting = there & ~self.recovery.fired
        self.recovery.test(scores, self.previous, start, there & self.recovery.fired)
        if DETECTORS[self.detector].budgeted:
            alarmed = self._page_hinkley(scores, waiting)
        else:
            alarmed = self._ask_river(scores, waiting, errors)
        upwards = self.rise >= self.fall
        fast = waiting & self.fast & (np.minimum(np.abs(scores), np.abs(self.previous)) > self.limit)
        fast &= (scores * self.previous > 0) & ((scores > 0) | ~self.up)
        self.previous = np.where(there, scores, self.previous)
        if not (alarmed.any() or fast.any()):
            return []
        upwards = np.where(fast & ~alarmed, scores > 0, upwards)
        better = alarmed & ~upwards & self.up
        if better.any():
            self.rearm(better)
        alarmed = (alarmed & ~better) | fast
        return self.fire(alarmed, upwards, scores, start)

    def fire(self, cells: Flags, upwards: Flags, scores: Floats, start: float) -> list[Raised]:
        """Let some cells raise an alarm, and return the alarms in order of column.

        Args:
            cells: shape (S, F).
            upwards: whether the change of each cell is a rise, shape (S, F).
            scores: shape (S, F).
            start: date of a change whose CUSUMs are both zero, epoch seconds.
        """
        # Where the expectation or the spread depends on the time of day, a change may show at some hours only.
        cyclic = self.scores.seasons.cyclic() | (self.scores.swings != 0).any(axis=0)
        self.recovery.begin(cells, self._lasting_shift(upwards), DAY_SECONDS * cyclic)
        height = np.maximum(self.rise, self.fall)
        began = np.where(height > 0, np.where(upwards, self.rise_began, self.fall_began), start)
        by_column = np.argwhere(cells.T).tolist()
        return [Raised((row, column), float(scores[row, column]), float(began[row, column])) for column, row in by_column]

    def _lasting_shift(self, upwards: Flags) -> Floats:
        """Return how far the scores will lie from zero while the change lasts, shape (S, F): a cautious, low estimate.

        In a statistic with correlation c, whitening passes a step in full to the first score, and a share of 1 - c of it to
        the others.
        """
        windows = np.maximum(1.0, np.where(upwards, self.rise_windows, self.fall_windows))
        total = np.where(upwards, self.rise, self.fall) + ALLOWANCE * windows
        left = 1 - self.scores.correlation
        size = total * left / (1 + (windows - 1) * left) - 1 / np.sqrt(windows)
        return np.asarray(np.where(upwards, 1.0, -1.0) * np.clip(size, ALLOWANCE, _LARGEST_SHIFT))

    def _page_hinkley(self, scores: Floats, cells: Flags) -> Flags:
        # No single window may page: only two extreme windows in a row can cross the threshold.
        cap = self.threshold / 2 + ALLOWANCE + 0.5
        value = np.clip(scores, -cap, cap)
        here = cells.astype(np.float64)  # nothing moves elsewhere
        self.count += here
        self.mean += here * (value - self.mean) / np.maximum(self.count, 1.0)
        deviation = value - self.mean
        self.increase += here * (deviation - ALLOWANCE)
        self.decrease += here * (deviation + ALLOWANCE)
        np.minimum(self.least, self.increase, out=self.least)
        np.maximum(self.most, self.decrease, out=self.most)
        rises = self.increase - self.least > self.threshold
        falls = (self.most - self.decrease > self.threshold) & ~self.up
        return np.asarray(cells & (rises | falls))

    def _ask_river(self, scores: Floats, cells: Flags, errors: Sequence[tuple[int, int]] | None) -> Flags:
        """Feed the River detectors: one object a cell, so this is as slow as the objects are."""
        alarmed = np.zeros(cells.shape, dtype=np.bool_)
        cap = self.threshold / 2 + ALLOWANCE + 0.5
        for row, column in np.argwhere(cells).tolist():
            armed = self._armed((row, column))
            if DETECTORS[self.detector].feed == "scores":
                alarmed[row, column] = armed.update(max(-cap, min(cap, float(scores[row, column]))))
                continue
            wrong, total = errors[column] if errors else (0, 0)
            for index in range(total):  # a window does not keep the order of its outcomes: errors are spread evenly
                alarmed[row, column] |= armed.update(int((index + 1) * wrong // total - index * wrong // total))
        return alarmed

    def _armed(self, cell: Cell) -> Armed:
        name = _name(cell)
        if name not in self.river:
            windows = int(self.scores.windows[cell])
            direction: Direction = "up" if self.up[cell] else "both"
            self.river[name] = arm(self.detector, Arming(name, self.threshold, windows, direction))
        return self.river[name]

    def _date(self, scores: Floats, start: float, there: Flags) -> None:
        bounded = np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE)
        for sign, sums, began, lasted in (
            (1.0, self.rise, self.rise_began, self.rise_windows),
            (-1.0, self.fall, self.fall_began, self.fall_windows),
        ):
            begins = there & (sums == 0.0)
            began[begins] = start
            lasted[begins] = 0.0
            np.add(lasted, 1.0, out=lasted, where=there)
            np.copyto(sums, np.maximum(0.0, sums + sign * bounded - ALLOWANCE), where=there)
        # A long improvement must not outweigh the rise that ends it.
        np.copyto(self.fall, np.minimum(self.fall, self.threshold), where=self.up)

    @property
    def evidence(self) -> Floats:
        """Evidence for a change that has raised no alarm yet: the CUSUM, 0 for cells without a baseline, shape (S, F)."""
        height = np.maximum(self.rise, np.where(self.up, 0.0, self.fall))
        return np.where(self.watched & ~self.recovery.fired, height, 0.0)


#: Arrays of `Monitors`, by type.
_FLAGS: Sequence[str] = ("up", "fast")
_FLOATS: Sequence[str] = (
    "count",
    "mean",
    "increase",
    "least",
    "decrease",
    "most",
    "rise",
    "rise_began",
    "rise_windows",
    "fall",
    "fall_began",
    "fall_windows",
    "previous",
)


def _name(cell: Cell) -> str:
    return f"{STATISTICS[cell[0]]}/{cell[1]}"
