"""Merges windows upwards: the sums of neighbouring buckets, until they are as many as a feature is judged over.

Rules:
1. A column of stride k is judged over the buckets of which `place // k` is the same, once they have all come, or once a later one
   shows that the rest of them had no rows.
2. What waits are sums of bounded size, whatever the stride.
3. A column that gets another reference drops what waited of it, which was measured against the old one; no other column does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.measure.sums import WindowSums, empty
from detectors.reference.matrix import ReferenceMatrix
from detectors.reference.season import Flags


@dataclass(frozen=True, slots=True)
class Wide:
    """A window to be judged: the first of its buckets, how many it has, its sums, and the columns that they are whole for."""

    place: int
    rollup_width: int
    sums: WindowSums
    columns: Flags


class Rollup(msgspec.Struct):
    """Sums on their way to a wider window.

    Args:
        rollup_widths: buckets that each column is judged over, shape (F,).
        groups: number of the wider window that waits, -1 without one, shape (F,).
        waiting: its sums; None while all strides are one.
        latest: sums of the last whole window of each column that has wider ones; None before the first.
    """

    rollup_widths: np.ndarray = np.ones(0)
    groups: np.ndarray = np.ones(0)
    waiting: WindowSums | None = None
    latest: WindowSums | None = None

    def set(self, rollup_widths: np.ndarray) -> None:
        """Take other strides, for columns that may be others too; what waited is dropped."""
        self.rollup_widths = rollup_widths
        self.groups = np.full(len(rollup_widths), -1.0)
        self.waiting = self.latest = None

    def exchange(self, rollup_widths: np.ndarray, anew: Flags, before: ReferenceMatrix, after: ReferenceMatrix) -> None:
        """Take the strides of columns that have other references now, or came at the end; what waited of these alone is dropped.

        Args:
            rollup_widths: of all columns, shape (F,).
            anew: which columns have other references, shape (F,).
            before: the references so far.
            after: those from now on.
        """
        kept = ~anew[: len(before.names)]
        groups, sums = self.groups, (self.waiting, self.latest)
        self.set(rollup_widths)
        self.groups[~anew] = groups[kept]
        # Cells lie column by column, and those of a reference that stays are as many as they were.
        cells, kept_cells = ~anew[after.owner], kept[before.owner]
        self.waiting, self.latest = (
            None if one is None else _moved(one, (kept, kept_cells), empty(after), (~anew, cells)) for one in sums
        )

    def add(self, place: int, now: WindowSums, matrix: ReferenceMatrix) -> Iterator[Wide]:
        """Take the sums of a bucket, which come in order, and yield what can be judged."""
        narrow = np.asarray(self.rollup_widths == 1)
        yield Wide(place, 1, now, narrow)
        if narrow.all():
            return
        if self.waiting is None:
            self.waiting = empty(matrix)
        groups = place // self.rollup_widths
        yield from self._groups(~narrow & (self.groups >= 0) & (self.groups != groups), matrix)
        anew = self.groups != groups
        self.waiting.sums[:, anew] = 0.0
        self.waiting.bins[:, anew] = 0.0
        self.waiting.cells[anew[matrix.owner]] = 0.0
        self.waiting.add(now)
        full = ~narrow & (place % self.rollup_widths == self.rollup_widths - 1)
        self.groups = np.where(narrow, -1.0, groups)
        yield from self._groups(full, matrix)
        self.groups[full] = -1.0

    def _groups(self, columns: Flags, matrix: ReferenceMatrix) -> Iterator[Wide]:
        for rollup_width in np.unique(self.rollup_widths[columns]).tolist():
            for group in np.unique(self.groups[columns & (self.rollup_widths == rollup_width)]).tolist():
                mine = columns & (self.rollup_widths == rollup_width) & (self.groups == group)
                if self.waiting is not None:
                    self._remember(self.waiting, mine, matrix)
                    yield Wide(int(group * rollup_width), int(rollup_width), self.waiting, mine)

    def _remember(self, sums: WindowSums, columns: Flags, matrix: ReferenceMatrix) -> None:
        if self.latest is None:
            self.latest = empty(matrix)
        whole = (columns, columns[matrix.owner])
        _moved(sums, whole, self.latest, whole)

    def standing(self, now: WindowSums, matrix: ReferenceMatrix) -> WindowSums:
        """Return the sums of the latest whole window of each column; that of a column of stride one is the bucket itself."""
        wide = np.asarray(self.rollup_widths > 1)
        whole = (wide, wide[matrix.owner])
        return _moved(self.latest or empty(matrix), whole, now.copy(), whole)


def _moved(sums: WindowSums, of: tuple[Flags, Flags], into: WindowSums, to: tuple[Flags, Flags]) -> WindowSums:
    """Return `into` with some columns and cells of `sums` in place of its own; each is told by (columns, cells)."""
    into.sums[:, to[0]] = sums.sums[:, of[0]]
    into.bins[:, to[0]] = sums.bins[:, of[0]]
    into.cells[to[1]] = sums.cells[of[1]]
    return into
