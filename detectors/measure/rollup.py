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

from detectors.measure.sums import Tally, empty
from detectors.reference.matrix import Stack
from detectors.reference.season import Flags


@dataclass(frozen=True, slots=True)
class Wide:
    """A window to be judged: the first of its buckets, how many it has, its sums, and the columns that they are whole for."""

    place: int
    stride: int
    sums: Tally
    columns: Flags


class Gather(msgspec.Struct):
    """Sums on their way to a wider window.

    Args:
        strides: buckets that each column is judged over, shape (F,).
        groups: number of the wider window that waits, -1 without one, shape (F,).
        waiting: its sums; None while all strides are one.
        latest: sums of the last whole window of each column that has wider ones; None before the first.
    """

    strides: np.ndarray = np.ones(0)
    groups: np.ndarray = np.ones(0)
    waiting: Tally | None = None
    latest: Tally | None = None

    def set(self, strides: np.ndarray) -> None:
        """Take other strides, for columns that may be others too; what waited is dropped."""
        self.strides = strides
        self.groups = np.full(len(strides), -1.0)
        self.waiting = self.latest = None

    def exchange(self, strides: np.ndarray, anew: Flags, before: Stack, after: Stack) -> None:
        """Take the strides of columns that have other references now, or came at the end; what waited of these alone is dropped.

        Args:
            strides: of all columns, shape (F,).
            anew: which columns have other references, shape (F,).
            before: the references so far.
            after: those from now on.
        """
        kept = ~anew[: len(before.names)]
        groups, sums = self.groups, (self.waiting, self.latest)
        self.set(strides)
        self.groups[~anew] = groups[kept]
        # Cells lie column by column, and those of a reference that stays are as many as they were.
        cells, kept_cells = ~anew[after.owner], kept[before.owner]
        self.waiting, self.latest = (
            None if one is None else _moved(one, (kept, kept_cells), empty(after), (~anew, cells)) for one in sums
        )

    def take(self, place: int, now: Tally, stack: Stack) -> Iterator[Wide]:
        """Take the sums of a bucket, which come in order, and yield what can be judged."""
        narrow = np.asarray(self.strides == 1)
        yield Wide(place, 1, now, narrow)
        if narrow.all():
            return
        if self.waiting is None:
            self.waiting = empty(stack)
        groups = place // self.strides
        yield from self._groups(~narrow & (self.groups >= 0) & (self.groups != groups), stack)
        anew = self.groups != groups
        self.waiting.sums[:, anew] = 0.0
        self.waiting.bins[:, anew] = 0.0
        self.waiting.cells[anew[stack.owner]] = 0.0
        self.waiting.add(now)
        full = ~narrow & (place % self.strides == self.strides - 1)
        self.groups = np.where(narrow, -1.0, groups)
        yield from self._groups(full, stack)
        self.groups[full] = -1.0

    def _groups(self, columns: Flags, stack: Stack) -> Iterator[Wide]:
        for stride in np.unique(self.strides[columns]).tolist():
            for group in np.unique(self.groups[columns & (self.strides == stride)]).tolist():
                mine = columns & (self.strides == stride) & (self.groups == group)
                if self.waiting is not None:
                    self._remember(self.waiting, mine, stack)
                    yield Wide(int(group * stride), int(stride), self.waiting, mine)

    def _remember(self, sums: Tally, columns: Flags, stack: Stack) -> None:
        if self.latest is None:
            self.latest = empty(stack)
        whole = (columns, columns[stack.owner])
        _moved(sums, whole, self.latest, whole)

    def standing(self, now: Tally, stack: Stack) -> Tally:
        """Return the sums of the latest whole window of each column; that of a column of stride one is the bucket itself."""
        wide = np.asarray(self.strides > 1)
        whole = (wide, wide[stack.owner])
        return _moved(self.latest or empty(stack), whole, now.copy(), whole)


def _moved(sums: Tally, of: tuple[Flags, Flags], into: Tally, to: tuple[Flags, Flags]) -> Tally:
    """Return `into` with some columns and cells of `sums` in place of its own; each is told by (columns, cells)."""
    into.sums[:, to[0]] = sums.sums[:, of[0]]
    into.bins[:, to[0]] = sums.bins[:, of[0]]
    into.cells[to[1]] = sums.cells[of[1]]
    return into
