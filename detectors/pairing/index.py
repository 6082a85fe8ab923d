"""Index: key -> slot of a table, many keys at a time.

Rules:
1. Open addressing with linear probing. An entry of 8 bytes holds 32 bits of the key, by which it has its place too, and the
   slot. The whole key stands in the table: an entry counts only if its slot has that key.
2. So nothing is ever deleted here. A slot that was given back has another key, or none, and its entry is passed over.
3. When seven tenths of the entries are taken, a new array takes over: twice as large, or of the same size if enough entries
   are dead. Each call moves some entries; until all are moved both arrays are searched. The new array is filled with zeros
   before, some at a time, because the system hands out memory slowly. So no call is long.
4. A round of probing costs the same few calls of NumPy for any number of keys. The last few keys are looked for one by one.

Keys are hashes of 64 bits: their low 32 bits have to be spread evenly. `NOBODY` is no key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Integers

U64 = NDArray[np.uint64]

#: The key of a slot that was given back.
NOBODY = np.uint64(0)
_EMPTY = np.uint64(0)
_TAG = np.uint64(0xFFFFFFFF)
_UPPER = np.uint64(32)
#: So few keys are looked for one by one.
_FEW = 6
_LEAST_BITS, _MOST_BITS = 10, 31
#: Entries that a call moves, and that it fills with zeros, at least and for each key added.
_STEP, _STEP_FOR_EACH = 1 << 15, 16
_FILLED, _FILLED_FOR_EACH = 1 << 17, 128


class _Entries:
    """One array of entries: (32 bits of the key, slot + 1), or `_EMPTY`."""

    __slots__ = ("array", "filled", "mask", "shift", "used")

    def __init__(self, bits: int) -> None:
        self.array = np.empty(1 << bits, np.uint64)
        #: Places that hold an entry or a zero: before the array is used these are all.
        self.filled = 0
        self.shift = np.uint64(32 - bits)
        self.mask = (1 << bits) - 1
        self.used = 0

    def fill(self, places: int) -> None:
        """Fill the next places with zeros."""
        self.array[self.filled : self.filled + places] = _EMPTY
        self.filled = min(self.filled + places, self.mask + 1)

    def find(self, keys: U64, found: Integers, places: Integers, row_keys: U64) -> None:
        """Write the slots of the keys at these places to `found`, whose other values stay."""
        tags = keys & _TAG
        left = places
        at = (tags[left] >> self.shift).astype(np.int64)
        while len(left) > _FEW:
            there = self.array[at]
            hit = ((there >> _UPPER) == tags[left]) & (there != _EMPTY)
            if hit.any():
                slots = (there[hit] & _TAG).astype(np.int64) - 1
                mine = row_keys[slots] == keys[left[hit]]
                found[left[hit][mine]] = slots[mine]
                hit[np.flatnonzero(hit)[~mine]] = False
            go = ~hit & (there != _EMPTY)
            left, at = left[go], (at[go] + 1) & self.mask
        for place, start in zip(left.tolist(), at.tolist(), strict=True):
            found[place] = self._find_one(int(keys[place]), start, row_keys)

    def _find_one(self, key: int, start: int, row_keys: U64) -> int:
        tag, at, array = key & 0xFFFFFFFF, start, self.array
        while (there := int(array[at])) != 0:
            if there >> 32 == tag and row_keys[(there & 0xFFFFFFFF) - 1] == key:
                return (there & 0xFFFFFFFF) - 1
            at = (at + 1) & self.mask
        return -1

    def insert(self, keys: U64, slots: Integers) -> None:
        """Add entries."""
        tags = keys & _TAG
        packed = (tags << _UPPER) | (slots + 1).astype(np.uint64)
        left = packed
        at = (tags >> self.shift).astype(np.int64)
        while len(left) > _FEW:
            free = self.array[at] == _EMPTY
            self.array[at[free]] = left[free]
            go = self.array[at] != left  # taken before, or by another of these keys
            left, at = left[go], (at[go] + 1) & self.mask
        for one, start in zip(left, at.tolist(), strict=True):
            place = start
            # An id that is used again in its slot has its entry already; another one each time would fill the array.
            while self.array[place] != _EMPTY and self.array[place] != one:
                place = (place + 1) & self.mask
            self.array[place] = one
        self.used += len(packed)


class Index:
    """Key -> slot.

    >>> index, table = Index(), np.array([5, 9], np.uint64)
    >>> index.insert(table, np.array([0, 1]))
    >>> index.find(np.array([9, 7, 5], np.uint64), table).tolist()
    [1, -1, 0]
    """

    __slots__ = ("_entries", "_moved", "_next", "_old")

    def __init__(self) -> None:
        self._entries = _Entries(_LEAST_BITS)
        self._entries.fill(self._entries.mask + 1)
        #: The array that comes next, while it is filled with zeros.
        self._next: _Entries | None = None
        #: The array before, while its entries are moved, and how many places of it are done.
        self._old: _Entries | None = None
        self._moved = 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of all arrays."""
        return self._entries.array.nbytes + sum(other.array.nbytes for other in (self._old, self._next) if other is not None)

    @property
    def growing(self) -> bool:
        """Return whether there are two arrays."""
        return self._old is not None

    def find(self, keys: U64, row_keys: U64) -> Integers:
        """Return the slot of each key, -1 where there is none.

        Args:
            keys: those looked for, shape (n,).
            row_keys: the key of each slot.
        """
        found = np.full(len(keys), -1, np.int64)
        self._entries.find(keys, found, np.arange(len(keys)), row_keys)
        if self._old is not None:
            missing = np.flatnonzero(found < 0)
            if len(missing):
                self._old.find(keys, found, missing, row_keys)
        return found

    def find_one(self, key: int, row_keys: U64) -> int:
        """Return the slot of one key, -1 if there is none."""
        for entries in (self._entries, self._old):
            if entries is not None:
                slot = entries._find_one(key, (key & 0xFFFFFFFF) >> int(entries.shift), row_keys)  # noqa: SLF001
                if slot >= 0:
                    return slot
        return -1

    def insert(self, keys: U64, slots: Integers) -> None:
        """Add keys that are not in the index and differ from each other; `make_room` was called for them."""
        self._entries.insert(keys, slots)

    def make_room(self, adding: int, live: int, row_keys: U64) -> None:
        """Let so many keys more have room, and move some entries on if there are two arrays.

        Args:
            adding: keys that come next.
            live: slots that have a key.
            row_keys: the key of each slot.
        """
        self._step(row_keys, max(_STEP, _STEP_FOR_EACH * adding))
        size = self._entries.mask + 1
        if self._old is None and (self._entries.used + adding) * 10 > 6 * size:
            if self._next is None:
                bits = max(_LEAST_BITS, ((live + adding) * 5 // 2).bit_length())
                self._next = _Entries(min(_MOST_BITS, bits))
            self._next.fill(max(_FILLED, _FILLED_FOR_EACH * adding))
        if (self._entries.used + adding) * 10 > 7 * size:
            self._take_next(adding, live, row_keys)

    def _take_next(self, adding: int, live: int, row_keys: U64) -> None:
        """Let the next array take over at once, whatever is left to be done for that."""
        self._step(row_keys, 1 << 62)
        needed = ((live + adding) * 10 // 7).bit_length()
        if self._next is None or self._next.mask + 1 < 1 << needed:  # more came at once than was foreseen
            self._next = _Entries(min(_MOST_BITS, needed + 1))
        self._next.fill(1 << 62)
        self._old, self._entries, self._next, self._moved = self._entries, self._next, None, 0
        self._step(row_keys, max(_STEP, _STEP_FOR_EACH * adding))

    def _step(self, row_keys: U64, places: int) -> None:
        """Move the entries at the next places of the array before to the new one."""
        if self._old is None:
            return
        end = min(self._moved + places, self._old.mask + 1)
        for low in range(self._moved, end, _STEP * 8):
            entries = self._old.array[low : min(end, low + _STEP * 8)]
            entries = entries[entries != _EMPTY]
            slots = (entries & _TAG).astype(np.int64) - 1
            keys = row_keys[slots]
            live = (keys != NOBODY) & ((keys & _TAG) == (entries >> _UPPER))
            self._entries.insert(keys[live], slots[live])
        self._moved = end
        if end == self._old.mask + 1:
            self._old = None
