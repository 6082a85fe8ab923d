"""How many windows of a feature are merged before they are judged (a roll-up): 1, 2, 4, 8 or 16.

If neighbouring windows are strongly correlated, a baseline cannot distinguish a wander from a change in time. If they hold few
values, a spread or a shape says nothing. Wider windows are better on both counts, and slower: the smallest width that suffices
is chosen.

The correlation of wider windows is computed from that of windows at distance one and two. These are measured within short
stretches, after a straight line was subtracted from each, so the time of day does not count as correlation, whatever the season.
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

#: Least values of a merged window, and largest correlation of merged neighbours.
_LEAST_VALUES, _MOST_CORRELATED = 8, 0.25
_WIDTHS = (1, 2, 4, 8, 16)
#: Features that are measured at a time.
_AT_ONCE = 64
#: Rows of the statistics whose correlation counts.
_CORRELATED_ROWS = tuple(place_of(name) for name in ("location", "scale", "shape", "shares"))
#: Most and least windows of a stretch, and least windows in all stretches for an estimate of the correlation.
_STRETCH, _LEAST_STRETCH, _LEAST_WINDOWS = 4 * BLOCK, 8, 48
#: Longest stretch, if it has enough windows: over this time the daily cycle is about a straight line.
_STRETCH_SECONDS = 5400.0
#: Detrending n windows lowers their lag-1 correlation by about 2 / n.
_LOST_BY_DETRENDING = 2.0


def rollup_widths_of(
    windows: Sequence[tuple[float, int, Sequence[Mapping[str, Feature]]]],
    references: Mapping[str, FeatureReference],
    window_seconds: float,
) -> dict[str, int]:
    """Return feature -> number of windows to merge; reference windows are (first second, rows, parts), in order of time."""
    found: dict[str, int] = {}
    names = list(references)
    starts = np.array([start for start, _, _ in windows])
    numbers = np.round(starts / window_seconds).astype(np.intp)
    length = max(_LEAST_STRETCH, min(_STRETCH, int(_STRETCH_SECONDS // window_seconds)))
    most = max((rollup_width for rollup_width in _WIDTHS if rollup_width * window_seconds < COARSE_SECONDS), default=1)
    for low in range(0, len(names), _AT_ONCE):
        # The correlation does not depend on outliers, so none are counted.
        matrix = matrix_of({name: references[name] for name in names[low : low + _AT_ONCE]}, outlier_beyond=math.inf)
        batches = WindowBatches(matrix)
        sums = list(batches.window_sums((rows, parts) for _, rows, parts in windows))
        counts = np.array([np.maximum(one.sums[NUMBERS], one.sums[NAMED] * matrix.categorical) for one in sums]).mean(axis=0)
        values = np.array([one.value[_CORRELATED_ROWS, :] for one in batches.measure(sums)])
        near, far = _correlations(_stretches(numbers, length), values.reshape(len(sums), -1))
        for column, name in enumerate(matrix.names):
            of_feature = slice(column, None, len(matrix.names))
            found[name] = min(most, max(_for_values(counts[column]), _for_correlation(near[of_feature], far[of_feature])))
    return found


def _for_values(count: float) -> int:
    """Return the least width at which a window has enough values; 1 for a feature without values, which no width would help."""
    return next((rollup_width for rollup_width in _WIDTHS if rollup_width * count >= _LEAST_VALUES), _WIDTHS[-1]) if count else 1


def _for_correlation(near: Floats, far: Floats) -> int:
    """Return the least width at which no statistic is correlated too much; `near` and `far` are at distance one and two."""
    return next(
        (
            rollup_width
            for rollup_width in _WIDTHS
            if max(map(_correlation_when_merged(rollup_width), near, far)) <= _MOST_CORRELATED
        ),
        _WIDTHS[-1],
    )


def _correlation_when_merged(rollup_width: int) -> Callable[[float, float], float]:
    """Return a function: correlations at distance one and two -> correlation of neighbours after merging.

    Correlations are taken to decay geometrically from distance one on.
    """
    lags = np.arange(1, 2 * rollup_width)
    pairs = np.minimum(lags, 2 * rollup_width - lags)  # pairs of windows, one of each merged neighbour, at each lag
    within = np.maximum(0, rollup_width - lags)

    def correlation(near: float, far: float) -> float:
        if near <= 0:
            return 0.0
        decay = min(0.99, max(0.0, far / near))
        by_lag = near * decay ** (lags - 1.0)
        return float((pairs * by_lag).sum() / (rollup_width + 2 * (within * by_lag).sum()))

    return correlation


def _correlations(stretches: Iterable[Integers], values: Floats) -> tuple[Floats, Floats]:
    """Return the correlations at distance one and two, shape (m,) each, of m statistics of windows, shape (w, m)."""
    power, near, far = np.zeros(values.shape[1]), np.zeros(values.shape[1]), np.zeros(values.shape[1])
    windows = count = 0
    lost = 0.0
    values = np.where(np.isnan(values), np.nanmean(np.where(np.isnan(values).all(axis=0), 0.0, values), axis=0), values)
    for stretch in stretches:
        n = len(stretch)
        line = np.column_stack([np.ones(n), np.arange(n) - (n - 1) / 2])
        detrended = values[stretch]
        detrended = detrended - line @ ((line.T @ detrended) / np.square(line).sum(axis=0)[:, None])
        power += np.square(detrended).sum(axis=0) / n
        near += (detrended[1:] * detrended[:-1]).sum(axis=0) / (n - 1)
        far += (detrended[2:] * detrended[:-2]).sum(axis=0) / (n - 2)
        lost += _LOST_BY_DETRENDING / n
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


def _stretches(numbers: Integers, length: int) -> Iterator[Integers]:
    """Yield the indices of windows that follow each other without a gap, in stretches of at most `length` windows."""
    breaks = np.flatnonzero((np.diff(numbers) != 1) | (numbers[1:] % length == 0)) + 1
    for stretch in np.split(np.arange(len(numbers)), breaks):
        if len(stretch) >= _LEAST_STRETCH:
            yield stretch
