"""Batches of windows: the references are repeated once a window, so a few array operations measure many windows.

Rules:
1. The result for a window does not depend on the other windows of its batch. Its sums are those of its own columns, in the
   order of its parts, and a batch has no more samples than detectors/measure/sums.py adds up at a time.
2. The memory of a batch is bounded, whatever the number of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Floats
from detectors.measure.measure import Measures, measure
from detectors.measure.sums import ROWS, WindowSums, window_sums
from detectors.reference.matrix import Cells, Integers, ReferenceMatrix
from detectors.windows.feature import Feature

#: Most columns of a batch, over all its windows, and most bytes of its samples.
_MOST_COLUMNS, _MOST_BYTES = 1024, 1 << 16
#: Repeated references that are kept in memory, one for each number of windows.
_MOST_KEPT = 3

#: A window: its number of rows, and the features of each of its parts.
Held = tuple[int, Sequence[Mapping[str, Feature]]]


class BatchedReferences(ReferenceMatrix):
    """References repeated `times` times: in window w, the feature of column f has column w * F + f, and the name `w/name`.

    Its arrays are those of the single matrix repeated, which is quicker than to compute them again.

    Args:
        single: the references once.
        times: number of repetitions.
    """

    def __init__(self, single: ReferenceMatrix, times: int) -> None:
        pairs = list(zip(single.names, single.references, strict=True))
        repeated = {f"{window}/{name}": reference for window in range(times) for name, reference in pairs}
        super().__init__(repeated, outlier_beyond=single.outlier_beyond)
        self._single = single
        self._times = times

    @cached_property
    def quantiles(self) -> Floats:
        """Shape (F, QUANTILES)."""
        return np.tile(self._single.quantiles, (self._times, 1))

    @cached_property
    def numeric(self) -> NDArray[np.bool_]:
        """Whether each feature had numbers, shape (F,)."""
        return np.tile(self._single.numeric, self._times)

    @cached_property
    def categorical(self) -> NDArray[np.bool_]:
        """Whether each feature had categories, shape (F,)."""
        return np.tile(self._single.categorical, self._times)

    @cached_property
    def bins(self) -> Floats:
        """Share of each bin, shape (BINS, F)."""
        return np.tile(self._single.bins, self._times)

    @cached_property
    def occupied(self) -> Integers:
        """How many bins of each feature have a value, shape (F,)."""
        return np.tile(self._single.occupied, self._times)

    @cached_property
    def layout(self) -> Cells:
        """Cells of all categories, window by window."""
        width, one = len(self._single.names), self._single.layout
        count, windows = len(one.owner), np.arange(self._times)
        return Cells(
            [
                {name: cell + window * count for name, cell in cells.items()}
                for window in windows.tolist()
                for cells in one.of_category
            ],
            [cell + window * count if cell >= 0 else -1 for window in windows.tolist() for cell in one.rest],
            np.add.outer(windows * width, one.owner).ravel(),
            np.tile(one.shares, self._times),
        )

    def ranks(self, values: np.ndarray, columns: Integers) -> Integers:
        """Return twice the mid-rank of each value, shape (n,), from quantiles that are not repeated, which stay in cache."""
        return self._single.ranks(values, columns % len(self._single.names))


class WindowBatches:
    """Measures windows against references, a batch at a time.

    Args:
        matrix: the references.
    """

    def __init__(self, matrix: ReferenceMatrix) -> None:
        self._matrix = matrix
        #: Most windows of a batch.
        self.most = max(1, _MOST_COLUMNS // max(1, len(matrix.names)))
        self._repeated: dict[int, BatchedReferences] = {}

    def window_sums(self, windows: Iterable[Held]) -> Iterator[WindowSums]:
        """Yield the sums of each window, in their order."""
        batch: list[Held] = []
        batch_bytes = 0
        for rows, parts in windows:
            window_bytes = _bytes(parts)
            if len(batch) == self.most or batch_bytes + window_bytes > _MOST_BYTES:
                yield from self._sums_of(batch)
                batch, batch_bytes = [], 0
            batch.append((rows, parts))
            batch_bytes += window_bytes
        yield from self._sums_of(batch)

    def measure(self, sums: Sequence[WindowSums]) -> Iterator[Measures]:
        """Yield the statistics of each window, in their order."""
        width = len(self._matrix.names)
        for low in range(0, len(sums), self.most):
            some = sums[low : low + self.most]
            if len(some) == 1:
                yield measure(some[0], self._matrix)
                continue
            joined = WindowSums(
                np.concatenate([one.sums for one in some], axis=1),
                np.concatenate([one.bins for one in some], axis=1),
                np.concatenate([one.cells for one in some]),
            )
            found = measure(joined, self._repeat(len(some)))
            for first in range(0, len(some) * width, width):
                columns = slice(first, first + width)
                yield Measures(found.value[:, columns], found.within[:, columns], found.count[:, columns])

    def _sums_of(self, windows: Sequence[Held]) -> Iterator[WindowSums]:
        if len(windows) < 2:
            for rows, parts in windows:
                yield window_sums(parts, rows, self._matrix)
            return
        repeated = self._repeat(len(windows))
        column = self._matrix.column
        named = (
            {f"{window}/{name}": feature for name, feature in part.items() if name in column}
            for window, (_, parts) in enumerate(windows)
            for part in parts
        )
        found = window_sums(named, 0, repeated)
        width, cells = len(self._matrix.names), len(self._matrix.owner)
        found.sums[ROWS] = np.repeat([rows for rows, _ in windows], width)
        for window in range(len(windows)):
            columns = slice(window * width, (window + 1) * width)
            yield WindowSums(found.sums[:, columns], found.bins[:, columns], found.cells[window * cells : (window + 1) * cells])

    def _repeat(self, times: int) -> BatchedReferences:
        """Return the references repeated `times` times; nearly all batches have one of a few lengths, so these are kept."""
        if times not in self._repeated:
            if len(self._repeated) == _MOST_KEPT:
                self._repeated.clear()
            self._repeated[times] = BatchedReferences(self._matrix, times)
        return self._repeated[times]


def _bytes(parts: Sequence[Mapping[str, Feature]]) -> int:
    return sum(len(feature.numeric.points) for part in parts for feature in part.values() if feature.numeric is not None)
