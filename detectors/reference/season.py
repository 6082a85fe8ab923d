"""What a statistic is expected to be at a time of day or week.

Chosen by the width of a window and the length of the reference, and stated by name:

=============  =========================================  ==========================
name           what it is                                 needs
=============  =========================================  ==========================
constant       the mean                                   nothing
daily          a constant and 6 daily harmonics           windows < 30 min, 3 days,
                                                          no gap of 2 hours in the day
weekly         a constant and 42 weekly harmonics, every  windows < 30 min, 2 weeks,
               seventh of them a daily one                no gap of 2 hours in the week
slot-of-day    a mean for each slot of the day, smoothed  windows < 1 day, 3 days
slot-of-week   a mean for each slot of the week, smoothed windows <= 1 day, 4 weeks
=============  =========================================  ==========================

What harmonics round off, a day that begins at a stroke, is expected besides: by half hour, where all cycles miss it alike.
Harmonics fitted to office hours alone would say anything about the night: hence the gap, half the period
of the shortest one. A slot that was never seen is expected to be like the mean of all. What a season of the week expects
follows what is seen, a seventh of the way in a week.

Times are in the model's own time zone: when its clocks change, the slots change with them. With a calendar the time
of a public holiday is that of a Sunday, which only seasons of the week tell from other days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.reference.holidays import weekday
from detectors.windows.sample import Floats

DAY_SECONDS = 86_400.0
_WEEK_SECONDS = 7 * DAY_SECONDS
_HARMONICS = 6
#: Orders of the week that are none of the day, up to the same shortest period.
_OF_WEEK = tuple(order for order in range(1, 7 * _HARMONICS + 1) if order % 7)
#: Coefficients of a swing: a sine and a cosine for each daily harmonic.
SWINGS = 2 * _HARMONICS
#: From this width on a window is a slot of the day or of the week.
COARSE_SECONDS = 1800.0
_LARGEST_GAP_SECONDS = DAY_SECONDS / _HARMONICS / 2
#: A harmonic explains more than this many times the noise, or it is left out: chi-square with two degrees, one in 2,000.
_BY_CHANCE = 15.0
#: Correlation of neighbours up to which noise is taken to be louder in slow harmonics; a variance that rounding alone has.
_MOST_PERSISTENT, _ROUNDING = 0.98, 1e-20
#: Nothing is learned from how much smaller than this, in standard deviations, something is.
_LEAST_SCALED = 0.1
#: How far a season of the week follows what is seen, each week.
_GAIN = 0.15
#: 31 December 9999 at 00:00 UTC: behind it some clocks are in a year that there is no date for.
_LAST_MOMENT = 253_402_214_400.0

SeasonName = Literal["constant", "daily", "slot-of-day", "slot-of-week", "weekly"]
#: Their order stands in snapshots.
SEASON_NAMES: tuple[SeasonName, ...] = ("constant", "daily", "slot-of-day", "slot-of-week", "weekly")
#: Those that tell one day of the week from another, and follow it.
OF_WEEK: tuple[SeasonName, ...] = ("slot-of-week", "weekly")
#: Length of the cycle of each season that has one, in seconds; those that are slots alone, and those of harmonics.
PERIODS: dict[SeasonName, float] = {
    "daily": DAY_SECONDS,
    "weekly": _WEEK_SECONDS,
    "slot-of-day": DAY_SECONDS,
    "slot-of-week": _WEEK_SECONDS,
}
_SLOTTED: tuple[SeasonName, ...] = ("slot-of-day", "slot-of-week")
HARMONIC: tuple[SeasonName, ...] = ("daily", "weekly")

Flags = NDArray[np.bool_]


def local_seconds(ts: float, timezone: str, holidays: str = "") -> float:
    """Return seconds since Monday 00:00 on the wall clock of the zone; on a public holiday, those of the day it is like.

    Args:
        ts: epoch seconds.
        timezone: by its name in the time zone database.
        holidays: calendar of public holidays, as detectors/reference/holidays.py names them; empty for none.

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
    if window_seconds < COARSE_SECONDS:
        if days >= 14 and _largest_gap(local, _WEEK_SECONDS) < _LARGEST_GAP_SECONDS:
            return "weekly"
        return "daily" if days >= 3 and _largest_gap(local, DAY_SECONDS) < _LARGEST_GAP_SECONDS else "constant"
    if window_seconds <= DAY_SECONDS and days >= 28:
        return "slot-of-week"
    if window_seconds < DAY_SECONDS and days >= 3:
        return "slot-of-day"
    return "constant"


def _largest_gap(local: Floats, period: float) -> float:
    times = np.sort(local % period)
    return float(np.diff(times, append=times[:1] + period).max(initial=0.0)) if len(times) else period


