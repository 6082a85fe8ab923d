"""Table: rows by key, in one array that only grows; slots that were given back are used again.

A row that has expired, or that is beyond the sample, is dead at once, whoever finds it: `Alive` says so. `sweep` gives such
slots back some at a time, so no call is long, and when they are given back changes no result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Integers
from detectors.pairing.index import NOBODY, Index

Rows = NDArray[np.void]

_FIRST_ROWS = 1 << 10
#: From so many rows on, all that is reserved is asked for at once.
_FEW_ROWS = 1 << 16
#: Slots that a sweep looks at, at least and for each row added since.
_SWEPT, _SWEPT_FOR_EACH = 4_096, 8


class RowTable:
    """Rows of one type, which has the fields `key`, `check` and `offset`."""

    __slots__ = ("_free", "_free_count", "_index", "_reserved", "_swept", "count", "end", "rows")

    def __init__(self, kind: np.dtype[Any], *, reserve: int = 0) -> None:
        """Begin empty; beyond few rows, room for `reserve` rows is reserved, which takes memory only where it is used."""
        self._index = Index()
        self._reserved = reserve
        self.rows: Rows = np.zeros(_FIRST_ROWS, kind)
        #: Slots from here on were never used.
        self.end = 0
        #: Rows that are in the table, dead ones that were not given back among them.
        self.count = 0
        self._free = np.zeros(len(self.rows), np.uint32)
        self._free_count = 0
        self._swept = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes that hold something."""
        return self.end * (self.rows.dtype.itemsize + 4) + self._index.nbytes

    @property
    def growing(self) -> bool:
        """Return whether the index has two arrays."""
        return self._index.growing

    def find(self, keys: NDArray[np.uint64], checks: NDArray[np.uint32]) -> Integers:
        """Return the slot of each key, -1 where there is none."""
        slots = self._index.find(keys, self.rows["key"])
        slots[(slots >= 0) & (self.rows["check"][slots] != checks)] = -1
        return slots

    def find_one(self, key: int, check: int) -> int:
        """Return the slot of one key, -1 if there is none."""
        slot = self._index.find_one(key, self.rows["key"])
        return slot if slot >= 0 and self.rows["check"][slot] == check else -1

    def add(self, rows: Rows) -> Integers:
        """Add rows of different keys, none of which is in the table, and return their slots."""
        n = len(rows)
        if n == 0:
            return np.empty(0, np.int64)
        used = min(n, self._free_count)
        slots = np.empty(n, np.int64)
        slots[:used] = self._free[self._free_count - used : self._free_count]
        self._free_count -= used
        fresh = n - used
        if fresh:
            self._reserve(self.end + fresh)
            slots[used:] = np.arange(self.end, self.end + fresh)
            self.end += fresh
        self._index.make_room(n, self.count, self.rows["key"])
        self.rows[slots] = rows
        self._index.insert(rows["key"], slots)
        self.count += n
        return slots

    def release(self, slots: Integers) -> None:
        """Give slots back; each has a row."""
        if not len(slots):
            return
        self.rows["key"][slots] = NOBODY
        if self._free_count + len(slots) > len(self._free):
            self._free.resize(max(2 * len(self._free), self._free_count + len(slots)), refcheck=False)
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)
        self.count -= len(slots)

    def next_swept(self, added: int) -> Integers:
        """Return the next slots to be looked at by a sweep that follows on `added` rows; they have rows.

        After the last slot the sweep begins again, so it comes to every slot however many rows are added.
        """
        if self.count == 0:
            return np.empty(0, np.int64)
        budget = min(self.end, _SWEPT + _SWEPT_FOR_EACH * added)
        low = self._swept if self._swept < self.end else 0
        high = min(self.end, low + budget)
        self._swept = high
        slots = np.arange(low, high)
        if high - low < budget:
            self._swept = budget - (high - low)
            slots = np.concatenate([slots, np.arange(self._swept)])
        taken: Integers = slots[self.rows["key"][slots] != NOBODY]
        return taken

    def taken(self) -> Integers:
        """Return all slots that have a row."""
        return np.flatnonzero(self.rows["key"][: self.end] != NOBODY)

    def _reserve(self, rows: int) -> None:
        if rows <= len(self.rows):
            return
        wanted = max(rows, 2 * len(self.rows))
        if len(self.rows) <= _FEW_ROWS < wanted and self._reserved > wanted:
            # Growing is long for millions of rows: the system gives zeros where they are touched first.
            reserved = np.zeros(self._reserved, self.rows.dtype)
            reserved[: self.end] = self.rows[: self.end]
            self.rows = reserved
        else:
            self.rows.resize(wanted, refcheck=False)


def firsts(keys: NDArray[np.uint64]) -> Integers | None:
    """Return the places of the first of each key, growing; None if all differ."""
    ordered = np.sort(keys)
    if not bool((ordered[1:] == ordered[:-1]).any()):
        return None
    return np.sort(np.unique(keys, return_index=True)[1])
