"""Bounds: which rows of one model and partition are alive, and how many bytes they take.

Rules:
1. A `Look` is taken where the offsets pass a multiple of `LOOK_EVERY`: the clock of the broker and the newest event time.
   Rows before a look are dead once a later look is more than `within` seconds beyond it by *both* clocks. So neither
   a broker with a wrong clock nor old events that are sent again can drop what may still be joined. After a month more the
   broker's clock alone decides, or a model that has fallen silent would keep its rows for ever.
2. At level L only keys below 2^(64 - L) are kept: a sample of 1 in 2^L by the hash of the id. A row that a level once
   dropped stays dead. The level changes at looks only (detectors/pairing/partition.py).
3. So what is alive follows from the log alone: not from the worker, nor from its clock or memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Flags, Floats, Integers

#: Looks are taken at multiples of so many offsets.
LOOK_EVERY = 1 << 14
#: One in 2^32 ids: a deployment that needs more than that needs more partitions.
MOST_LEVEL = 32
#: Bytes that a prediction counts for: its columns and its share of the index; and what it has besides its columns, plus this.
ROW_BYTES, EXTRA_BYTES = 80, 120
#: Answers, and segments with versions and clients, of up to so many bytes are taken to be few. A longer text counts for each
#: prediction that has it, with what Python keeps for it.
SHORT_TEXT, TEXT_BYTES = 32, 150
#: Seconds after which the broker's clock alone lets rows expire, besides `within`: of a model that has fallen silent.
_SILENT_SECONDS = 30 * 86_400.0


class Look(NamedTuple):
    """The state of the clocks where the log passes an offset, in epoch seconds."""

    offset: int
    clock: float
    newest: float


class Level(NamedTuple):
    """A level that holds from an offset on."""

    offset: int
    level: int


class Bounds:
    """Looks, levels and bytes of one model in one partition."""

    __slots__ = ("_bytes", "every", "floor", "levels", "looked", "looks", "total", "within")

    def __init__(self, within: float, every: int = LOOK_EVERY) -> None:
        self.within = within
        self.every = every
        #: Rows at smaller offsets are dead.
        self.floor = 0
        #: Looks from the floor on.
        self.looks: list[Look] = []
        #: Offset of the last look; -1 before the first.
        self.looked = -1
        self.levels: list[Level] = [Level(0, 0)]
        #: Block of `every` offsets -> bytes of its rows by the greatest level that keeps them.
        self._bytes: dict[int, NDArray[np.int64]] = {}
        self.total = 0

    @property
    def level(self) -> int:
        """Return the level now."""
        return self.levels[-1].level

    @property
    def is_silent(self) -> bool:
        """Return whether rows are kept that are older than `within` and a day by the broker's clock."""
        return bool(self.looks) and self.looks[-1].clock - self.looks[0].clock > self.within + 86_400.0

    def kept(self, keys: NDArray[np.uint64]) -> Flags | None:
        """Return whether each key is in the sample now; None if every key is."""
        return None if self.level == 0 else keys < limit(self.level)

    def alive(self, keys: NDArray[np.uint64], offsets: Integers) -> Flags:
        """Return whether each row is neither expired nor dropped."""
        found: Flags = offsets >= self.floor
        if len(self.levels) > 1 or self.level:
            found &= keys < _limits[self._greatest(offsets)]
        return found

    def is_alive(self, key: int, offset: int) -> bool:
        """Return whether one row is neither expired nor dropped."""
        if len(self.levels) == 1 and not self.level:
            return offset >= self.floor
        return bool(self.alive(np.array([key], np.uint64), np.array([offset], np.int64))[0])

    def share(self, offsets: Integers) -> Floats | None:
        """Return the share of ids that were kept all the time from these offsets on; None if every id was."""
        if len(self.levels) == 1 and not self.level:
            return None
        return np.ldexp(1.0, -self._greatest(offsets))

    def _greatest(self, offsets: Integers) -> Integers:
        """Return the greatest level from each offset on."""
        starts = np.array([change.offset for change in self.levels])
        greatest = np.maximum.accumulate(np.array([change.level for change in reversed(self.levels)]))[::-1]
        return greatest[np.maximum(0, np.searchsorted(starts, offsets, side="right") - 1)]

    def add(self, keys: NDArray[np.uint64], offsets: Integers, sizes: Integers | None = None) -> None:
        """Count rows that were added; `sizes` are their bytes, None for `ROW_BYTES` each."""
        if not len(keys):
            return
        depths = np.minimum(64 - np.frexp(keys.astype(np.float64))[1], MOST_LEVEL)
        low, high = int(offsets[0]) // self.every, int(offsets[-1]) // self.every
        blocks = [(low, slice(None))] if low == high else [(one, offsets // self.every == one) for one in range(low, high + 1)]
        for block, rows in blocks:
            weights = None if sizes is None else sizes[rows]
            counted = np.bincount(depths[rows], weights, MOST_LEVEL + 1).astype(np.int64) * (ROW_BYTES if sizes is None else 1)
            before = self._bytes.get(block)
            self._bytes[block] = counted if before is None else before + counted
            self.total += int(counted.sum())

    def look(self, look: Look) -> None:
        """Take a look, which moves the floor."""
        self.looked = look.offset
        self.looks.append(look)
        floor = self.floor
        for before in self.looks:
            silent = before.clock + self.within + _SILENT_SECONDS < look.clock
            if before.clock + self.within < look.clock and (silent or before.newest + self.within < look.newest):
                floor = max(floor, before.offset)
        self.raise_floor(floor)

    def raise_floor(self, floor: int) -> None:
        """Let rows at smaller offsets be dead."""
        if floor > self.floor:
            self.floor = floor
            self.looks = [one for one in self.looks if one.offset >= floor]
            for block in [block for block in self._bytes if (block + 1) * self.every <= floor]:
                self.total -= int(self._bytes.pop(block).sum())
            current = [change for change in self.levels if change.offset <= floor]
            self.levels = [*current[-1:], *(change for change in self.levels if change.offset > floor)]

    def begin(self, level: int) -> None:
        """Let this be the level of whatever came before."""
        self.levels = [Level(0, level)]

    def set_level(self, offset: int, level: int) -> None:
        """Let another level hold from an offset on."""
        if level > self.level:
            for counted in self._bytes.values():
                self.total -= int(counted[:level].sum())
                counted[:level] = 0
        self.looked = max(self.looked, offset)
        self.levels.append(Level(offset, level))


def limit(level: int) -> np.uint64:
    """Return the greatest key of a level, plus 1; at level 0 no key is the greatest one."""
    return np.uint64((1 << (64 - level)) - (level == 0))


_limits = np.array([limit(level) for level in range(MOST_LEVEL + 1)], np.uint64)
