"""A lane: one kind of blocks of one model -> its windows and marks, each with the row that closed it.

Windows (detectors/windows/windows.py) tells what a stretch of rows closed, and not which row did. Lines are printed in the order
of a worker that reads one row at a time, however long a stretch is.
"""

from __future__ import annotations

import math

import numpy as np

from detectors.windows.block import Block, columns
from detectors.windows.record import Kind, Mark, Window, WindowShape
from detectors.windows.windows import Windows


class ReplayLane:
    """The open windows of one kind of one model."""

    def __init__(self, model: str, kind: Kind, shape: WindowShape) -> None:
        """`shape`: of the windows."""
        self._model = model
        self._kind = kind
        self._shape = shape
        # A lane counts its own rows, so a model that others leave behind in the file is never idle.
        self._windows = Windows(kind, source=0, sources=1, shapes={model: shape})
        self._taken = 0
        self._newest = -math.inf

    @property
    def late(self) -> int:
        """Rows that came after their window was closed."""
        return self._windows.late.get(self._model, 0)

    def add(self, block: Block) -> list[tuple[int, Window | Mark]]:
        """Take the next rows; return (offset of the row that closed it, window or mark), in order."""
        shape = self._shape
        reached = block.ts if block.ticks is None else np.where(block.ticks, block.ts + shape.lateness_seconds, block.ts)
        newest = np.maximum.accumulate(np.concatenate(([self._newest], reached)))
        closed = np.floor((newest - shape.lateness_seconds) / shape.seconds)
        moved = np.flatnonzero(closed[1:] > closed[:-1])
        upto, offsets = closed[1:][moved], block.offsets[moved].tolist()
        self._newest = float(newest[-1])
        found: list[tuple[int, Window | Mark]] = []
        for record in self._windows.add([self._counted(block)]):
            if isinstance(record, Window):
                by = int(np.searchsorted(upto, round(record.start / shape.seconds), side="right"))
                found.append((offsets[by], record))
        found.extend((offset, self._mark(int(index))) for offset, index in zip(offsets, upto, strict=True))
        # The windows of a row stand before its mark: the order in which they were put in is kept.
        return sorted(found, key=lambda pair: pair[0])

    def end(self, offset: int) -> list[tuple[int, Window | Mark]]:
        """Return what the end of the file closes: everything; `offset` is the place behind the last row."""
        if self._newest == -math.inf:
            return []
        # Into the middle of the bucket after the last one, where no rounding can lead back.
        tick = (math.floor(self._newest / self._shape.seconds) + 1.5) * self._shape.seconds
        at, ts, nothing = np.array([offset]), np.array([tick]), columns((), 1)
        return self.add(Block(self._model, offsets=at, ts=ts, segments=None, ticks=np.array([True]), columns=nothing))

    def _mark(self, closed: int) -> Mark:
        return Mark(model=self._model, kind=self._kind, source=0, sources=1, until=closed * self._shape.seconds)

    def _counted(self, block: Block) -> Block:
        """Return the same rows with offsets of the lane's own."""
        start = self._taken
        self._taken += len(block)
        return Block(
            block.model,
            offsets=np.arange(start, self._taken),
            ts=block.ts,
            segments=block.segments,
            ticks=block.ticks,
            columns=block.columns,
            sizes=block.sizes,
        )
