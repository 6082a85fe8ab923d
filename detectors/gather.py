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

from detectors.season import Flags
from detectors.stack import Stack
from detectors.tally import Tally, empty


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
    """

    strides: np.ndarray = np.ones(0)
    groups: np.ndarray = np.ones(0)
    waiting: Tally | None = None

    def set(self, strides: np.ndarray) -> None:
        """Take other strides, for columns that may be others too; what waited is dropped."""
        self.strides = strides
        self.groups = np.full(len(strides), -1.0)
        self.waiting = None

    def exchange(self, strides: np.ndarray, anew: Flags, before: Stack, after: Stack) -> None:
        """Take the strides of columns that have other references now, or came at the end; what waited of these alone is dropped.

        Args:
            strides: of all columns, shape (F,).
            anew: which columns have other references, shape (F,).
            before: the references so far.
            after: those from now on.
        """
        kept = ~anew[: len(before.names)]
        groups, waited = self.groups, self.waiting
        self.set(strides)
        self.groups[~anew] = groups[kept]
        if waited is None:
            return
        self.waiting = empty(after)
        self.waiting.sums[:, ~anew] = waited.sums[:, kept]
        self.waiting.bins[:, ~anew] = waited.bins[:, kept]
        # Cells lie column by column, and those of a reference that stays are as many as they were.
        self.waiting.cells[~anew[after.owner]] = waited.cells[kept[before.owner]]

    def take(self, place: int, now: Tally, stack: Stack) -> Iterator[Wide]:
        """Take the sums of a bucket, which come in order, and yield what can be judged."""
        narrow = np.asarray(self.strides == 1)
        yield Wide(place, 1, now, narrow)
        if narrow.all():
            return
        if self.waiting is None:
            self.waiting = empty(stack)
        groups = place // self.strides
        yield from self._groups(~narrow & (self.groups >= 0) & (self.groups != groups))
        anew = self.groups != groups
        self.waiting.sums[:, anew] = 0.0
        self.waiting.bins[:, anew] = 0.0
        self.waiting.cells[anew[stack.owner]] = 0.0
        self.waiting.add(now)
        full = ~narrow & (place % self.strides == self.strides - 1)
        self.groups = np.where(narrow, -1.0, groups)
        yield from self._groups(full)
        self.groups[full] = -1.0

    def _groups(self, columns: Flags) -> Iterator[Wide]:
        for stride in np.unique(self.strides[columns]).tolist():
            for group in np.unique(self.groups[columns & (self.strides == stride)]).tolist():
                mine = columns & (self.strides == stride) & (self.groups == group)
                if self.waiting is not None:
                    yield Wide(int(group * stride), int(stride), self.waiting, mine)
