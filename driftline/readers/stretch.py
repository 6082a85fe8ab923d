"""A stretch: some consecutive rows of a file, as blocks for the core.

The length of a stretch decides the speed, and nothing else: the results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from detectors.windows.block import Block


@dataclass(frozen=True, slots=True)
class RowFault:
    """An unusable row.

    Args:
        line: its line in the file, from 1 on; of a Parquet file the row, of a file of windows the record.
        reason: one of a closed set of words, as of dead letters.
        detail: what was expected, and what was there instead.
    """

    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class LabelCount:
    """What became of the labels of one model, from the beginning of the file on.

    Args:
        labels: how many there were, each with an id.
        without_prediction: of these, how many found no prediction.
        too_late: of these, how many came after `label_within`.
    """

    labels: int
    without_prediction: int
    too_late: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive rows.

    Args:
        rows: how many were read, the unusable ones among them.
        blocks: the features, at most one block for each model; an offset is the index of the row in the file.
        outcomes: the errors of the rows with a prediction and a label, likewise; of pairs of events more blocks are possible.
        faults: the unusable rows, in order.
        labels: model -> what became of its labels up to here, where they are events of their own.
    """

    rows: int
    blocks: list[Block]
    outcomes: list[Block] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    labels: Mapping[str, LabelCount] = field(default_factory=dict)