class Season(msgspec.Struct, frozen=True):
    """The expectation of one statistic, as it was learned.

    Args:
        name: which of the table.
        window_seconds: width of a window; a slot is one window wide.
        parameters: coefficients, or one mean a slot.
        steps: what harmonics miss in each half hour of the cycle, empty where they miss nothing.
    """

    name: SeasonName
    window_seconds: float
    parameters: list[float]
    steps: list[float] = []

    @property
    def mean(self) -> float:
        """What is expected on average over the cycle: harmonics are as often above as below the constant, which comes first."""
        if self.name in _SLOTTED:
            return sum(self.parameters) / len(self.parameters)
        return self.parameters[0] + sum(self.steps) / max(1, len(self.steps))


class Seasons(msgspec.Struct):
    """The expectations of many statistics, which follow what is seen where their season has slots of the week.

    Args:
        window_seconds: width of a slot.
        names: of each cell, places in `SEASON_NAMES`, shape (S, F).
        waves: constants and daily harmonics, shape (13, S, F); zeros where a season has slots.
        weeks: the other harmonics of the week, shape (72, S, F); empty where no season has them.
        slots: by the name of a season, of those that occur: means of slots, or steps beside harmonics, shape (slots, S, F);
            zeros of other seasons.
    """

    window_seconds: float
    names: np.ndarray
    waves: np.ndarray
    slots: dict[SeasonName, np.ndarray] = {}
    weeks: np.ndarray = np.zeros(0)

    @classmethod
    def none(cls, window_seconds: float, shape: tuple[int, int]) -> Seasons:
        """Return expectations of zero."""
        return cls(window_seconds, np.zeros(shape), np.zeros((1 + 2 * _HARMONICS, *shape)))

    def set(self, cell: tuple[int, int], season: Season) -> None:
        """Let a cell have a season."""
        self.clear(cell)
        self.names[cell] = SEASON_NAMES.index(season.name)
        slots = season.parameters if season.name in _SLOTTED else season.steps
        if slots:
            table = self.slots.setdefault(season.name, np.zeros((len(slots), *self.names.shape)))
            table[(slice(None), *cell)] = slots
        if season.name in _SLOTTED:
            return
        daily, others = season.parameters[: len(self.waves)], season.parameters[len(self.waves) :]
        self.waves[(slice(0, len(daily)), *cell)] = daily
        if others:
            if not len(self.weeks):
                self.weeks = np.zeros((len(others), *self.names.shape))
            self.weeks[(slice(None), *cell)] = others

    def clear(self, cell: tuple[int, int]) -> None:
        """Let a cell expect nothing."""
        self.names[cell] = 0.0
        self.waves[(0, *cell)] = 0.0
        for table in self._cycles():
            table[(slice(None), *cell)] = 0.0

    def _cycles(self) -> Iterator[np.ndarray]:
        """Yield what depends on the time, arrays whose first axis is not that of cells."""
        yield self.waves[1:]
        yield from self.slots.values()
        if len(self.weeks):
            yield self.weeks

    def cyclic(self) -> Flags:
        """Tell which cells expect something else at another time, shape (S, F)."""
        return np.asarray(np.logical_or.reduce([(table != 0).any(axis=0) for table in self._cycles()]))

    def widen(self, columns: int) -> None:
        """Add so many columns that expect nothing."""
        self.names, self.waves = widened(self.names, columns), widened(self.waves, columns)
        self.slots = {name: widened(table, columns) for name, table in self.slots.items()}
        self.weeks = widened(self.weeks, columns) if len(self.weeks) else self.weeks

    def _slot(self, name: SeasonName, local: float) -> int:
        width = self.window_seconds if name in _SLOTTED else COARSE_SECONDS
        return int((local % PERIODS[name]) // width) % len(self.slots[name])

    def expect(self, local: float) -> Floats:
        """Return what is expected at `local` seconds of the local week, shape (S, F)."""
        expected: Floats = self.waves[0].copy()
        if self.names.any():
            # Wave by wave: the same sum in every process, which a product of matrices is not.
            for wave, coefficients in self._heard(local):
                expected += wave * coefficients
            for name, table in self.slots.items():
                expected += table[self._slot(name, local)]
        return expected

    def _heard(self, local: float) -> Iterator[tuple[float, Floats]]:
        """Yield each harmonic at a time, and the coefficients that cells have of it, to be changed in place."""
        return zip(_harmonics_at(local)[1:], (*self.waves[1:], *self.weeks), strict=False)

    def follow(self, local: float, missed: Floats, cells: Flags, seconds: float) -> None:
        """Let the seasons of those cells move, by how far each was missed, shape (S, F), in a window that is so wide.

        A slot of the week goes `_GAIN` of the way. Harmonics of the week go so far in a week, those that a season has, by the
        least mean squares of Widrow and Hoff (1960); their constant stays, or a slow change would be followed and never found.
        """
        slots, waves = cells & self.are("slot-of-week"), cells & self.are("weekly")
        if slots.any():
            self.slots["slot-of-week"][self._slot("slot-of-week", local)][slots] += _GAIN * missed[slots]
        if waves.any():
            step = np.where(waves, 2 * _GAIN * seconds / _WEEK_SECONDS * missed, 0.0)
            for wave, coefficients in self._heard(local):
                np.add(coefficients, wave * step, out=coefficients, where=coefficients != 0.0)

    def are(self, name: SeasonName) -> Flags:
        """Tell which cells have a season of that name, shape (S, F)."""
        return np.asarray(self.names == SEASON_NAMES.index(name))


def widened(array: np.ndarray, columns: int) -> np.ndarray:
    """Return an array with so many columns of zeros more on its last axis."""
    return np.concatenate([array, np.zeros((*array.shape[:-1], columns))], axis=-1)


def _harmonics(name: SeasonName, local: Floats) -> Floats:
    """Return a constant, daily harmonics, and with `weekly` the others of the week, at each time, shape (w, 13) or (w, 85)."""
    day, week = (2 * np.pi * (local % period) / period for period in (DAY_SECONDS, _WEEK_SECONDS))
    orders = [(day, order) for order in range(1, _HARMONICS + 1)]
    if name == "weekly":
        orders += [(week, order) for order in _OF_WEEK]
    return np.column_stack([np.ones_like(day), *(wave(order * angle) for angle, order in orders for wave in (np.sin, np.cos))])


@lru_cache(maxsize=256)
def _harmonics_at(local: float) -> tuple[float, ...]:
    """Return all harmonics at one time: windows of all segments ask for the same."""
    return tuple(_harmonics("weekly", np.array([local]))[0].tolist())


def fit(name: SeasonName, window_seconds: float, local: Floats, values: Floats) -> tuple[list[Season], Floats, Floats]:
    """Return the seasons fitted to m statistics, what they expect, and how many parameters each has.

    Args:
        name: which season.
        window_seconds: width of a window.
        local: local times of the windows, shape (w,).
        values: the statistics, shape (w, m).
    """
    means: Floats
    expected: Floats
    steps: Floats = np.zeros((0, values.shape[1]))
    if name in _SLOTTED:
        means, expected, used = _slots(PERIODS[name], window_seconds, local, values)
    elif name == "constant":
        means = np.asarray(values.mean(axis=0, keepdims=True), dtype=np.float64)
        expected, used = np.broadcast_to(means, values.shape), np.ones(values.shape[1])
    else:
        means, expected, used = _told(_harmonics(name, local), values)
        steps = _steps(local % PERIODS[name], values - expected, used, slots=round(PERIODS[name] / COARSE_SECONDS))
        expected = expected + steps[(local % PERIODS[name] // COARSE_SECONDS).astype(np.intp)]
        used = used + (steps != 0).sum(axis=0)
    return (
        [
            Season(name, window_seconds, parameters, missed if any(missed) else [])
            for parameters, missed in zip(means.T.tolist(), steps.T.tolist(), strict=True)
        ],
        expected,
        used,
    )


def _told(waves: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return coefficients of p harmonics, shape (p, m), what they let expect, shape (w, m), and how many each uses, shape (m,).

    A harmonic that chance explains is left out: what it would add to the expectation is the same for hours, and tests that add
    up scores would take it for a change. Noise whose neighbours are alike is louder in slow harmonics than in all together.
    """
    gram, moments = waves.T @ waves, waves.T @ values
    means = found = _solved(gram, moments)
    explained = (np.square(means) * np.diag(gram)[:, None])[1:].reshape(-1, 2, len(means.T)).sum(axis=1)
    used = np.full(values.shape[1], float(len(gram)))
    # All harmonics together take some of the slow noise as well; so what is left by those that seem told is looked at again.
    for _ in range(2):
        told = explained > _BY_CHANCE * _noise(values - waves @ found, used)
        used = 1.0 + 2.0 * told.sum(axis=0)
        found = np.zeros_like(means)
        for pattern in np.unique(told, axis=1).T:
            mine = (told == pattern[:, None]).all(axis=0)
            chosen = np.concatenate(([True], np.repeat(pattern, 2)))
            found[np.ix_(chosen, mine)] = _solved(gram[np.ix_(chosen, chosen)], moments[np.ix_(chosen, mine)])
    return found, np.asarray(waves @ found), used


def _noise(left: Floats, used: Floats) -> Floats:
    """Return the variance that slow harmonics have of what is left, shape (w, m), by so many parameters; infinite without any."""
    power = np.square(left).sum(axis=0)
    freedom = len(left) - used
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = np.nan_to_num((left[1:] * left[:-1]).sum(axis=0) / power).clip(0.0, _MOST_PERSISTENT)
        return np.where(freedom > 0, np.maximum(power / freedom, _ROUNDING) * (1 + alike) / (1 - alike), np.inf)


def _steps(phase: Floats, left: Floats, used: Floats, *, slots: int) -> Floats:
    """Return what m statistics miss in each half hour of a cycle, shape (slots, m); zero where chance explains it.

    Harmonics round off what begins at a stroke, and miss it again in every cycle. Told is what is missed in nearly all cycles on
    the same side: as much as in the lower half of them. So what happened once is no step.

    Args:
        phase: seconds since the cycle began, of windows in order of time, shape (w,).
        left: what harmonics miss, shape (w, m).
        used: parameters of each.
        slots: half hours in a cycle.
    """
    period = slots * COARSE_SECONDS
    apart = (np.diff(phase, prepend=phase[:1]) + period / 2) % period - period / 2  # clocks are set back at times
    cycle = np.maximum(0, np.cumsum(apart) // period).astype(np.intp)
    cycles = int(cycle.max()) + 1
    place = cycle * slots + (phase // COARSE_SECONDS).astype(np.intp)
    begins = np.flatnonzero(np.diff(place, prepend=-1))
    total = np.zeros((cycles * slots, left.shape[1]))
    np.add.at(total, place[begins], np.add.reduceat(left, begins, axis=0))
    counts = np.bincount(place, minlength=cycles * slots)
    missed = (total / np.where(counts, counts, np.nan)[:, None]).reshape(cycles, slots, -1)
    seen = (counts.reshape(cycles, slots) > 0).sum(axis=0)[:, None]
    alike = np.maximum((missed > 0).sum(axis=0), (missed < 0).sum(axis=0)) >= np.maximum(2, seen - seen // 4)
    windows = np.maximum(1, counts.reshape(cycles, slots).sum(axis=0))[:, None]
    mean = total.reshape(cycles, slots, -1).sum(axis=0) / windows
    told = alike & (np.square(mean) * windows > _BY_CHANCE * _noise(left, used))
    lower = np.broadcast_to(np.maximum(0, seen - 1) // 2, mean.shape)[None]
    usual = np.take_along_axis(np.sort(np.abs(missed), axis=0), lower, axis=0)[0]
    return np.where(told, np.copysign(usual, mean), 0.0)


def swing_at(local: float, coefficients: Floats) -> Floats:
    """Return by how much the time of day widens each cell, shape (S, F); coefficients as `fit_swing` found them, (12, S, F)."""
    logs = np.zeros(coefficients.shape[1:])
    for wave, mine in zip(_harmonics_at(local)[1 : 1 + SWINGS], coefficients, strict=True):
        logs += wave * mine
    return np.exp(logs)


def fit_swing(local: Floats, scaled: Floats) -> tuple[Floats, Floats]:
    """Return by how much the time of day widens what is left after the season: log harmonics, shape (12, m), and factors, (w, m).

    Args:
        local: local times of the windows, shape (w,).
        scaled: what is left of m statistics, in standard deviations, shape (w, m).
    """
    means, expected, _ = _told(_harmonics("daily", local), np.log(np.maximum(np.abs(scaled), _LEAST_SCALED)))
    return means[1:], np.exp(expected - means[0])


def _solved(gram: Floats, moments: Floats) -> Floats:
    """Return what least squares give, from the harmonics' products with each other and with the values."""
    return np.asarray(np.linalg.lstsq(gram, moments, rcond=None)[0], dtype=np.float64)


def _slots(period: float, window_seconds: float, local: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean of each slot, shape (slots, m), what is expected, shape (w, m), and the parameters that it counts as."""
    slots = max(1, int(period // window_seconds))
    index = ((local % period) // window_seconds).astype(np.intp) % slots
    total = np.zeros((slots, values.shape[1]))
    np.add.at(total, index, values)
    count = np.bincount(index, minlength=slots).astype(np.float64)[:, None]
    if slots > 7:  # smoothed over the neighbours; days of the week are not alike
        total = total + np.roll(total, 1, axis=0) + np.roll(total, -1, axis=0)
        count = count + np.roll(count, 1, axis=0) + np.roll(count, -1, axis=0)
    means = np.where(count > 0, total / np.maximum(count, 1), values.mean(axis=0))
    used = max(1, round(slots / 3)) if slots > 7 else slots
    return means, means[index], np.full(values.shape[1], float(used))
