"""A lane: one kind of blocks of one model -> its windows and marks, each with the row that closed it.

Lines are printed in the order of a worker that reads one row at a time, however long a stretch of rows is. So each row that
closes a bucket is followed by a mark (detectors/windows/windows.py).
"""

from __future__ import annotations

import numpy as np

from detectors.windows.block import Block
from detectors.windows.record import Kind, WindowShape
from detectors.windows.windows import Closing, Windows


class ReplayLane:
    """The open windows of one kind of one model."""

    def __init__(self, model: str, kind: Kind, shape: WindowShape) -> None:
        """`shape`: of the windows."""
        self._windows = Windows(kind, source=0, sources=1, shapes={model: shape}, mark_rows=True)
        self._counted = 0
        #: Rows that came after their window was closed.
        self.late = 0

    def add(self, block: Block) -> list[Closing]:
        """Take the next rows; return (offset of the row that closed it, window or mark), in order."""
        first = self._counted
        self._counted += len(block)
        # A lane counts its own rows, so a model that others leave behind in the file is never idle.
        own = Block(
            block.model,
            offsets=np.arange(first, self._counted),
            ts=block.ts,
            segments=block.segments,
            ticks=block.ticks,
            columns=block.columns,
            sizes=block.sizes,
        )
        taken = self._windows.add([own])
        self.late += sum(taken.late.values())
        return [(int(block.offsets[by - first]), record) for by, record in taken.closed]

    def end(self, offset: int) -> list[Closing]:
        """Return what the end of the file closes: everything; `offset` is the one after the last row."""
        return self._windows.end(offset)
