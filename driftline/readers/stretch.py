"""A stretch: some consecutive rows of a file, as the core takes them.

How a file is cut into stretches is a matter of speed; nothing that comes out may depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from detectors.windows.block import Block


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that could not be used.

    Args:
        line: its line in the file, from 1 on; of a Parquet file the row, of a file of windows the record.
        reason: a short closed word, as with dead letters.
        detail: what was expected and what was there.
    """

    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """What some rows hold.

    Args:
        rows: how many were read, whether they could be used or not.
        blocks: the features, at most one block for each model; offsets are places in the file and grow from stretch to stretch.
        outcomes: the errors, likewise.
        faults: rows that could not be used, in order.
    """

    rows: int
    blocks: list[Block]
    outcomes: list[Block] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
