"""A monitor: one statistic of one feature, its baseline, its detector, and the dating of its alarms."""

from __future__ import annotations

import math

import msgspec

from detectors.baseline import Baseline
from detectors.budget import ALLOWANCE
from detectors.detector import DETECTORS, Armed, Arming, Direction, arm
from detectors.statistic import Measure, StatisticName

#: Recovery is a sequential test of "no shift" against the shift that raised the alarm: so much evidence
#: (log-likelihood ratio; a chance of about exp(-12) while the shift lasts), and so many windows at least.
_SURE = 12.0
_CALM_WINDOWS = 6
#: A shift larger than this, in standard deviations, is no better evidence.
_LARGEST_SHIFT = 4.0
#: Beyond this a window is not calm, on whichever side.
_FAR = 3.0


class Monitor(msgspec.Struct):
    """One statistic under watch.

    Args:
        feature: name of the feature.
        statistic: which statistic.
        detector: name in the table of detectors.
        direction: `up` alarms on rises only.
        baseline: turns the statistic into scores.
        threshold: from the budget, in standard deviations; 0 until its share is known.
        armed: the River detector; None until then.
    """

    feature: str
    statistic: StatisticName
    detector: str
    direction: Direction
    baseline: Baseline
    threshold: float = 0.0
    armed: Armed | None = None
    #: One-sided CUSUMs of the scores, where each last left zero (the estimated change point), and for how many windows.
    rise: float = 0.0
    rise_began: float = 0.0
    rise_windows: int = 0
    fall: float = 0.0
    fall_began: float = 0.0
    fall_windows: int = 0
    fired: bool = False
    #: Since the alarm: the lasting shift of the scores with its sign, the CUSUM that tests for its end, and how
    #: many windows in a row that has been above zero.
    shift: float = 0.0
    back: float = 0.0
    calm: int = 0

    @property
    def name(self) -> str:
        """Return the name by which the monitor is stored."""
        return f"{self.feature}/{self.statistic}"

    def take(self, threshold: float) -> None:
        """Take the threshold that follows from the budget now; arms a new monitor."""
        self.threshold = threshold
        if self.armed is None:
            self.rearm()
        elif DETECTORS[self.detector].budgeted:
            self.armed.river.threshold = threshold  # type: ignore[attr-defined]

    def exchange(self, detector: str) -> None:
        """Go on with a new detector of that name, against the same baseline."""
        self.detector = detector
        self.armed = arm(detector, Arming(self.name, self.threshold, self.baseline.windows, self.direction))

    def rearm(self) -> None:
        """Start detecting again from nothing, against the same baseline."""
        self.exchange(self.detector)
        self.rise = self.fall = self.shift = self.back = 0.0
        self.fired = False
        self.calm = 0

    def weigh(self, *, start: float, local: float, found: Measure, errors: tuple[int, int] | None) -> tuple[float, float] | None:
        """Judge one window; return (score, began_at) if it raised an alarm.

        Args:
            start: first second of the window, epoch seconds.
            local: the same in seconds of the local week.
            found: the statistic.
            errors: (errors, outcomes) of the window, for detectors that are fed outcomes.
        """
        score = self.baseline.score(start=start, local=local, value=found.value, count=found.count)
        self._date(score, start)
        if self.fired:
            self._look_for_recovery(score)
            return None
        alarm = self._update(score, errors)
        if not alarm:
            if abs(score) < 3.0:
                self.baseline.follow(local=local, value=found.value)
            return None
        upwards = self.rise >= self.fall
        if self.direction == "up" and not upwards:
            self.rearm()
            return None
        self.fired = True
        self.shift = self._lasting_shift(upwards=upwards)
        began = self.rise_began if upwards else self.fall_began
        return score, began if max(self.rise, self.fall) > 0 else start

    def _lasting_shift(self, *, upwards: bool) -> float:
        """Return by how much the scores will lie off zero while the change lasts, on the careful side.

        A step in a statistic of correlation c moves the first score by all of it and the others by a
        share of 1 - c, which is what whitening leaves of a level.
        """
        total, windows = (self.rise, self.rise_windows) if upwards else (self.fall, self.fall_windows)
        windows = max(1, windows)
        total += ALLOWANCE * windows
        left = 1 - self.baseline.correlation
        size = total * left / (1 + (windows - 1) * left) - 1 / math.sqrt(windows)
        return math.copysign(max(ALLOWANCE, min(_LARGEST_SHIFT, size)), 1 if upwards else -1)

    def _look_for_recovery(self, score: float) -> None:
        towards = math.copysign(score, score * self.shift) if abs(score) < _FAR else abs(score)
        self.back = max(0.0, self.back + abs(self.shift) / 2 - towards)
        self.calm = self.calm + 1 if self.back > 0 else 0

    def _update(self, score: float, errors: tuple[int, int] | None) -> bool:
        if self.armed is None:
            return False
        if DETECTORS[self.detector].feed == "scores":
            # No single window may page: two extreme ones in a row are needed to cross the threshold.
            limit = self.threshold / 2 + ALLOWANCE + 0.5
            return self.armed.update(max(-limit, min(limit, score)))
        wrong, total = errors or (0, 0)
        alarm = False
        for index in range(total):  # errors spread evenly over the window: its order is not kept
            alarm |= self.armed.update(int((index + 1) * wrong // total - index * wrong // total))
        return alarm

    def _date(self, score: float, start: float) -> None:
        if self.rise == 0.0:
            self.rise_began, self.rise_windows = start, 0
        if self.fall == 0.0:
            self.fall_began, self.fall_windows = start, 0
        self.rise_windows += 1
        self.fall_windows += 1
        bounded = max(-20.0, min(20.0, score))
        self.rise = max(0.0, self.rise + bounded - ALLOWANCE)
        self.fall = max(0.0, self.fall - bounded - ALLOWANCE)
        if self.direction == "up":  # a long improvement must not outweigh the rise that ends it
            self.fall = min(self.fall, self.threshold)

    @property
    def recovered(self) -> bool:
        """Whether a fired monitor has been back at its baseline for long enough."""
        return self.fired and self.calm >= _CALM_WINDOWS and self.back * abs(self.shift) >= _SURE
