"""The summarise stages: events, or outcomes, of one partition -> windows and marks.

Rules:
1. Nothing is stored: the durable offset is that of the oldest open window (detectors/windows/windows.py), and
   reading again from there rebuilds the state.
2. Every event of the partition is accounted for here: in a window, late, or a dead letter.
3. An outcome whose source is at or before the newest one seen is a repeat after a crash and is
   dropped. The first record after a restart was counted before, so it is newer than all before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.errors import EventError
from detectors.spec import ModelSpec, shapes_of
from detectors.windows.record import Kind, Window
from detectors.windows.row import Row
from detectors.windows.windows import Taken, Windows
from streams.engine.stage import Checkpoint
from streams.events.decoding import Decoding, decoded
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.records import window_records
from streams.records.dead_letters import dead_letter
from streams.records.outcomes import Outcome, parse, row_of
from streams.settings import KafkaSettings


class _Summariser:
    """What both stages share: the windows, the outbox, and how they become durable."""

    def __init__(self, kind: Kind, *, kafka: KafkaSettings, metrics: Metrics, windows: Windows, start: int) -> None:
        self._kind = kind
        self._kafka = kafka
        self._metrics = metrics
        self._windows = windows
        self._outbox: list[Outgoing] = []
        self._reported = -1
        self.start = start

    @property
    def outbox_size(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outbox)

    def step_over(self, letter: Outgoing) -> None:
        """Send a record that cannot be fed to the dead letters instead."""
        self._outbox.append(letter)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return the windows written since the last cut, and the offset that rebuilds the open ones."""
        durable = self._windows.durable(position)
        if not self._outbox and durable == self._reported:
            return None
        outgoing, self._outbox = self._outbox, []
        self._reported = durable
        return Checkpoint(outgoing, durable)

    def _write(self, taken: Taken) -> None:
        for record in taken.records:
            self._outbox.append(window_records.outgoing(self._kafka, record))
            if isinstance(record, Window):
                self._metrics.count("driftline_windows_total", model=record.model, kind=self._kind)
        for model, late in taken.late.items():
            self._metrics.count("driftline_late_events_total", late, model=model)


class SummariseEvents(_Summariser):
    """Predictions and feature-only events of one partition -> windows of features."""

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        metrics: Metrics,
        models: Mapping[str, ModelSpec],
        decoding: Decoding,
        source: int,
        sources: int,
        start: int,
    ) -> None:
        windows = Windows("features", source=source, sources=sources, shapes=shapes_of(models, "features"))
        super().__init__("features", kafka=kafka, metrics=metrics, windows=windows, start=start)
        self._decoding = decoding

    async def feed(self, batch: Batch, position: int) -> None:
        """Take the events of a batch from `position` on."""
        found = decoded(batch, self._decoding)
        letters = [letter for letter in found.dead if letter.offset >= position]
        if letters:
            by_offset = {record.offset: record for record in batch.records(position)}
            self._outbox.extend(dead_letter(self._kafka, batch.tp, by_offset[letter.offset], letter.error) for letter in letters)
        self._write(self._windows.add([block for whole in found.blocks if (block := whole.since(position)) is not None]))
        for letter in letters:
            self._metrics.count("driftline_dead_letters_total", reason=letter.error.reason)
        for (model, kind), offsets in found.kinds.items():
            count = len(offsets) - int(np.searchsorted(offsets, position))
            if count:
                self._metrics.count("driftline_events_total", count, model=model, kind=kind)


class SummariseOutcomes(_Summariser):
    """Outcomes of one partition -> windows of errors."""

    def __init__(
        self, *, kafka: KafkaSettings, metrics: Metrics, models: Mapping[str, ModelSpec], source: int, sources: int, start: int
    ) -> None:
        windows = Windows("outcomes", source=source, sources=sources, shapes=shapes_of(models, "outcomes"))
        super().__init__("outcomes", kafka=kafka, metrics=metrics, windows=windows, start=start)
        #: Source partition -> offset of the newest outcome from it.
        self._newest: dict[int, int] = {}

    async def feed(self, batch: Batch, position: int) -> None:
        """Take the outcomes of a batch from `position` on."""
        rows: list[Row] = []
        newest = dict(self._newest)
        letters: list[Outgoing] = []
        for record in batch.records(position):
            try:
                outcome = parse(record.value)
            except EventError as error:
                letters.append(dead_letter(self._kafka, batch.tp, record, error))
                continue
            if isinstance(outcome, Outcome):
                source = outcome.source
                if source.offset <= newest.get(source.partition, -1):
                    continue
                newest[source.partition] = source.offset
            row = row_of(record.offset, outcome)
            if row is not None:
                rows.append(row)
        self._newest = newest
        self._outbox.extend(letters)
        self._write(self._windows.add_rows(rows))
        if letters:
            self._metrics.count("driftline_dead_letters_total", len(letters), reason="not_an_outcome")
