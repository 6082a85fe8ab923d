"""How many windows of a feature are merged before they are judged: 1, 2, 4, 8 or 16.

Where neighbouring windows are much alike, a baseline cannot tell a wander from a change in time; where they hold few values, a
spread or a shape says nothing. Wider windows are better on both counts, and slower: the least that will do is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.columns import Feature
from detectors.gather import Gather
from detectors.learned import Calendar
from detectors.recording import stack_of
from detectors.reference import FeatureReference
from detectors.sample import Floats
from detectors.season import COARSE_SECONDS, Flags, choose, fit, local_times
from detectors.stack import Stack
from detectors.statistic import measure, place_of
from detectors.tally import NAMED, NUMBERS, Tally, tally

#: Merged windows hold so many values at least and are correlated by no more, if so many of them are left to tell.
_LEAST_VALUES, _MOST_CORRELATED, _LEAST_WINDOWS = 8, 0.55, 32
_STRIDES = (1, 2, 4, 8, 16)
#: Features whose sums are held at a time.
_AT_ONCE = 64
#: What the correlation is told by.
_TOLD_BY = tuple(place_of(name) for name in ("location", "scale", "shape", "shares"))


def strides_of(
    windows: Sequence[tuple[float, int, Sequence[Mapping[str, Feature]]]],
    references: Mapping[str, FeatureReference],
    window_seconds: float,
    calendar: Calendar,
    *,
    outlier_beyond: float,
) -> dict[str, int]:
    """Return feature -> windows to merge, from reference windows in order of time: (first second, rows, parts)."""
    found: dict[str, int] = {}
    names = list(references)
    for low in range(0, len(names), _AT_ONCE):
        stack = stack_of({name: references[name] for name in names[low : low + _AT_ONCE]})
        sums = [(start, tally(parts, rows, stack, outlier_beyond=outlier_beyond)) for start, rows, parts in windows]
        left = np.ones(len(stack.names), dtype=np.bool_)
        strides = np.ones(len(stack.names), dtype=np.intp)
        for stride in _STRIDES:
            width = stride * window_seconds
            strides[left] = stride
            starts, wide = _merged(sums, stride, window_seconds, stack)
            if 2 * width >= COARSE_SECONDS or len(wide) < 2 * _LEAST_WINDOWS:
                break
            left &= ~_good(starts, wide, width, stack, calendar)
            if not left.any():
                break
        found |= dict(zip(stack.names, strides.tolist(), strict=True))
    return found


def _merged(sums: Sequence[tuple[float, Tally]], stride: int, window_seconds: float, stack: Stack) -> tuple[Floats, list[Tally]]:
    """Return the first seconds and the sums of merged windows."""
    if stride == 1:
        return np.array([start for start, _ in sums]), [one for _, one in sums]
    gather = Gather()
    gather.set(np.full(len(stack.names), float(stride)))
    found = [
        (wide.place * window_seconds, wide.sums.copy())
        for start, one in sums
        for wide in gather.take(round(start / window_seconds), one, stack)
        if wide.stride == stride
    ]
    return np.array([start for start, _ in found]), [one for _, one in found]


def _good(starts: Floats, sums: Sequence[Tally], width: float, stack: Stack, calendar: Calendar) -> Flags:
    """Tell of which features windows so wide hold values enough and are correlated little, shape (F,)."""
    held = np.array([np.maximum(one.sums[NUMBERS], one.sums[NAMED] * stack.categorical) for one in sums]).mean(axis=0)
    values = np.array([measure(one, stack).value[_TOLD_BY, :] for one in sums])
    values = values.reshape(len(sums), -1)
    there = ~np.isnan(values)
    means = np.where(there, values, 0.0).sum(axis=0) / np.maximum(1, there.sum(axis=0))
    values = np.where(there, values, means)
    local = local_times(starts, calendar.timezone, calendar.holidays)
    _, expected, _ = fit(choose(width, calendar.reference_seconds, local), width, local, values)
    residual = values - expected
    power = np.square(residual).mean(axis=0)
    adjacent = np.diff(starts) < 1.5 * width
    products = (residual[1:] * residual[:-1])[adjacent].mean(axis=0) if adjacent.any() else np.zeros_like(power)
    lag1 = np.divide(products, power, out=np.zeros_like(power), where=power > 1e-12)
    correlation = lag1.reshape(len(_TOLD_BY), -1).max(axis=0)
    # What never had a value gets none from wider windows.
    return np.asarray(((held >= _LEAST_VALUES) | (held == 0)) & (correlation <= _MOST_CORRELATED))
