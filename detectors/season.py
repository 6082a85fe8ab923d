"""What a statistic is expected to be at a time of day or week.

Chosen by the width of a window and the length of the reference, and stated by name:

=============  =========================================  ==========================
name           what it is                                 needs
=============  =========================================  ==========================
constant       the mean                                   nothing
daily          a constant and 4 daily harmonics           windows < 30 min, 3 days,
                                                          no gap of 3 hours in the day
slot-of-day    a mean for each slot of the day, smoothed  windows < 1 day, 3 days
slot-of-week   a mean for each slot of the week, smoothed windows <= 1 day, 4 weeks
=============  =========================================  ==========================

Harmonics fitted to office hours alone would say anything about the night: hence the gap, half the period
of the shortest one. A slot that was never seen is expected to be like the mean of all.

Times are in the model's own time zone: when its clocks change, the slots change with them. With a calendar the time
of a public holiday is that of a Sunday, which only slots of the week tell from other days.
"""

from __future__ import annotations

import math
import operator
from datetime import datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from detectors.calendar import weekday
from detectors.sample import Floats

DAY_SECONDS = 86_400.0
_WEEK_SECONDS = 7 * DAY_SECONDS
_HARMONICS = 4
_LARGEST_GAP_SECONDS = DAY_SECONDS / _HARMONICS / 2
#: How far a slot of the week follows what is seen there, each week.
_GAIN = 0.15
#: 31 December 9999 at 00:00 UTC: behind it some clocks are in a year that there is no date for.
_LAST_MOMENT = 253_402_214_400.0

SeasonName = Literal["constant", "daily", "slot-of-day", "slot-of-week"]


def local_seconds(ts: float, timezone: str, holidays: str = "") -> float:
    """Return seconds since Monday 00:00 on the wall clock of the zone; on a public holiday, those of the day it is like.

    Args:
        ts: epoch seconds.
        timezone: by its name in the time zone database.
        holidays: calendar of public holidays, as detectors/calendar.py names them; empty for none.

    >>> local_seconds(0.0, "UTC")  # 1 January 1970 was a Thursday
    259200.0
    >>> local_seconds(1_777_593_600.0, "UTC"), local_seconds(1_777_593_600.0, "UTC", "DE")  # Friday, 1 May 2026
    (345600.0, 518400.0)
    """
    when = datetime.fromtimestamp(min(ts, _LAST_MOMENT), ZoneInfo(timezone))
    day = weekday(when.date(), holidays) if holidays else when.weekday()
    return day * DAY_SECONDS + when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6


def local_times(starts: Floats, timezone: str, holidays: str = "") -> Floats:
    """Return `local_seconds` of each of many times, shape (w,)."""
    return np.array([local_seconds(ts, timezone, holidays) for ts in starts.tolist()], dtype=np.float64)


def choose(window_seconds: float, reference_seconds: float, local: Floats) -> SeasonName:
    """Return the season that the reference is long enough for.

    Args:
        window_seconds: width of a window.
        reference_seconds: length of the reference.
        local: local times of its windows, seconds of the week, shape (w,).
    """
    days = reference_seconds / DAY_SECONDS
    if window_seconds < 1800:
        return "daily" if days >= 3 and _largest_gap(local) < _LARGEST_GAP_SECONDS else "constant"
    if window_seconds <= DAY_SECONDS and days >= 28:
        return "slot-of-week"
    if window_seconds < DAY_SECONDS and days >= 3:
        return "slot-of-day"
    return "constant"


def _largest_gap(local: Floats) -> float:
    times = np.sort(local % DAY_SECONDS)
    return float(np.diff(times, append=times[:1] + DAY_SECONDS).max(initial=0.0)) if len(times) else DAY_SECONDS


class Season(msgspec.Struct):
    """The expectation of one statistic.

    Args:
        name: which of the table.
        window_seconds: width of a window; a slot is one window wide.
        parameters: coefficients, or one mean a slot.
    """

    name: SeasonName
    window_seconds: float
    parameters: list[float]

    @property
    def period_seconds(self) -> float:
        """Length of the cycle."""
        return _WEEK_SECONDS if self.name == "slot-of-week" else DAY_SECONDS

    def _slot(self, local: float) -> int:
        return int((local % self.period_seconds) // self.window_seconds) % len(self.parameters)

    def expect(self, local: float) -> float:
        """Return the expected value at `local` seconds of the local week."""
        if self.name == "constant":
            return self.parameters[0]
        if self.name == "daily":
            return math.fsum(map(operator.mul, _harmonics_at(local), self.parameters))  # the same in every Python
        return self.parameters[self._slot(local)]

    def follow(self, local: float, value: float) -> None:
        """Let a slot of the week move towards what was seen there; other seasons stay as learned."""
        if self.name == "slot-of-week":
            slot = self._slot(local)
            self.parameters[slot] += _GAIN * (value - self.parameters[slot])


def _harmonics(local: Floats) -> Floats:
    angle = 2 * np.pi * (local % DAY_SECONDS) / DAY_SECONDS
    waves = [wave(order * angle) for order in range(1, _HARMONICS + 1) for wave in (np.sin, np.cos)]
    return np.column_stack([np.ones_like(angle), *waves])


@lru_cache(maxsize=256)
def _harmonics_at(local: float) -> tuple[float, ...]:
    """Return the harmonics at one time: all statistics of a window ask for the same."""
    return tuple(_harmonics(np.array([local]))[0].tolist())


def fit(name: SeasonName, window_seconds: float, local: Floats, values: Floats) -> tuple[Season, int]:
    """Return the season fitted to values, shape (w,), at local times, shape (w,), and its parameters' number."""
    if name == "constant":
        return Season(name, window_seconds, [float(values.mean())]), 1
    if name == "daily":
        coefficients, *_ = np.linalg.lstsq(_harmonics(local), values, rcond=None)
        return Season(name, window_seconds, [float(value) for value in coefficients]), len(coefficients)
    period = _WEEK_SECONDS if name == "slot-of-week" else DAY_SECONDS
    slots = max(1, int(period // window_seconds))
    index = ((local % period) // window_seconds).astype(np.intp) % slots
    total = np.bincount(index, weights=values, minlength=slots)
    count = np.bincount(index, minlength=slots).astype(np.float64)
    if slots > 7:  # smoothed over the neighbours; days of the week are not alike
        total = total + np.roll(total, 1) + np.roll(total, -1)
        count = count + np.roll(count, 1) + np.roll(count, -1)
    means = np.where(count > 0, total / np.maximum(count, 1), values.mean())
    used = max(1, round(slots / 3)) if slots > 7 else slots
    return Season(name, window_seconds, [float(mean) for mean in means]), used
