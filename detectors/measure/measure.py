"""The statistics of one window: its features measured against their references.

==========  ============================================================  ===============  ======
name        definition                                                    of               alarms
==========  ============================================================  ===============  ======
location    mean normal score                                             numbers          both
scale       (variance of the normal scores)^(1/3), near-normal            numbers          both
shape       G against the reference's bins, (G/df)^(1/3)                  numbers          up
outliers    share far outside the reference                               numbers          up
shares      G against the reference's categories, (G/df)^(1/3)            categories       up
unseen      share of values in categories the reference lacks             categories       up
missing     share of rows without a value                                 all              both
volume      log(1 + rows)                                                 the model        both
==========  ============================================================  ===============  ======

The cube root of Wilson and Hilferty (1931) makes scale, shape and shares near-normal. Rates are not transformed: the arcsine
would steady their variance, but it shifts the mean of a rare rate when the number of events changes. It also gives
the first event of a quiet window a score for which no Gaussian threshold holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.arrays import Floats
from detectors.measure.sums import (
    COARSE,
    FAR,
    FIRST,
    FOURTH,
    NAMED,
    NUMBERS,
    PRESENT,
    ROWS,
    SECOND,
    THIRD,
    TOTAL,
    UNSEEN,
    WindowSums,
)
from detectors.reference.feature_reference import FeatureReference
from detectors.reference.matrix import ReferenceMatrix
from detectors.statistics import OF_MODEL, PLACE, STATISTICS, StatisticName
from detectors.windows.row import VOLUME

#: A feature with fewer different quantiles has no `scale`; a feature with fewer bins has no `shape`.
_MIN_DISTINCT = 8
_MIN_BINS = 3
#: Mid-quantiles reduce G by about an eighth; if a bin has less than a mid-quantile's share, the formula would say more.
_LEAST_EXPECTED = 0.5


@dataclass(frozen=True, slots=True)
class Measures:
    """Every statistic of every feature in one window; each array has shape (S, F), in the order of STATISTICS and of the matrix.

    Args:
        value: the statistic, NaN if the window has no data for it.
        within: its variance within the window times `count`.
        count: number of events behind it; 1 for `shape` and `shares`, whose variance does not depend on that number.
    """

    value: Floats
    within: Floats
    count: Floats

    def of(self, statistic: StatisticName, column: int) -> float:
        """Return one statistic of one feature."""
        return float(self.value[PLACE[statistic], column])


def names_for(feature: str, reference: FeatureReference) -> tuple[StatisticName, ...]:
    """Return the statistics of a feature with this reference."""
    if feature == VOLUME:
        return OF_MODEL
    names: list[StatisticName] = []
    if len(reference.quantiles):
        names.append("location")
        if reference.distinct >= _MIN_DISTINCT:
            names.append("scale")
        if reference.distinct >= _MIN_BINS:
            names.append("shape")
        names.append("outliers")
    if reference.shares:
        if len(reference.shares) > 1:
            names.append("shares")
        names.append("unseen")
    return (*names, "missing")


def measure(window_sums: WindowSums, matrix: ReferenceMatrix) -> Measures:
    """Return the statistics of a window from its sums."""
    measures = Measures(*(np.full((len(STATISTICS), len(matrix.names)), filler) for filler in (np.nan, 0.0, 1.0)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if matrix.numeric.any():
            _of_numbers(window_sums, matrix, measures)
        if len(matrix.owner):
            _of_categories(window_sums, matrix, measures)
        rows = window_sums.sums[ROWS]
        _rate(measures, "missing", (rows - window_sums.sums[PRESENT]) / rows, rows)
    if VOLUME in matrix.column:
        column = matrix.column[VOLUME]
        rows_here = rows[column]
        measures.value[:, column] = np.nan
        row = PLACE["volume"]
        # The variance of the log of a Poisson count is about 1 / count.
        measures.value[row, column], measures.within[row, column] = np.log1p(rows_here), 1.0
        measures.count[row, column] = max(1.0, rows_here)
    return measures


def _put(measures: Measures, name: StatisticName, value: Floats, within: Floats | float, count: Floats | float) -> None:
    row = PLACE[name]
    measures.value[row], measures.within[row], measures.count[row] = value, within, count


def _rate(measures: Measures, name: StatisticName, share: Floats, count: Floats) -> None:
    share = np.clip(share, 0.0, 1.0)
    _put(measures, name, share, share * (1.0 - share), np.maximum(count, 1.0))


def _known(values: Floats, otherwise: float) -> Floats:
    """Return the values, with `otherwise` for NaN."""
    return np.where(np.isnan(values), otherwise, values)


def _of_numbers(window_sums: WindowSums, matrix: ReferenceMatrix, measures: Measures) -> None:
    sums = window_sums.sums
    n = np.where(matrix.numeric & (sums[NUMBERS] > 0), sums[NUMBERS], np.nan)
    events = _known(n, 1.0)
    mean = sums[FIRST] / n
    power = np.maximum(0.0, sums[SECOND] / n - mean * mean)
    _put(measures, "location", mean, _known(power, 0.0), events)
    # The spread about the window's own mean: a level that moves raises `location`, and must not raise `scale`.
    # d(m^(1/3)) = m^(-2/3) / 3 dm
    fourth = sums[FOURTH] / n - 4 * mean * sums[THIRD] / n + 6 * mean**2 * sums[SECOND] / n - 3 * mean**4
    slope = np.where(power > 1e-9, 1 / (9 * np.maximum(power, 1e-9) ** (4 / 3)), 0.0)
    scale = np.cbrt(power * n / np.where(n > 1, n - 1, np.nan))
    _put(measures, "scale", scale, _known(np.maximum(0.0, fourth - power * power) * slope, 0.0), events)
    _put(measures, "shape", *_shape(window_sums, matrix, n))
    _rate(measures, "outliers", sums[FAR] / n, events)


def _shape(window_sums: WindowSums, matrix: ReferenceMatrix, n: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (G/df)^(1/3) over the bins of the reference, its variance, and a count of 1: more events make it no steadier.

    G is divided by its expected value per degree of freedom. Few events raise that value (Williams 1976); mid-quantiles change
    it by `COARSE` / n (detectors/measure/binning.py).
    """
    counts = window_sums.bins
    terms = np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-300) / (n * matrix.bins)), 0.0)
    freedom = np.where(matrix.occupied >= _MIN_BINS, matrix.occupied - 1.0, np.nan)
    expected = 1 + (matrix.occupied + 1) / (6 * n) + window_sums.sums[COARSE] / (n * freedom)
    g = np.maximum(0.0, 2 * terms.sum(axis=0)) / np.maximum(expected, _LEAST_EXPECTED)
    return np.cbrt(g / freedom), 2 / (9 * _known(freedom, 1.0)), np.ones_like(n)


