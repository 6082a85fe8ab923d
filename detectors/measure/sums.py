"""Parts of one bucket against a stack of references -> sums, one column for each feature.

Sums add up: those of several sources are those of their union, and those of neighbouring buckets are those of one wider
window. So nothing but sums has to be kept while a window is merged upwards (detectors/judging/judge.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.measure.binning import bins_of_lumps
from detectors.reference.feature_reference import scores_of
from detectors.reference.matrix import BINS, Integers, ReferenceMatrix, bins_of
from detectors.windows.feature import Feature
from detectors.windows.sample import Numeric

#: Rows of `WindowSums.sums`, in their order.
NUMBERS, FIRST, SECOND, THIRD, FOURTH, COARSE, FAR, TOTAL, ROWS, PRESENT, NAMED, UNSEEN = range(12)
_SUMS = 12
#: Samples are added up so many bytes at a time, so that they stay in the cache of the processor.
_AT_ONCE_BYTES = 1 << 17


class WindowSums(msgspec.Struct):
    """Sums over the rows of a window.

    Args:
        sums: shape (12, F), by the names above: values; their normal scores to the powers 1 to 4; what mid-quantiles add to
            G (below); values far outside; sum of the values; rows; rows with a value of a type that the reference has;
            categories counted, and those of them that the reference does not know.
        bins: values in each bin of the reference, shape (BINS, F).
        cells: values in each cell of the categories, shape (C,).

    A sample longer than its points stands for its values in lumps, of which bins hold fractions
    (detectors/measure/binning.py). These are smoother than counts are, or less exact between point masses: G is expected to be larger by `COARSE` / n, or smaller.
    """

    sums: np.ndarray
    bins: np.ndarray
    cells: np.ndarray

    def copy(self) -> WindowSums:
        """Return the same sums, to be kept."""
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
        parts: of each source, in an order that the log alone decides: feature -> summary. Features without a column are left out.
        rows: in all parts; a feature is missing in those in which no part has it.
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
            # A value of a type that the reference has none of is as good as none: text where numbers were, say.
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
    """Put the categories of a feature into its cells; return how many there were, and how many unknown ones."""
    known, mine = matrix.references[number].known, matrix.cells[number]
    total, inside, new = feature.other, 0, 0
    for category, count in feature.categories.items():
        total += count
        cell = mine.get(category)
        if cell is not None:
            cells[cell] += count
            inside += count
        if category not in known:
            new += count
    if matrix.rest[number] >= 0:
        cells[matrix.rest[number]] += total - inside
    return total, new


class _Samples:
    """Numeric samples of a bucket, one after the other.

    Args:
        coarse: whether all of them are mid-quantiles, or none.
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
        #: Place among the samples -> counts of its points, where they differ.
        self._weights: dict[int, bytes] = {}

    def add(self, column: int, sample: Numeric) -> None:
        """Take a sample of a feature."""
        if sample.counts:
            self._weights[len(self._columns)] = sample.counts
        self._columns.append(column)
        self._counts.append(sample.n)
        self._totals.append(sample.total)
        self._points.append(sample.points)
        self.held_bytes += len(sample.points)

    def into(self, found: WindowSums, matrix: ReferenceMatrix) -> None:
        """Add the sums of all samples to a tally, and hold none of them any more."""
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
        for place, counts in self._weights.items():
            weights[starts[place] : starts[place] + lengths[place]] = np.frombuffer(counts, dtype="<f8")
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
            held, added = bins_of_lumps(values, ranks, lengths=lengths, n=n, columns=columns, matrix=matrix)
            sums[COARSE] += _by_column(added, columns, width)
            places, weights = (np.arange(BINS)[:, None] * width + columns).ravel(), held.ravel()
        else:
            places = bins_of(ranks) * width + each
        found.bins += _by_column(weights, places, BINS * width).reshape(BINS, width)
        self._clear()


def _by_column(values: Floats, columns: Integers, width: int) -> Floats:
    """Return the sum for each column: of the parts in their order, so the same in every run."""
    return np.asarray(np.bincount(columns, weights=values, minlength=width), dtype=np.float64)


def _far(values: Floats, weights: Floats, each: Integers, matrix: ReferenceMatrix) -> Floats:
    """Return how many values of each column are outliers."""
    outside = np.flatnonzero((values < matrix.low[each]) | (values > matrix.high[each]))  # nearly always none
    found = np.zeros(len(matrix.names))
    for column in np.unique(each[outside]).tolist():
        mine: Integers = outside[each[outside] == column]
        far = matrix.references[column].distances(values[mine]) > matrix.outlier_beyond
        found[column] = float(weights[mine][far].sum())
    return found
