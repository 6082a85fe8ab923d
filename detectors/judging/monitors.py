"""Monitors of a segment: scores -> alarms, their dates, and their end. One monitor is one statistic of one feature.

All arrays are of shape (S, F), rows by statistic and columns by feature, as in detectors/judging/scores.py; all steps are a few
array operations for all monitors together.

Page and Hinkley's test is River's `PageHinkley(min_instances=1, delta=ALLOWANCE, alpha=1)`, written for arrays;
tests/detectors/test_monitors.py holds it to River's. Other detectors are River's own objects, one for each monitor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Floats, widened
from detectors.judging.budget import ALLOWANCE
from detectors.judging.detectors import DETECTORS, Armed, Arming, Direction, arm
from detectors.judging.scores import Scores
from detectors.reference.baseline import Baseline
from detectors.reference.local_time import DAY_SECONDS
from detectors.reference.season import Flags
from detectors.statistics import STATISTICS

#: Recovery is a sequential test of "no shift" against the shift that raised the alarm: so much evidence
#: (log-likelihood ratio; a chance of about exp(-12) while the shift lasts), and so many windows at least.
_SURE = 12.0
_CALM_WINDOWS = 6
#: A change of a rate changes the variance of its scores as well, and evidence is divided by that. It is known from so many
#: windows at most; of n windows it is taken to be larger by this share of itself, over the root of n.
_NOISE_WINDOWS, _NOISE_DOUBT = 200.0, 2.0
#: The shift that the test knows comes from windows that raised an alarm, and so may seem larger than it is. What is back lies,
#: on average, closer to zero than to the smallest shift that counts.
_NEAR = ALLOWANCE / 2
#: No single window takes away more than this of the evidence that is needed, where it has to last for a cycle.
_MOST_LOST = 0.6
#: A shift larger than this, in standard deviations, is no better evidence.
_LARGEST_SHIFT = 4.0
#: Beyond this a window is not calm, on whichever side.
_FAR = 3.0
#: Scores beyond this date a change no better.
_MOST_DATING = 20.0

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm of one cell: the score of the window, and the first second of the window in which the change began."""

    cell: Cell
    score: float
    began_at: float


