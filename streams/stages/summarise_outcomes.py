"""The summarise stage of outcomes: outcomes of one partition -> windows of errors and marks.

Rules:
1. Rows are counted by their source, the offset of an event, because the outcomes of one fetch share a record. The durable
   offset is that of the first record that has a row of the oldest open window, or a later one.
2. An outcome whose source is not greater than the greatest one seen of its model is a repeat after a crash and is
   dropped. The first record after a restart is no repeat: its rows are those that the run before counted.
3. The first known label of a prediction counts (streams/records/outcome_errors.py). A correction reopens no window.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from detectors.errors import EventError
from detectors.windows.block import Block, blocks_of
from detectors.windows.row import ERROR, Row
from streams.engine.checkpoint import Checkpoint
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.records.dead_letters import dead_letter
from streams.records.outcome_errors import block_of_errors, errors_between
from streams.records.outcomes import Outcome, OutcomeColumns, OutcomeTick, error_between, parse
from streams.stages.summarise import Summariser
from streams.stages.wiring import Wiring
from streams.topics import OUTCOMES

_NOTHING_OPEN = 1 << 62


class SummariseOutcomes(Summariser):
    """Outcomes of one partition -> windows of errors."""

    _reads = OUTCOMES
    _kind = "outcomes"

    def __init__(self, wiring: Wiring, *, source: int, start: int) -> None:
        super().__init__(wiring, source=source, start=start)
        #: Model -> greatest source of its outcomes.
        self._newest: dict[str, int] = {}
        #: (greatest source in a record, offset of the record) from the durable offset on.
        self._records: deque[tuple[int, int]] = deque()

    async def feed(self, batch: Batch, position: int) -> None:
        """Add the outcomes of a batch from `position` on to their windows."""
        blocks: list[Block] = []
        rows: list[Row] = []
        newest = dict(self._newest)
        reached: list[tuple[int, int]] = []
        letters: list[Outgoing] = []
        for record in batch.records(position):
            try:
                found = parse(record.value)
                _check_partition(found, batch.tp.partition)
            except EventError as error:
                letters.append(dead_letter(self._kafka, batch.tp, record, error))
                continue
            seen = newest.get(found.model, -1)
            if isinstance(found, Outcome) and found.share < 1.0:  # a row does not say of how many it is one
                found = _alone(found)
            if isinstance(found, OutcomeColumns):
                block = block_of(found, seen)
                if block is not None:
                    blocks += [*blocks_of(rows), block]
                    rows = []
                last = found.source[-1] if found.source else -1
            else:
                last = _source(found, seen)
                row = _row(found, last) if isinstance(found, OutcomeTick) or last > seen else None
                if row is not None:
                    rows.append(row)
            if last > seen or isinstance(found, OutcomeTick):
                newest[found.model] = max(last, seen)
                reached.append((last, record.offset))
        self._newest = newest
        self._records.extend(reached)
        self.outbox.extend(letters)
        self._write(self._windows.add([*blocks, *blocks_of(rows)]))
        if letters:
            self._metrics.count("driftline_dead_letters_total", len(letters), reason="not_an_outcome")

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return the windows closed since the last checkpoint, and the offset that rebuilds the open ones."""
        source = self._windows.durable(_NOTHING_OPEN)
        while self._records and self._records[0][0] < source:
            self._records.popleft()
        return self.outbox.checkpoint(self._records[0][1] if self._records else position)


def _source(record: Outcome | OutcomeTick, seen: int) -> int:
    """Return the source of a record; a tick of version 1 has none, and stands behind what was seen."""
    if isinstance(record, Outcome):
        return record.source.offset
    return seen if record.source is None else record.source


def _row(record: Outcome | OutcomeTick, source: int) -> Row | None:
    """Return the row of an outcome in a window of outcomes, None if it has no error that counts."""
    if isinstance(record, OutcomeTick):
        return Row(source, record.model, record.ts, "", None)
    error = error_between(record.prediction.label, record.prediction.score, record.label)
    if error is None or (record.corrects and record.was is not None):
        return None
    return Row(source, record.model, record.ts, record.segment, {ERROR: error})


def _alone(outcome: Outcome) -> OutcomeColumns:
    """Return an outcome as columns of one row, with what a window needs."""
    return OutcomeColumns(
        model=outcome.model,
        partition=outcome.source.partition,
        id=[outcome.id],
        ts=[outcome.ts],
        predicted_at=[outcome.predicted_at],
        label=[outcome.prediction.label],
        score=[outcome.prediction.score],
        truth=[outcome.label],
        at=[-1 if outcome.at is None else outcome.at],
        source=[outcome.source.offset],
        segment=[outcome.segment],
        corrects=[outcome.corrects],
        was=[outcome.was],
        share=[outcome.share],
        v=outcome.v,
    )


def block_of(found: OutcomeColumns, seen: int) -> Block | None:
    """Return the rows of outcomes whose source is beyond `seen`; None if none of them has an error that counts."""
    sources = np.array(found.source, np.int64)
    counts = sources > seen
    if found.corrects is not None and found.was is not None:
        counts &= ~np.array([corrects and was is not None for corrects, was in zip(found.corrects, found.was, strict=True)])
    return block_of_errors(
        found.model,
        sources=sources,
        ts=np.array(found.ts),
        segments=found.segment,
        errors=errors_between(found.label, found.score, found.truth),
        counts=counts,
        share=None if found.share is None else np.array(found.share),
    )


def _check_partition(found: Outcome | OutcomeColumns | OutcomeTick, partition: int) -> None:
    """Return if outcomes are of the partition in which they stand.

    Raises:
        EventError: they are of another one.
    """
    own = (
        found.partition
        if isinstance(found, OutcomeColumns)
        else found.source.partition
        if isinstance(found, Outcome)
        else partition
    )
    if own != partition:
        raise EventError("not_an_outcome", "partition", f"expected {partition}, the partition of the record, got {own}")
