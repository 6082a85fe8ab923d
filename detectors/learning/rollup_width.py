"""How many windows of a feature are merged before they are judged: 1, 2, 4, 8 or 16.

Where neighbouring windows are much alike, a baseline cannot tell a wander from a change in time; where they hold few values, a
spread or a shape says nothing. Wider windows are better on both counts, and slower: the least that will do is taken.

How much wider windows would be alike follows from how much these are at one and at two windows' distance, told within short
stretches from which the line through them was taken: so the time of day is no correlation, whatever the season.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from detectors.arrays import Floats
from detectors.learning.recording import BLOCK, matrix_of
from detectors.measure.batches import WindowBatches
from detectors.measure.sums import NAMED, NUMBERS
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.matrix import Integers
from detectors.reference.season import COARSE_SECONDS
from detectors.statistics import place_of
from detectors.windows.feature import Feature

#: Merged windows hold so many values at least and are correlated by no more.
_LEAST_VALUES, _MOST_CORRELATED = 8, 0.25
_STRIDES = (1, 2, 4, 8, 16)
#: Features that are measured at a time.
_AT_ONCE = 64
#: What the correlation is told by.
_TOLD_BY = tuple(place_of(name) for name in ("location", "scale", "shape", "shares"))
#: Windows of a stretch, at most and at least; and windows in all of them that a correlation is told from.
_STRETCH, _LEAST_STRETCH, _LEAST_WINDOWS = 4 * BLOCK, 8, 48
#: A stretch is no longer, if it has windows enough: a line is what the time of day does in so many seconds.
_STRETCH_SECONDS = 5400.0
#: Neighbours are alike by so much less where a line was taken from a stretch of n of them: 2 / n.
_LOST = 2.0


def strides_of(
    windows: Sequence[tuple[float, int, Sequence[Mapping[str, Feature]]]],
    references: Mapping[str, FeatureReference],
    window_seconds: float,
) -> dict[str, int]:
    """Return feature -> windows to merge, from reference windows in order of time: (first second, rows, parts)."""
    found: dict[str, int] = {}
    names = list(references)
    starts = np.array([start for start, _, _ in windows])
    places = np.round(starts / window_seconds).astype(np.intp)
    length = max(_LEAST_STRETCH, min(_STRETCH, int(_STRETCH_SECONDS // window_seconds)))
    most = max((rollup_width for rollup_width in _STRIDES if rollup_width * window_seconds < COARSE_SECONDS), default=1)
    for low in range(0, len(names), _AT_ONCE):
        # No correlation is told by outliers, so it does not matter where they begin.
        matrix = matrix_of({name: references[name] for name in names[low : low + _AT_ONCE]}, outlier_beyond=math.inf)
        tiles = WindowBatches(matrix)
        sums = list(tiles.window_sums((rows, parts) for _, rows, parts in windows))
        held = np.array([np.maximum(one.sums[NUMBERS], one.sums[NAMED] * matrix.categorical) for one in sums]).mean(axis=0)
        values = np.array([one.value[_TOLD_BY, :] for one in tiles.measure(sums)])
        near, far = _correlations(_stretches(places, length), values.reshape(len(sums), -1))
        for column, name in enumerate(matrix.names):
            mine = slice(column, None, len(matrix.names))
            found[name] = min(most, max(_for_values(held[column]), _for_correlation(near[mine], far[mine])))
    return found


def _for_values(held: float) -> int:
    """Return how many windows hold values enough together; what never had a value gets none from wider ones."""
    return next((rollup_width for rollup_width in _STRIDES if rollup_width * held >= _LEAST_VALUES), _STRIDES[-1]) if held else 1


def _for_correlation(near: Floats, far: Floats) -> int:
    """Return how many windows must be merged for each of some statistics to be correlated little enough."""
    return next(
        (rollup_width for rollup_width in _STRIDES if max(map(_wider(rollup_width), near, far)) <= _MOST_CORRELATED), _STRIDES[-1]
    )


def _wider(rollup_width: int) -> Callable[[float, float], float]:
    """Return what tells the correlation of merged windows from that at one and at two windows' distance, which goes on so."""
    lags = np.arange(1, 2 * rollup_width)
    pairs = np.minimum(lags, 2 * rollup_width - lags)  # of one window each, so many are so far apart
    within = np.maximum(0, rollup_width - lags)

    def correlation(near: float, far: float) -> float:
        if near <= 0:
            return 0.0
        decay = min(0.99, max(0.0, far / near))
        told = near * decay ** (lags - 1.0)
        return float((pairs * told).sum() / (rollup_width + 2 * (within * told).sum()))

    return correlation


def _correlations(stretches: Iterable[Integers], values: Floats) -> tuple[Floats, Floats]:
    """Return the correlation at one and at two windows' distance, shape (m,), of m statistics of windows, shape (w, m)."""
    power, near, far = np.zeros(values.shape[1]), np.zeros(values.shape[1]), np.zeros(values.shape[1])
    windows = count = 0
    lost = 0.0
    values = np.where(np.isnan(values), np.nanmean(np.where(np.isnan(values).all(axis=0), 0.0, values), axis=0), values)
    for stretch in stretches:
        n = len(stretch)
        line = np.column_stack([np.ones(n), np.arange(n) - (n - 1) / 2])
        mine = values[stretch]
        mine = mine - line @ ((line.T @ mine) / np.square(line).sum(axis=0)[:, None])
        power += np.square(mine).sum(axis=0) / n
        near += (mine[1:] * mine[:-1]).sum(axis=0) / (n - 1)
        far += (mine[2:] * mine[:-2]).sum(axis=0) / (n - 2)
        lost += _LOST / n
        windows += n
        count += 1
    if windows < _LEAST_WINDOWS:
        return np.zeros_like(near), np.zeros_like(far)
    moved = power > 1e-12
    back = lost / count
    return (
        np.divide(near, power, out=np.zeros_like(near), where=moved) + back * moved,
        np.divide(far, power, out=np.zeros_like(far), where=moved) + back * moved,
    )


def _stretches(places: Integers, length: int) -> Iterator[Integers]:
    """Yield the windows that follow each other without a gap, so many at a time at most."""
    breaks = np.flatnonzero((np.diff(places) != 1) | (places[1:] % length == 0)) + 1
    for stretch in np.split(np.arange(len(places)), breaks):
        if len(stretch) >= _LEAST_STRETCH:
            yield stretch
