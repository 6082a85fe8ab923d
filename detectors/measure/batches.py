"""The same references once for each of some windows: many windows are held against them with a few array operations.

Rules:
1. What is found of a window is what it says alone, however many go with it: its sums are those of its own columns, in the
   order of its parts, and no more samples go together than detectors/measure/sums.py adds up at a time.
2. What is held at a time is bounded, whatever the number of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from detectors.measure.measure import Measures, measure
from detectors.measure.sums import ROWS, WindowSums, window_sums
from detectors.reference.matrix import Integers, ReferenceMatrix
from detectors.windows.feature import Feature

#: Columns, of all windows together, and bytes of samples that are held against the references at a time.
_MOST_COLUMNS, _MOST_BYTES = 1024, 1 << 16
#: Lengths that are kept once they are made.
_MOST_KEPT = 3

#: Rows of a window, and the features of each of its parts.
Held = tuple[int, Sequence[Mapping[str, Feature]]]


class BatchedReferences(ReferenceMatrix):
    """A stack so many times in a row: the feature of column f has column w * F + f in window w, and is called `w/name` there."""

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
            {category: cell + window * cells for category, cell in mine.items()} for window in range(times) for mine in one.cells
        ]

    def ranks(self, values: np.ndarray, columns: Integers) -> Integers:
        """Return twice the mid-rank of each value, shape (n,); the quantiles of one window stay in the cache of the processor."""
        return self.one.ranks(values, columns % len(self.one.names))


class WindowBatches:
    """Holds windows against a stack, some at a time.

    Args:
        matrix: the references.
        outlier_beyond: standard deviations from which a value is far outside.
    """

    def __init__(self, matrix: ReferenceMatrix, *, outlier_beyond: float) -> None:
        self._stack = matrix
        self._beyond = outlier_beyond
        #: Windows that go together at most.
        self.most = max(1, _MOST_COLUMNS // max(1, len(matrix.names)))
        self._tiled: dict[int, BatchedReferences] = {}

    def window_sums(self, windows: Iterable[Held]) -> Iterator[WindowSums]:
        """Yield the sums of each window, in their order."""
        together: list[Held] = []
        held_bytes = 0
        for rows, parts in windows:
            mine = _bytes(parts)
            if len(together) == self.most or held_bytes + mine > _MOST_BYTES:
                yield from self._tally(together)
                together, held_bytes = [], 0
            together.append((rows, parts))
            held_bytes += mine
        yield from self._tally(together)

    def measure(self, sums: Sequence[WindowSums]) -> Iterator[Measures]:
        """Yield what each of some windows says, in their order."""
        width = len(self._stack.names)
        for low in range(0, len(sums), self.most):
            some = sums[low : low + self.most]
            if len(some) == 1:
                yield measure(some[0], self._stack)
                continue
            joined = WindowSums(
                np.concatenate([one.sums for one in some], axis=1),
                np.concatenate([one.bins for one in some], axis=1),
                np.concatenate([one.cells for one in some]),
            )
            found = measure(joined, self._times(len(some)))
            for first in range(0, len(some) * width, width):
                mine = slice(first, first + width)
                yield Measures(found.value[:, mine], found.within[:, mine], found.count[:, mine])

    def _tally(self, windows: Sequence[Held]) -> Iterator[WindowSums]:
        if len(windows) < 2:
            for rows, parts in windows:
                yield window_sums(parts, rows, self._stack, outlier_beyond=self._beyond)
            return
        tiled = self._times(len(windows))
        column = self._stack.column
        named = (
            {f"{window}/{name}": feature for name, feature in part.items() if name in column}
            for window, (_, parts) in enumerate(windows)
            for part in parts
        )
        found = window_sums(named, 0, tiled, outlier_beyond=self._beyond)
        width, cells = len(self._stack.names), len(self._stack.owner)
        found.sums[ROWS] = np.repeat([rows for rows, _ in windows], width)
        for window in range(len(windows)):
            mine = slice(window * width, (window + 1) * width)
            yield WindowSums(found.sums[:, mine], found.bins[:, mine], found.cells[window * cells : (window + 1) * cells])

    def _times(self, times: int) -> BatchedReferences:
        """Return the stack so many times in a row; nearly all that are asked for are of a few lengths."""
        if times not in self._tiled:
            if len(self._tiled) == _MOST_KEPT:
                self._tiled.clear()
            self._tiled[times] = BatchedReferences(self._stack, times)
        return self._tiled[times]


def _bytes(parts: Sequence[Mapping[str, Feature]]) -> int:
    return sum(len(feature.numeric.points) for part in parts for feature in part.values() if feature.numeric is not None)
