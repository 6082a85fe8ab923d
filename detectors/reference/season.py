"""The expected value of a statistic at a time of day or week.

The width of a window and the length of the reference decide which season is fitted:

=============  =========================================  ==========================
name           expected value                             needs
=============  =========================================  ==========================
constant       the mean                                   nothing
daily          a constant and 6 daily harmonics           windows < 30 min, 3 days,
                                                          no gap of 2 hours in the day
weekly         a constant and 42 weekly harmonics, every  windows < 30 min, 2 weeks,
               seventh of them a daily one                no gap of 2 hours in the week
slot-of-day    a mean for each slot of the day, smoothed  windows < 1 day, 3 days
slot-of-week   a mean for each slot of the week, smoothed windows <= 1 day, 4 weeks
=============  =========================================  ==========================

Harmonics round off sharp edges, such as a day that begins on the hour. Steps by half hour add what they miss, where nearly
all cycles miss it on the same side. Harmonics fitted to office hours alone would say anything about the night: hence the
limit on the gap, half the period of the shortest harmonic. A slot without a window gets the mean of all windows. A season of
the week adapts to new windows, by about a seventh of the difference a week.

Times are in the model's own time zone: when its clocks change, the slots change with them. With a calendar the time
of a public holiday is that of a Sunday, which only seasons of the week distinguish from other days.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Floats, widened
from detectors.reference.local_time import DAY_SECONDS, WEEK_SECONDS

_HARMONICS = 6
#: Orders of weekly harmonics that are not daily harmonics too, down to the same shortest period.
_OF_WEEK = tuple(order for order in range(1, 7 * _HARMONICS + 1) if order % 7)
#: Coefficients of a swing: a sine and a cosine for each daily harmonic.
SWINGS = 2 * _HARMONICS
#: From this width on a window is a slot of the day or of the week.
COARSE_SECONDS = 1800.0
_LARGEST_GAP_SECONDS = DAY_SECONDS / _HARMONICS / 2
#: Share of the difference by which a season of the week adapts in a week.
_GAIN = 0.15

SeasonName = Literal["constant", "daily", "slot-of-day", "slot-of-week", "weekly"]
#: Snapshots store indices into this tuple, so its order must not change.
SEASON_NAMES: tuple[SeasonName, ...] = ("constant", "daily", "slot-of-day", "slot-of-week", "weekly")
#: Seasons that distinguish the days of the week, and adapt.
OF_WEEK: tuple[SeasonName, ...] = ("slot-of-week", "weekly")
#: Length of the cycle of each season that has one, in seconds. Below: seasons of slots, and seasons of harmonics.
PERIODS: dict[SeasonName, float] = {
    "daily": DAY_SECONDS,
    "weekly": WEEK_SECONDS,
    "slot-of-day": DAY_SECONDS,
    "slot-of-week": WEEK_SECONDS,
}
SLOTTED: tuple[SeasonName, ...] = ("slot-of-day", "slot-of-week")
HARMONIC: tuple[SeasonName, ...] = ("daily", "weekly")

Flags = NDArray[np.bool_]


def choose(window_seconds: float, reference_seconds: float, local: Floats) -> SeasonName:
    """Return the season that the reference is long enough for.

    Args:
        window_seconds: width of a window.
        reference_seconds: length of the reference.
        local: local times of its windows, seconds of the week, shape (w,).
    """
    days = reference_seconds / DAY_SECONDS
    if window_seconds < COARSE_SECONDS:
        if days >= 14 and _largest_gap(local, WEEK_SECONDS) < _LARGEST_GAP_SECONDS:
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
    """The season of one statistic, as it was learned.

    Args:
        name: row of the table above.
        window_seconds: width of a window; a slot is one window wide.
        parameters: coefficients of the harmonics, the constant first, or a mean for each slot.
        steps: what harmonics miss in each half hour of the cycle; empty if they miss nothing.
    """

    name: SeasonName
    window_seconds: float
    parameters: list[float]
    steps: list[float] = []

    @property
    def mean(self) -> float:
        """Expected value on average over the cycle; harmonics average to zero around the constant, which comes first."""
        if self.name in SLOTTED:
            return sum(self.parameters) / len(self.parameters)
        return self.parameters[0] + sum(self.steps) / max(1, len(self.steps))


class Seasons(msgspec.Struct):
    """The seasons of many statistics, in arrays; those of the week adapt. A cell is one statistic of one feature.

    Args:
        window_seconds: width of a slot.
        names: season of each cell, as an index into `SEASON_NAMES`, shape (S, F).
        waves: constants and daily harmonics, shape (13, S, F); zeros for cells whose season has slots.
        weeks: the other harmonics of the week, shape (72, S, F); empty if no cell has them.
        slots: name of a season that occurs -> means of slots, or steps added to harmonics, shape (slots, S, F); zeros for
            cells of other seasons.
    """

    window_seconds: float
    names: np.ndarray
    waves: np.ndarray
    slots: dict[SeasonName, np.ndarray] = {}
    weeks: np.ndarray = np.zeros(0)

    @classmethod
    def empty(cls, window_seconds: float, shape: tuple[int, int]) -> Seasons:
        """Return seasons that expect zero."""
        return cls(window_seconds, np.zeros(shape), np.zeros((1 + 2 * _HARMONICS, *shape)))

    def set(self, cell: tuple[int, int], season: Season) -> None:
        """Set the season of a cell."""
        self.clear(cell)
        self.names[cell] = SEASON_NAMES.index(season.name)
        slots = season.parameters if season.name in SLOTTED else season.steps
        if slots:
            table = self.slots.setdefault(season.name, np.zeros((len(slots), *self.names.shape)))
            table[(slice(None), *cell)] = slots
        if season.name in SLOTTED:
            return
        daily, others = season.parameters[: len(self.waves)], season.parameters[len(self.waves) :]
        self.waves[(slice(0, len(daily)), *cell)] = daily
        if others:
            if not len(self.weeks):
                self.weeks = np.zeros((len(others), *self.names.shape))
            self.weeks[(slice(None), *cell)] = others

    def clear(self, cell: tuple[int, int]) -> None:
        """Make a cell expect zero."""
        self.names[cell] = 0.0
        self.waves[(0, *cell)] = 0.0
        for table in self._cycles():
            table[(slice(None), *cell)] = 0.0

    def _cycles(self) -> Iterator[np.ndarray]:
        """Yield the arrays that depend on the time; their first axis is not one of cells."""
        yield self.waves[1:]
        yield from self.slots.values()
        if len(self.weeks):
            yield self.weeks

    def cyclic(self) -> Flags:
        """Return which cells expect different values at different times, shape (S, F)."""
        return np.asarray(np.logical_or.reduce([(table != 0).any(axis=0) for table in self._cycles()]))

    def widen(self, columns: int) -> None:
        """Append columns that expect zero."""
        self.names, self.waves = widened(self.names, columns), widened(self.waves, columns)
        self.slots = {name: widened(table, columns) for name, table in self.slots.items()}
        self.weeks = widened(self.weeks, columns) if len(self.weeks) else self.weeks

    def _slot(self, name: SeasonName, local: float) -> int:
        width = self.window_seconds if name in SLOTTED else COARSE_SECONDS
        return int((local % PERIODS[name]) // width) % len(self.slots[name])

    def expect(self, local: float) -> Floats:
        """Return the expected values at `local` seconds of the local week, shape (S, F)."""
        expected: Floats = self.waves[0].copy()
        if self.names.any():
            # Wave by wave: a product of matrices may round differently from process to process.
            for wave, coefficients in self._waves_at(local):
                expected += wave * coefficients
            for name, table in self.slots.items():
                expected += table[self._slot(name, local)]
        return expected

    def _waves_at(self, local: float) -> Iterator[tuple[float, Floats]]:
        """Yield the value of each harmonic at a time, and its coefficients, shape (S, F), which may be changed in place."""
        return zip(_harmonics_at(local)[1:], (*self.waves[1:], *self.weeks), strict=False)

    def follow(self, local: float, missed: Floats, cells: Flags, seconds: float) -> None:
        """Adapt seasons of the week to a window.

        A slot of the week moves by `_GAIN` of the difference. Harmonics that a season has move by as much in a week, by the
        least mean squares of Widrow and Hoff (1960). Their constant stays, or a slow change would be followed and never
        detected.

        Args:
            local: time of the window, seconds of the local week.
            missed: difference between the statistics and their expected values, shape (S, F).
            cells: which cells may adapt, shape (S, F).
            seconds: width of the window.
        """
        slots, waves = cells & self.are("slot-of-week"), cells & self.are("weekly")
        if slots.any():
            self.slots["slot-of-week"][self._slot("slot-of-week", local)][slots] += _GAIN * missed[slots]
        if waves.any():
            step = np.where(waves, 2 * _GAIN * seconds / WEEK_SECONDS * missed, 0.0)
            for wave, coefficients in self._waves_at(local):
                np.add(coefficients, wave * step, out=coefficients, where=coefficients != 0.0)

    def are(self, name: SeasonName) -> Flags:
        """Return which cells have the season of this name, shape (S, F)."""
        return np.asarray(self.names == SEASON_NAMES.index(name))


def harmonics(name: SeasonName, local: Floats) -> Floats:
    """Return the constant and the harmonics at each time: shape (w, 13) with daily harmonics only, (w, 85) for `weekly`."""
    day, week = (2 * np.pi * (local % period) / period for period in (DAY_SECONDS, WEEK_SECONDS))
    orders = [(day, order) for order in range(1, _HARMONICS + 1)]
    if name == "weekly":
        orders += [(week, order) for order in _OF_WEEK]
    return np.column_stack([np.ones_like(day), *(wave(order * angle) for angle, order in orders for wave in (np.sin, np.cos))])


@lru_cache(maxsize=256)
def _harmonics_at(local: float) -> tuple[float, ...]:
    """Return all harmonics at one time; cached, because windows of all segments ask for the same time."""
    return tuple(harmonics("weekly", np.array([local]))[0].tolist())


def swing_at(local: float, coefficients: Floats) -> Floats:
    """Return the factor by which the time of day widens the deviation of each cell, shape (S, F).

    Args:
        local: seconds of the local week.
        coefficients: of `fit_swing`, shape (12, S, F).
    """
    logs = np.zeros(coefficients.shape[1:])
    for wave, of_wave in zip(_harmonics_at(local)[1 : 1 + SWINGS], coefficients, strict=True):
        logs += wave * of_wave
    return np.exp(logs)
