"""The summarise stages: events of one partition -> windows and marks; what the stage of outcomes has in common with that.

Rules:
1. Nothing is stored: the durable offset is that of the oldest open window (detectors/windows/windows.py), and
   reading again from there rebuilds the state.
2. Every event of the partition is counted here: it is in a window, late, or a dead letter.

streams/stages/summarise_outcomes.py has the windows of outcomes.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from detectors.spec import shapes_of
from detectors.windows.record import Kind, Window
from detectors.windows.windows import Taken, Windows
from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.transport import LogState
from streams.events.decoding import decoded
from streams.kafka.batch import Batch
from streams.records import window_records
from streams.records.dead_letters import dead_letter
from streams.stages.training_rows import PendingRows
from streams.stages.wiring import Wiring
from streams.topics import EVENTS, Topic, topic_name


class Summariser:
    """The part that both stages share: the windows, and how they become durable."""

    _reads: ClassVar[Topic]
    _kind: ClassVar[Kind]

    def __init__(self, wiring: Wiring, *, source: int, start: int) -> None:
        self._kafka = wiring.kafka
        self._metrics = wiring.metrics
        shapes = shapes_of(wiring.models, self._kind)
        self._windows = Windows(self._kind, source=source, sources=wiring.sources, shapes=shapes)
        self.start = start
        self.outbox = Outbox(-1)

    @classmethod
    async def open(cls, wiring: Wiring, partition: int, log: LogState) -> Self:
        """Begin where the oldest window that was open begins."""
        topic = topic_name(wiring.kafka.prefix, cls._reads)
        return cls(wiring, source=partition, start=wiring.beginnings.of(topic, partition, log))

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return the windows closed since the last checkpoint, and the offset that rebuilds the open ones."""
        return self.outbox.checkpoint(self._windows.durable(position))

    def _write(self, taken: Taken) -> None:
        for record in taken.records:
            self.outbox.add(window_records.outgoing(self._kafka, record))
            if isinstance(record, Window):
                self._metrics.count("driftline_windows_total", model=record.model, kind=self._kind)
        for model, late in taken.late.items():
            self._metrics.count("driftline_late_events_total", late, model=model)


class SummariseEvents(Summariser):
    """Predictions and feature-only events of one partition -> windows of features."""

    _reads = EVENTS
    _kind = "features"

    def __init__(self, wiring: Wiring, *, source: int, start: int) -> None:
        super().__init__(wiring, source=source, start=start)
        self._decoding = wiring.decoding
        self._rows = PendingRows(wiring, source=source)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return what the last checkpoint did not have; the durable offset does not pass a row that is not sent."""
        self.outbox.extend(self._rows.take(final=final))
        return self.outbox.checkpoint(min(self._windows.durable(position), self._rows.durable(position)))

    async def feed(self, batch: Batch, position: int) -> None:
        """Add the events of a batch from `position` on to their windows."""
        found = decoded(batch, self._decoding)
        self._rows.add(found, position)
        letters = [letter for letter in found.dead if letter.offset >= position]
        if letters:
            by_offset = {record.offset: record for record in batch.records(position)}
            self.outbox.extend(dead_letter(self._kafka, batch.tp, by_offset[letter.offset], letter.error) for letter in letters)
        self._write(self._windows.add([block for whole in found.blocks if (block := whole.since(position)) is not None]))
        for letter in letters:
            self._metrics.count("driftline_dead_letters_total", reason=letter.error.reason)
        for (model, kind), offsets in found.kinds.items():
            count = len(offsets) - int(np.searchsorted(offsets, position))
            if count:
                self._metrics.count("driftline_events_total", count, model=model, kind=kind)
