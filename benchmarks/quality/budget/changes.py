"""What is changed in a stream, in which feature, from when to when.

Rules:
1. A change is made to the noise of one feature: `sd` is that of the noise, so a daily cycle neither hides nor helps.
2. Changes of a schedule are a quarter of an hour apart, each in a feature of its own, and last three hours: about twelve
   of a thousand features are changed at a time, and the thresholds are those of the thousand.
3. A change comes at any second of a window, as in life, never just at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.budget.kinds import KINDS, Alter, Kind
from detectors.arrays import Floats

#: (noise of shape (n,), seconds since the change, kind, dice) -> what becomes of it; NaN is a null.
Change = Callable[[Floats, Floats, Kind, np.random.Generator], Floats]

_RAMP_SECONDS = 3600.0
#: Where the humps are, in sd; their own spread leaves mean and variance as they were.
_HUMP = 0.9
_HUMP_SPREAD = (1.0 - _HUMP**2) ** 0.5
_NULLS = 0.3


def _shift(size: float) -> Change:
    return lambda noise, _age, kind, _draw: noise + size * kind.sd


def _stretch(factor: float) -> Change:
    return lambda noise, _age, kind, _draw: kind.mean + factor * (noise - kind.mean)


def _ramp(noise: Floats, age: Floats, kind: Kind, _draw: np.random.Generator) -> Floats:
    return noise + kind.sd * np.minimum(1.0, age / _RAMP_SECONDS)


def _humps(noise: Floats, _age: Floats, kind: Kind, draw: np.random.Generator) -> Floats:
    # Which hump follows from the event that would have come, so what is correlated stays so.
    hump = np.where(noise < kind.median, -_HUMP, _HUMP)
    found: Floats = kind.mean + kind.sd * (hump + _HUMP_SPREAD * draw.standard_normal(len(noise)))
    return found


def _nulls(noise: Floats, _age: Floats, _kind: Kind, draw: np.random.Generator) -> Floats:
    return np.where(draw.random(len(noise)) < _NULLS, np.nan, noise)


CHANGES: dict[str, Change] = {
    "+0.1": _shift(0.1),
    "+0.25": _shift(0.25),
    "+0.5": _shift(0.5),
    "+1": _shift(1.0),
    "+2": _shift(2.0),
    "+1 over 1 h": _ramp,
    "x1.25": _stretch(1.25),
    "x1.5": _stretch(1.5),
    "x2": _stretch(2.0),
    "x0.5": _stretch(0.5),
    "two humps": _humps,
    "30 % nulls": _nulls,
}

APART_SECONDS = 15 * 60.0
LAST_SECONDS = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class Injected:
    """One change of one feature, by number, from `at` to before `until`, epoch seconds."""

    feature: int
    change: str
    at: float
    until: float


def schedule(features: int, *, begin: float, window_seconds: float, seed: int) -> list[Injected]:
    """Return one change for each feature, the kinds of change in turn (rules 2 and 3)."""
    draw = np.random.default_rng(seed)
    names = list(CHANGES)
    late = draw.integers(1, int(window_seconds), size=features).tolist()
    found = []
    for feature in range(features):
        at = begin + feature * APART_SECONDS + late[feature]
        found.append(Injected(feature, names[feature % len(names)], at, at + LAST_SECONDS))
    return found


def altering(injected: Sequence[Injected], kind: str, seed: int) -> Alter:
    """Return what makes the changes to the noise of a stream of that kind."""
    draw = np.random.default_rng(seed)

    def alter(noise: Floats, times: Floats) -> None:
        for one in injected:
            if one.until <= times[0] or one.at > times[-1]:
                continue
            low, high = np.searchsorted(times, (one.at, one.until)).tolist()
            row = noise[one.feature]
            row[low:high] = CHANGES[one.change](row[low:high], times[low:high] - one.at, KINDS[kind], draw)

    return alter