class Monitors(msgspec.Struct):
    """The monitors of a segment.

    Args:
        detector: name in the table of detectors.
        direction: `up` alarms on rises only, whatever the statistic.
        scores: the baselines; a cell without one is not watched.
        threshold: of Page and Hinkley's test, from the budget, in standard deviations; infinite until its share is known.
        limit: of the fast path, in standard deviations; infinite until then.
    """

    detector: str
    direction: Direction
    scores: Scores
    threshold: float
    limit: float
    #: 1 where only rises alarm, and where two windows may do so.
    up: np.ndarray
    fast: np.ndarray
    #: Page and Hinkley's test: values and their mean, and the sums of rises and falls with their extremes.
    count: np.ndarray
    mean: np.ndarray
    increase: np.ndarray
    least: np.ndarray
    decrease: np.ndarray
    most: np.ndarray
    #: One-sided CUSUMs of the scores, where each last left zero (the estimated change point), and for how many windows.
    rise: np.ndarray
    rise_began: np.ndarray
    rise_windows: np.ndarray
    fall: np.ndarray
    fall_began: np.ndarray
    fall_windows: np.ndarray
    #: Score of the window before; 0 without one.
    previous: np.ndarray
    #: 1 after an alarm. Since then: the lasting shift of the scores with its sign, the CUSUM that tests for its end, and how
    #: many windows in a row that has been above zero.
    fired: np.ndarray
    shift: np.ndarray
    back: np.ndarray
    calm: np.ndarray
    #: Since the alarm: how many windows, and the variance of their scores around a level that may step.
    lasted: np.ndarray
    noise: np.ndarray
    #: Length of the cycle that a season has, in seconds, 0 without one: the shift has to stay away for so long. The window in
    #: which the CUSUM left zero; and 1 once there was enough evidence, until there is as much for the shift again, 2 once all
    #: of the cycle has passed.
    cycle: np.ndarray
    away_since: np.ndarray
    away: np.ndarray
    #: `statistic/place of the column` -> River's object, of detectors that have one.
    river: dict[str, Armed] = {}

    @classmethod
    def empty(cls, detector: str, direction: Direction, window_seconds: float) -> Monitors:
        """Return monitors without a column."""
        shape = (len(STATISTICS), 0)
        arrays: dict[str, Any] = {name: np.zeros(shape) for name in _ARRAYS}
        return cls(detector, direction, Scores.empty(window_seconds), math.inf, math.inf, **arrays)

    @property
    def watched(self) -> Flags:
        """Which cells have a baseline, shape (S, F)."""
        return np.asarray(self.scores.windows > 0)

    def widen(self, columns: int) -> None:
        """Add so many columns that are not watched."""
        self.scores.widen(columns)
        for name in _ARRAYS:
            setattr(self, name, widened(getattr(self, name), columns))

    def set(self, cell: Cell, baseline: Baseline | None, *, up: bool = False) -> None:
        """Watch a cell against a baseline, or no longer, and start from nothing."""
        self.scores.set(cell, baseline)
        self.up[cell] = float(up or self.direction == "up")
        self.fast[cell] = float(baseline is not None and baseline.fast)
        self.river.pop(_name(cell), None)
        only = np.zeros(self.up.shape, dtype=np.bool_)
        only[cell] = True
        self.rearm(only)

    def exchange(self, detector: str) -> None:
        """Go on with new detectors of that name against the same baselines; what has fired stays so until it has recovered."""
        self.detector = detector
        self.river = {}
        self._reset(np.ones(self.up.shape, dtype=np.bool_))

    def rearm(self, cells: Flags) -> None:
        """Start detecting again from nothing, against the same baselines."""
        self._reset(cells)
        for name in ("rise", "fall", "previous", *_OF_ALARMS):
            getattr(self, name)[cells] = 0.0
        for statistic, column in np.argwhere(cells).tolist():
            self.river.pop(_name((statistic, column)), None)

    def _reset(self, cells: Flags) -> None:
        # The test judges against the running mean of what it was fed. The scores are centred, so it begins with the
        # reference's own mean, or its first windows after a change would be the norm.
        self.count[cells] = self.scores.windows[cells]
        for name in ("mean", "increase", "least", "decrease", "most"):
            getattr(self, name)[cells] = 0.0

    def weigh(self, start: float, scores: Floats, errors: Sequence[tuple[int, int]] | None = None) -> list[Raised]:
        """Take the scores of one window and return the alarms that it raised, in order of column and statistic.

        Args:
            start: first second of the window, epoch seconds.
            scores: shape (S, F), NaN where there is none.
            errors: (errors, outcomes) of the window for each column, for detectors that are fed outcomes.
        """
        there = ~np.isnan(scores)
        scores = np.where(there, scores, 0.0)
        self._date(scores, start, there)
        fired = self.fired > 0
        waiting = there & ~fired
        self._look_for_recovery(scores, start, there & fired)
        if DETECTORS[self.detector].budgeted:
            alarmed = self._page_hinkley(scores, waiting)
        else:
            alarmed = self._ask_river(scores, waiting, errors)
        upwards = self.rise >= self.fall
        fast = waiting & (self.fast > 0) & (np.minimum(np.abs(scores), np.abs(self.previous)) > self.limit)
        fast &= (scores * self.previous > 0) & ((scores > 0) | (self.up == 0))
        self.previous = np.where(there, scores, self.previous)
        if not (alarmed.any() or fast.any()):
            return []
        upwards = np.where(fast & ~alarmed, scores > 0, upwards)
        better = alarmed & ~upwards & (self.up > 0)
        if better.any():
            self.rearm(better)
        alarmed = (alarmed & ~better) | fast
        return self.fire(alarmed, upwards, scores, start)

    def fire(self, cells: Flags, upwards: Flags, scores: Floats, start: float) -> list[Raised]:
        """Let some cells have raised an alarm, and return their alarms in order of column."""
        self.fired[cells] = 1.0
        self.shift[cells] = self._lasting_shift(upwards)[cells]
        # What changed where another time expects or varies something else may show at times only.
        cyclic = self.scores.seasons.cyclic() | (self.scores.swings != 0).any(axis=0)
        self.cycle[cells] = DAY_SECONDS * cyclic[cells]
        height = np.maximum(self.rise, self.fall)
        began = np.where(height > 0, np.where(upwards, self.rise_began, self.fall_began), start)
        places = np.argwhere(cells.T).tolist()
        return [Raised((row, column), float(scores[row, column]), float(began[row, column])) for column, row in places]

    def _lasting_shift(self, upwards: Flags) -> Floats:
        """Return by how much the scores will lie off zero while the change lasts, on the careful side.

        A step in a statistic of correlation c moves the first score by all of it and the others by a
        share of 1 - c, which is what whitening leaves of a level.
        """
        windows = np.maximum(1.0, np.where(upwards, self.rise_windows, self.fall_windows))
        total = np.where(upwards, self.rise, self.fall) + ALLOWANCE * windows
        left = 1 - self.scores.correlation
        size = total * left / (1 + (windows - 1) * left) - 1 / np.sqrt(windows)
        return np.asarray(np.where(upwards, 1.0, -1.0) * np.clip(size, ALLOWANCE, _LARGEST_SHIFT))

    def _look_for_recovery(self, scores: Floats, start: float, cells: Flags) -> None:
        if not cells.any():
            return
        score, shift = scores[cells], self.shift[cells]
        size = np.abs(shift)
        lasted, noise = self.lasted[cells], self.noise[cells]
        needed = _SURE * np.maximum(1.0, noise * (1 + _NOISE_DOUBT / np.sqrt(np.maximum(1.0, lasted)))) / size
        # Half the square of the difference of neighbours (von Neumann 1941): the end of a shift counts in it only once.
        stepped = np.clip(score, -_MOST_DATING, _MOST_DATING) - np.clip(self.previous[cells], -_MOST_DATING, _MOST_DATING)
        self.lasted[cells] = lasted + 1
        self.noise[cells] = noise + (np.square(stepped) / 2 - noise) / np.minimum(lasted + 1, _NOISE_WINDOWS)

        before, away = self.back[cells], self.away[cells] > 0
        towards = np.where(np.abs(score) < _FAR, np.copysign(score, score * shift), np.abs(score))
        towards = np.where(self.cycle[cells] > 0, np.minimum(towards, size / 2 + _MOST_LOST * needed), towards)
        back = np.maximum(0.0, before + size / 2 - towards)
        calm = np.where(back > 0, self.calm[cells] + 1, 0.0)
        left = size / 2 - back / np.maximum(1.0, calm)
        away = (back > 0) & (away | ((back >= needed) & (calm >= _CALM_WINDOWS) & (left <= _NEAR)))
        since = np.where(before > 0, self.away_since[cells], start)
        # From here on it takes as much evidence to take it back.
        self.back[cells] = np.where(away, np.minimum(back, needed), back)
        self.calm[cells], self.away_since[cells] = calm, since
        self.away[cells] = np.where(away, np.where(start - since >= self.cycle[cells], 2.0, 1.0), 0.0)

    def _page_hinkley(self, scores: Floats, cells: Flags) -> Flags:
        # No single window may page: two extreme ones in a row are needed to cross the threshold.
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
        falls = (self.most - self.decrease > self.threshold) & (self.up == 0)
        return np.asarray(cells & (rises | falls))

    def _ask_river(self, scores: Floats, cells: Flags, errors: Sequence[tuple[int, int]] | None) -> Flags:
        """Feed the River detectors; there is one object for each cell, so this is as slow as these are."""
        alarmed = np.zeros(cells.shape, dtype=np.bool_)
        cap = self.threshold / 2 + ALLOWANCE + 0.5
        for row, column in np.argwhere(cells).tolist():
            armed = self._armed((row, column))
            if DETECTORS[self.detector].feed == "scores":
                alarmed[row, column] = armed.update(max(-cap, min(cap, float(scores[row, column]))))
                continue
            wrong, total = errors[column] if errors else (0, 0)
            for index in range(total):  # errors spread evenly over the window: its order is not kept
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
        bounded = np.clip(scores, -_MOST_DATING, _MOST_DATING)
        for sign, sums, began, lasted in (
            (1.0, self.rise, self.rise_began, self.rise_windows),
            (-1.0, self.fall, self.fall_began, self.fall_windows),
        ):
            anew = there & (sums == 0.0)
            began[anew] = start
            lasted[anew] = 0.0
            np.add(lasted, 1.0, out=lasted, where=there)
            np.copyto(sums, np.maximum(0.0, sums + sign * bounded - ALLOWANCE), where=there)
        # A long improvement must not outweigh the rise that ends it.
        np.copyto(self.fall, np.minimum(self.fall, self.threshold), where=self.up > 0)

    @property
    def recovered(self) -> Flags:
        """Which cells fired and have been back at their baseline for long enough, shape (S, F)."""
        return np.asarray((self.fired > 0) & (self.away > 1))

    @property
    def evidence(self) -> Floats:
        """How much speaks for a change that has raised no alarm yet: the CUSUM, 0 where nothing is watched, shape (S, F)."""
        height = np.maximum(self.rise, np.where(self.up > 0, 0.0, self.fall))
        return np.where(self.watched & (self.fired == 0), height, 0.0)


#: Arrays of `Monitors` that say something about an alarm alone.
_OF_ALARMS = ("fired", "shift", "back", "calm", "lasted", "noise", "cycle", "away_since", "away")
#: Arrays of `Monitors`.
_ARRAYS: Sequence[str] = Monitors.__struct_fields__[5:-1]


def _name(cell: Cell) -> str:
    return f"{STATISTICS[cell[0]]}/{cell[1]}"