def _of_categories(window_sums: WindowSums, matrix: ReferenceMatrix, measures: Measures) -> None:
    named = np.where(matrix.categorical & (window_sums.sums[NAMED] > 0), window_sums.sums[NAMED], np.nan)
    events = _known(named, 1.0)
    _rate(measures, "unseen", window_sums.sums[UNSEEN] / named, events)
    width, owner = len(matrix.names), matrix.owner
    shares = matrix.shares.copy()
    # Half an event keeps G finite in a cell that is empty in the reference; `unseen` monitors such cells closely.
    shares[matrix.rests] = np.maximum(shares[matrix.rests], 0.5 / events[owner[matrix.rests]])
    total = np.bincount(owner, weights=shares, minlength=width)
    cells = window_sums.cells
    terms = np.where(cells > 0, cells * np.log(np.maximum(cells, 1e-300) * total[owner] / (events[owner] * shares)), 0.0)
    g = np.maximum(0.0, 2 * np.bincount(owner, weights=terms, minlength=width))
    freedom = np.where(matrix.several > 2, matrix.several - 1.0, np.nan)
    # The variance of the cube root of chi-square / df is 2 / (9 df), whatever the number of events.
    within = 2 / (9 * _known(freedom, 1.0))
    _put(measures, "shares", np.where(np.isnan(named), np.nan, np.cbrt(g / freedom)), within, 1.0)


def mean_of(window_sums: WindowSums, column: int) -> float:
    """Return the mean of a feature's numbers in a window; NaN without numbers; finite also if their sum overflows."""
    n = float(window_sums.sums[NUMBERS, column])
    return float(np.nan_to_num(window_sums.sums[TOTAL, column])) / n if n else float("nan")
