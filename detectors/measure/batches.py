"""Batches of windows: the references are repeated once a window, so a few array operations measure many windows.

Rules:
1. The result for a window does not depend on the other windows of its batch. Its sums are those of its own columns, in the
   order of its parts, and a batch has no more samples than detectors/measure/sums.py adds up at a time.
2. The memory of a batch is bounded, whatever the number of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from detectors.measure.measure import Measures, measure
from detectors.measure.sums import ROWS, WindowSums, window_sums
from detectors.reference.matrix import Integers, ReferenceMatrix
from detectors.windows.feature import Feature

#: Most columns of a batch, over all its windows, and most bytes of its samples.
_MOST_COLUMNS, _MOST_BYTES = 1024, 1 << 16
#: Repeated references that are kept in memory, one for each number of windows.
_MOST_KEPT = 3

#: A window: its number of rows, and the features of each of its parts.
Held = tuple[int, Sequence[Mapping[str, Feature]]]


class BatchedReferences(ReferenceMatrix):
    """References repeated `times` times: in window w, the feature of column f has column w * F + f, and the name `w/name`."""

    def __init__(self, one: ReferenceMatrix, times: int) -> None:
        width, cells = len(one.names), len(one.owner)
        self.one = one
        self.names = [f"{window}/{name}" for window in range(times) for name in one.names]
        self.column = {name: number for number, name in enumerate(self.names)}
        self.references = one.references * times
        self.quantiles = np.tile(one.quantiles, (times, 1))
        self.numeric, self.categorical = np.tile(one.numeric, times), np.tile(one.categorical, times)
        self.distinct, self.occupied, self.several = (np.tile(each, times) for each in (one.distinct, one.occupied, one.several))
        self.low, self.high = np.tile(one.low, times), np.tile(one.high, times)
        self.bins = np.tile(one.bins, times)
        self.shares = np.tile(one.shares, times)
        first = np.arange(times)
        self.owner = np.add.outer(first * width, one.owner).ravel()
        self.rests = np.add.outer(first * cells, one.rests).ravel()
        self.rest = [cell + window * cells if cell >= 0 else -1 for window in range(times) for cell in one.rest]
        self.cells = [
            {category: cell + window * cells for category, cell in of_column.items()}
            for window in range(times)
            for of_column in one.cells
        ]

    def ranks(self, values: np.ndarray, columns: Integers) -> Integers:
        """Return twice the mid-rank of each value, shape (n,), from quantiles that are not repeated, which stay in cache."""
        return self.one.ranks(values, columns % len(self.one.names))


class WindowBatches:
    """Measures windows against references, a batch at a time.

    Args:
        matrix: the references.
        outlier_beyond: standard deviations from which a value is far outside.
    """

    def __init__(self, matrix: ReferenceMatrix, *, outlier_beyond: float) -> None:
        self._matrix = matrix
        self._beyond = outlier_beyond
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
                yield window_sums(parts, rows, self._matrix, outlier_beyond=self._beyond)
            return
        repeated = self._repeat(len(windows))
        column = self._matrix.column
        named = (
            {f"{window}/{name}": feature for name, feature in part.items() if name in column}
            for window, (_, parts) in enumerate(windows)
            for part in parts
        )
        found = window_sums(named, 0, repeated, outlier_beyond=self._beyond)
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
