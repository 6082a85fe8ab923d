"""Recovery: when the change that raised an alarm is over.

From its alarm on, a monitor runs a sequential test of "no shift" against the shift that raised the alarm. All arrays are of
shape (S, F), rows by statistic and columns by feature, as in detectors/judging/monitors.py.

Rules:
1. It takes much evidence that the shift is over, and a few windows at least; so what lasts does not flap.
2. Evidence is measured against how much the scores vary since the alarm, because a change may change that as well.
3. Where the baseline has a daily cycle, a change may show at some hours only. There the shift must stay away for a whole day.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats, widened
from detectors.judging.budget import ALLOWANCE

#: A score counts up to this, in standard deviations, wherever scores are added up to date a change or to measure their noise.
LARGEST_SCORE = 20.0
#: Evidence that a recovery needs, a log-likelihood ratio: while the shift lasts, a chance of about exp(-12) reaches it.
_SURE = 12.0
#: Windows in a row that a recovery needs.
_CALM_WINDOWS = 6
#: Windows over which the noise of the scores is averaged at most.
_NOISE_WINDOWS = 200.0
#: The noise of n windows is taken to be larger by this share of itself, divided by the root of n.
_NOISE_DOUBT = 2.0
#: The known shift comes from windows that raised an alarm, so it may be overestimated. After a recovery the scores must lie,
#: on average, closer to zero than to the smallest shift that counts.
_NEAR = ALLOWANCE / 2
#: Share of the needed evidence that one window can take away at most, where the shift must stay away for a cycle.
_MOST_LOST = 0.6
#: A window whose score is beyond this, on either side, is not calm.
_FAR = 3.0


class RecoveryStage(IntEnum):
    """How far the recovery of a monitor has come since its alarm."""

    #: The evidence for a recovery is not there, or the shift has taken it back.
    SHIFTED = 0
    #: The evidence is there, and the cycle of the baseline is not over yet.
    RECOVERING = 1
    #: The evidence is there, and has lasted for a whole cycle.
    RECOVERED = 2


class Recovery(msgspec.Struct):
    """State of the tests; all but `fired` is zero where no alarm stands.

    Args:
        fired: whether an alarm stands, bool.
        shift: lasting shift of the scores, with its sign, in standard deviations.
        back: CUSUM of the evidence that the shift is over.
        calm: windows in a row in which that CUSUM was above zero.
        lasted: windows since the alarm.
        noise: variance of the scores since the alarm, around a level that may step.
        cycle: seconds that the shift must stay away for; 0 where the baseline has no cycle.
        away_since: first second of the window in which the CUSUM left zero, epoch seconds.
        stage: a `RecoveryStage`, int8.
    """

    fired: np.ndarray
    shift: np.ndarray
    back: np.ndarray
    calm: np.ndarray
    lasted: np.ndarray
    noise: np.ndarray
    cycle: np.ndarray
    away_since: np.ndarray
    stage: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Recovery:
        """Return tests of which none runs."""
        floats: dict[str, Any] = {name: np.zeros(shape) for name in _FLOATS}
        return cls(fired=np.zeros(shape, dtype=np.bool_), stage=np.zeros(shape, dtype=np.int8), **floats)

    def widen(self, columns: int) -> None:
        """Add so many columns without an alarm."""
        for name in _ARRAYS:
            setattr(self, name, widened(getattr(self, name), columns))

    def begin(self, cells: Flags, shift: Floats, cycle: Floats) -> None:
        """Begin to test some cells, which have just raised an alarm.

        Args:
            cells: shape (S, F).
            shift: of the scores, with its sign, in standard deviations, shape (S, F).
            cycle: seconds, 0 without one, shape (S, F).
        """
        self.fired[cells] = True
        self.shift[cells] = shift[cells]
        self.cycle[cells] = cycle[cells]

    def clear(self, cells: Flags) -> None:
        """Forget the alarms of some cells."""
        for name in _ARRAYS:
            getattr(self, name)[cells] = 0

    def test(self, scores: Floats, previous: Floats, start: float, cells: Flags) -> None:
        """Take the scores of one window.

        Args:
            scores: shape (S, F).
            previous: of the window before, shape (S, F).
            start: first second of the window, epoch seconds.
            cells: those with an alarm and a score, shape (S, F).
        """
        if not cells.any():
            return
        score, shift = scores[cells], self.shift[cells]
        size = np.abs(shift)
        lasted, noise = self.lasted[cells], self.noise[cells]
        needed = _SURE * np.maximum(1.0, noise * (1 + _NOISE_DOUBT / np.sqrt(np.maximum(1.0, lasted)))) / size
        # Half the squared difference of neighbours (von Neumann 1941) estimates the variance; a step counts in it only once.
        step = np.clip(score, -LARGEST_SCORE, LARGEST_SCORE) - np.clip(previous[cells], -LARGEST_SCORE, LARGEST_SCORE)
        self.lasted[cells] = lasted + 1
        self.noise[cells] = noise + (np.square(step) / 2 - noise) / np.minimum(lasted + 1, _NOISE_WINDOWS)

        before, away = self.back[cells], self.stage[cells] > RecoveryStage.SHIFTED
        towards = np.where(np.abs(score) < _FAR, np.copysign(score, score * shift), np.abs(score))
        towards = np.where(self.cycle[cells] > 0, np.minimum(towards, size / 2 + _MOST_LOST * needed), towards)
        back = np.maximum(0.0, before + size / 2 - towards)
        calm = np.where(back > 0, self.calm[cells] + 1, 0.0)
        left = size / 2 - back / np.maximum(1.0, calm)
        away = (back > 0) & (away | ((back >= needed) & (calm >= _CALM_WINDOWS) & (left <= _NEAR)))
        since = np.where(before > 0, self.away_since[cells], start)
        # Capped here, so that as much evidence for the shift ends the recovery as was needed to begin it.
        self.back[cells] = np.where(away, np.minimum(back, needed), back)
        self.calm[cells], self.away_since[cells] = calm, since
        reached = np.where(start - since >= self.cycle[cells], RecoveryStage.RECOVERED, RecoveryStage.RECOVERING)
        self.stage[cells] = np.where(away, reached, RecoveryStage.SHIFTED)

    @property
    def over(self) -> Flags:
        """Which alarms are over: the cells are back at their baseline for long enough, shape (S, F)."""
        return np.asarray(self.fired & (self.stage == RecoveryStage.RECOVERED))


_FLOATS: Sequence[str] = ("shift", "back", "calm", "lasted", "noise", "cycle", "away_since")
_ARRAYS: Sequence[str] = ("fired", *_FLOATS, "stage")
