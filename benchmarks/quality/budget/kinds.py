"""The kinds of streams: every event of every feature is drawn, one a second.

Rules:
1. A stream is noise of a known mean, spread and correlation, and what the time of day adds to it. Nothing in it ever
   changes by itself; a change (changes.py) is made to the noise, so the season goes on through it.
2. Features are alike and independent of each other. Of a daily cycle each has its own phase, so that what is
   measured holds for no special time of day.
3. Correlation is that of one event with the next, carried on from stretch to stretch: windows inherit it.
4. The same seed gives the same stream, if it is asked for in stretches of the same length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from scipy.signal import lfilter

from detectors.arrays import Floats
from detectors.reference.local_time import DAY_SECONDS

#: Median of what is drawn; of events in a second one is in every second.
Innovations = Callable[[np.random.Generator, tuple[int, int]], Floats]


def _normal(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return draw.standard_normal(shape)


def _student(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return draw.standard_t(3, shape)


def _log_normal(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    found: Floats = np.exp(draw.standard_normal(shape))
    return found


def _poisson(draw: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return draw.poisson(_EVENTS_RATE, shape).astype(np.float64)


_EVENTS_RATE = 0.5
#: 1 January 1970 was a Thursday; 0 is Monday.
_FIRST_WEEKDAY = 3
#: Share by which a multiplied cycle raises and lowers what it is multiplied with.
_SWING = 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of stream.

    Args:
        draw: what is drawn for each event; for a correlated stream what is new in each.
        mean: of the noise; `sd` and `median` likewise. They are those of the distribution, not of a sample.
        correlation: of an event with the next one.
        amplitude: of a daily sine that is added, in `sd`.
        multiplied: a daily sine, 1 +- 0.5, is multiplied with the noise.
        weekend: of a daily cycle that rises from zero, so much is there on Saturdays and Sundays; None for a sine every day.
    """

    draw: Innovations
    mean: float = 0.0
    sd: float = 1.0
    median: float = 0.0
    correlation: float = 0.0
    amplitude: float = 0.0
    multiplied: bool = False
    weekend: float | None = None


_LOG_NORMAL_MEAN, _LOG_NORMAL_SD = exp(0.5), sqrt((exp(1.0) - 1.0) * exp(1.0))

KINDS: dict[str, Kind] = {
    "gaussian": Kind(_normal),
    "t3": Kind(_student, sd=sqrt(3.0)),
    "log-normal": Kind(_log_normal, _LOG_NORMAL_MEAN, _LOG_NORMAL_SD, median=1.0),
    "poisson 0.5": Kind(_poisson, _EVENTS_RATE, sqrt(_EVENTS_RATE)),
    "AR 0.9": Kind(_normal, correlation=0.9),
    "AR 0.99": Kind(_normal, correlation=0.99),
    "daily": Kind(_normal, amplitude=1.0),
    "daily x3": Kind(_normal, amplitude=3.0),
    "daily + AR 0.9": Kind(_normal, correlation=0.9, amplitude=1.0),
    "log-normal x daily": Kind(_log_normal, _LOG_NORMAL_MEAN, _LOG_NORMAL_SD, median=1.0, multiplied=True),
}

#: Kinds with a week as well: a reference has to be longer for them than the default.
OF_WEEK: dict[str, Kind] = {"working days": Kind(_normal, amplitude=1.0, weekend=0.25)}
ALL_KINDS = KINDS | OF_WEEK

#: What becomes of the noise: (noise of shape (features, events), event times of shape (events,)), in place.
Alter = Callable[[Floats, Floats], None]


class EventStream:
    """The events of some features of one kind, from `begin` on (epoch seconds), in stretches."""

    def __init__(self, name: str, features: int, *, begin: float, seed: int) -> None:
        self._kind = ALL_KINDS[name]
        self._features = features
        self._at = begin
        # Two kinds of one seed have nothing in common.
        self._draw = np.random.default_rng([seed, *name.encode()])
        self._phases = self._draw.uniform(0.0, 2.0 * np.pi, (features, 1))
        # What the filter carries: correlation x the event before. It begins as it goes on, with variance one.
        self._carried = self._kind.correlation * self._draw.standard_normal((features, 1))

    def draw(self, events: int, alter: Alter | None = None) -> Floats:
        """Return the next so many events, shape (features, events)."""
        times = self._at + np.arange(events, dtype=np.float64)
        self._at += events
        values = self._noise(events)
        if alter is not None:
            alter(values, times)
        kind = self._kind
        if kind.amplitude:
            values += kind.amplitude * kind.sd * self._cycle(times)
        if kind.multiplied:
            values *= 1.0 + _SWING * self._cycle(times)
        return values

    def _noise(self, events: int) -> Floats:
        kind = self._kind
        drawn = kind.draw(self._draw, (self._features, events))
        if not kind.correlation:
            return drawn
        new = sqrt(1.0 - kind.correlation**2)
        values, self._carried = lfilter([new], [1.0, -kind.correlation], drawn, axis=1, zi=self._carried)
        return values

    def _cycle(self, times: Floats) -> Floats:
        """Return what the time adds to every feature, shape (features, events)."""
        angle = 2.0 * np.pi * times / DAY_SECONDS
        # The sine of a sum: two products are cheaper than a sine for each event of each feature.
        found: Floats = np.cos(self._phases) * np.sin(angle) + np.sin(self._phases) * np.cos(angle)
        if self._kind.weekend is not None:
            day = (times // DAY_SECONDS + _FIRST_WEEKDAY) % 7
            found = (1.0 + found) * np.where(day < 5, 1.0, self._kind.weekend)
        return found
