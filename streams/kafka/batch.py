"""A batch: the records of one fetch of one partition, in columns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from faust.types import TP
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Consecutive records of a partition, at least one, as columns of equal length.

    Args:
        offsets: growing.
        timestamps: of the broker or the producer, milliseconds since 1970, shape (n,).
        keys: None where there is none.
        values: None where there is none.
    """

    offsets: Sequence[int]
    timestamps: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]


class BatchRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a batch; `timestamp` in milliseconds since 1970."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Batch:
    """The records of one fetch of one partition.

    Args:
        tp: topic and partition.
        epoch: of the partition when they were fetched.
        start: where the fetch was to begin; the first record may come later (a gap in the log).
        stretches: the records in offset order, at least one.
        number: batches of all partitions are numbered in the order in which they are handed out.
    """

    __slots__ = ("_keys", "cache", "epoch", "longest", "number", "offsets", "size", "start", "timestamps", "tp", "values")

    def __init__(self, tp: TP, epoch: int, start: int, stretches: Sequence[RecordColumns], number: int = 0) -> None:
        self.tp = tp
        self.epoch = epoch
        self.start = start
        self.number = number
        self.timestamps = np.concatenate([stretch.timestamps for stretch in stretches])
        self.values = [value for stretch in stretches for value in stretch.values]
        self._keys = [key for stretch in stretches for key in stretch.keys]
        first, end = stretches[0].offsets[0], stretches[-1].offsets[-1] + 1
        #: Offsets only grow: if there are as many as from the first to the last, none is missing.
        whole = end - first == len(self.values)
        self.offsets: Sequence[int] = (
            range(first, end) if whole else [offset for stretch in stretches for offset in stretch.offsets]
        )
        sizes = [len(value) for value in self.values if value]
        #: Bytes of all values, and of the longest.
        self.size, self.longest = sum(sizes), max(sizes, default=0)
        #: The decoded records, which the first reader leaves for the other readers of the batch.
        self.cache: Any = None

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return self.offsets[-1] + 1

    def record(self, index: int) -> BatchRecord:
        """Return the record at an index."""
        return BatchRecord(self.offsets[index], int(self.timestamps[index]), self._keys[index], self.values[index])

    def records(self, position: int) -> Iterator[BatchRecord]:
        """Yield the records from an offset on."""
        return map(self.record, range(bisect_left(self.offsets, position), len(self.values)))

    def alone(self, record: BatchRecord, start: int) -> Batch:
        """Return a batch of one of the records, as if it had been fetched alone from `start`."""
        return Batch(
            self.tp,
            self.epoch,
            start,
            [RecordColumns([record.offset], np.array([record.timestamp]), [record.key], [record.value])],
        )
