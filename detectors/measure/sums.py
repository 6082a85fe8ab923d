"""Parts of one bucket and the references -> sums (sufficient statistics), one column for each feature.

Sums add up: the sum over several sources is that of their union, and the sum over neighbouring buckets is that of a wider
window. So only sums are kept while a window is merged upwards (detectors/measure/rollup.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.measure.binning import bins_of_mid_quantiles
from detectors.reference.feature_reference import scores_of
from detectors.reference.matrix import BINS, Integers, ReferenceMatrix, bins_of
from detectors.windows.feature import Feature
from detectors.windows.sample import Numeric

#: Rows of `WindowSums.sums`, in their order.
NUMBERS, FIRST, SECOND, THIRD, FOURTH, COARSE, FAR, TOTAL, ROWS, PRESENT, NAMED, UNSEEN = range(12)
_SUMS = 12
#: Bytes of samples that are added up at a time, so that they stay in the cache of the processor.
_AT_ONCE_BYTES = 1 << 17


class WindowSums(msgspec.Struct):
    """Sums over the rows of a window.

    Args:
        sums: shape (12, F), rows by the names above: number of values; sums of their normal scores to the powers 1 to 4;
            correction of G for mid-quantiles (below); values far outside; sum of the values; rows; rows with a value of a
            type that the reference has; values with a category, and values with a category that the reference does not know.
        bins: number of values in each bin of the reference, shape (BINS, F).
        cells: number of values in each cell of the categories, shape (C,).

    If a sample has more values than points, its bins hold fractions of values (detectors/measure/binning.py). These are smoother
    than counts, or less exact between point masses, so the expected G differs by `COARSE` / n.
    """

    sums: np.ndarray
    bins: np.ndarray
    cells: np.ndarray

    def copy(self) -> WindowSums:
        """Return a copy that later additions do not change."""
        return WindowSums(self.sums.copy(), self.bins.copy(), self.cells.copy())

    def add(self, other: WindowSums) -> None:
        """Add the sums of another window."""
        with np.errstate(over="ignore", invalid="ignore"):  # sums of values beyond a double
            self.sums += other.sums
        self.bins += other.bins
        self.cells += other.cells


def empty(matrix: ReferenceMatrix) -> WindowSums:
    """Return the sums of no rows."""
    width = len(matrix.names)
    return WindowSums(np.zeros((_SUMS, width)), np.zeros((BINS, width)), np.zeros(len(matrix.owner)))


def window_sums(parts: Iterable[Mapping[str, Feature]], rows: int, matrix: ReferenceMatrix) -> WindowSums:
    """Return the sums of a bucket.

    Args:
        parts: feature -> summary, a part for each source, in an order that the log alone decides. Features without a column
            are left out.
        rows: number of rows in all parts; a feature is missing in every row without a value of it.
        matrix: the references.
    """
    found = empty(matrix)
    samples = _Samples(coarse=False), _Samples(coarse=True)
    column, numbers, categories = matrix.column, matrix.numeric, matrix.categorical
    present, named, unseen = [0] * len(column), [0] * len(column), [0] * len(column)
    for part in parts:
        for name, feature in part.items():
            number = column.get(name)
            if number is None:
                continue
            numeric = feature.numeric
            # A value of a type that the reference lacks, such as text instead of numbers, counts as missing. But a reference
            # without any values has no type, so there every value counts as present.
            untyped = not (numbers[number] or categories[number])
            if numeric is not None:
                if numbers[number]:
                    like = samples[numeric.n << 3 > len(numeric.points) and not numeric.counts]
                    like.add(number, numeric)
                    present[number] += numeric.n
                    if like.held_bytes >= _AT_ONCE_BYTES:
                        like.into(found, matrix)
                elif untyped:
                    present[number] += numeric.n
            if feature.categories or feature.other:
                count, new = _count(feature, number, matrix, found.cells)
                present[number] += count if untyped or categories[number] else 0
                named[number] += count
                unseen[number] += new
    found.sums[ROWS] = rows
    found.sums[PRESENT], found.sums[NAMED], found.sums[UNSEEN] = present, named, unseen
    for like in samples:
        like.into(found, matrix)
    return found


def _count(feature: Feature, number: int, matrix: ReferenceMatrix, cells: Floats) -> tuple[int, int]:
    """Add the categories of a feature to its cells; return the number of values, and of values in unknown categories."""
    known, own_cells = matrix.references[number].known, matrix.cells[number]
    total, inside, new = feature.other, 0, 0
    for category, count in feature.categories.items():
        total += count
        cell = own_cells.get(category)
        if cell is not None:
            cells[cell] += count
            inside += count
        if category not in known:
            new += count
    if matrix.rest[number] >= 0:
        cells[matrix.rest[number]] += total - inside
    return total, new


class _Samples:
    """Numeric samples of a bucket, concatenated.

    Args:
        coarse: whether all samples are mid-quantiles; otherwise none is.
    """

    def __init__(self, *, coarse: bool) -> None:
        self._coarse = coarse
        self._clear()

    def _clear(self) -> None:
        self._columns: list[int] = []
        self._counts: list[int] = []
        self._totals: list[float] = []
        self._points: list[bytes] = []
        self.held_bytes = 0
        #: Index of a sample -> counts of its points, if they differ.
        self._weights: dict[int, bytes] = {}

    def add(self, column: int, sample: Numeric) -> None:
        """Add a sample of a feature."""
        if sample.counts:
            self._weights[len(self._columns)] = sample.counts
        self._columns.append(column)
        self._counts.append(sample.n)
        self._totals.append(sample.total)
        self._points.append(sample.points)
        self.held_bytes += len(sample.points)

    def into(self, found: WindowSums, matrix: ReferenceMatrix) -> None:
        """Add the sums of all samples to `found`, and drop the samples."""
        if not self._columns:
            return
        width = len(matrix.names)
        columns = np.array(self._columns, dtype=np.intp)
        n = np.array(self._counts, dtype=np.float64)
        lengths = np.array([len(points) >> 3 for points in self._points], dtype=np.intp)
        values = np.frombuffer(b"".join(self._points), dtype="<f8")
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        each = np.repeat(columns, lengths)
        weights = np.repeat(n / lengths, lengths)
        for index, counts in self._weights.items():
            weights[starts[index] : starts[index] + lengths[index]] = np.frombuffer(counts, dtype="<f8")
        ranks = matrix.ranks(values, each)
        scores = scores_of(ranks)
        weighted = weights * scores
        sums = found.sums
        for power in (FIRST, SECOND, THIRD, FOURTH):
            sums[power] += _by_column(np.add.reduceat(weighted, starts), columns, width)
            if power != FOURTH:
                weighted *= scores
        sums[NUMBERS] += _by_column(n, columns, width)
        with np.errstate(over="ignore", invalid="ignore"):
            sums[TOTAL] += _by_column(np.array(self._totals), columns, width)
        sums[FAR] += _far(values, weights, each, matrix)
        if self._coarse:
            counts_of_bins, correction = bins_of_mid_quantiles(
                values, ranks, lengths=lengths, n=n, columns=columns, matrix=matrix
            )
            sums[COARSE] += _by_column(correction, columns, width)
            bins, weights = (np.arange(BINS)[:, None] * width + columns).ravel(), counts_of_bins.ravel()
        else:
            bins = bins_of(ranks) * width + each
        found.bins += _by_column(weights, bins, BINS * width).reshape(BINS, width)
        self._clear()


def _by_column(values: Floats, columns: Integers, width: int) -> Floats:
    """Return the sum of the values of each column, added in their order, so that it is the same in every run."""
    return np.asarray(np.bincount(columns, weights=values, minlength=width), dtype=np.float64)


def _far(values: Floats, weights: Floats, each: Integers, matrix: ReferenceMatrix) -> Floats:
    """Return the number of outliers in each column."""
    outside = np.flatnonzero((values < matrix.low[each]) | (values > matrix.high[each]))  # nearly always none
    found = np.zeros(len(matrix.names))
    for column in np.unique(each[outside]).tolist():
        of_column: Integers = outside[each[outside] == column]
        far = matrix.references[column].distances(values[of_column]) > matrix.outlier_beyond
        found[column] = float(weights[of_column][far].sum())
    return found
