"""The join stage: predictions and labels of one partition of events -> outcomes.

Rules:
1. Which prediction and which label make an outcome stands in detectors/pairing/. What waits is in memory, in columns.
2. Both halves carry the same key, so they are in the same partition. The outcome goes to the same partition of the
   outcomes topic, with the offset of its second half: for each model these offsets grow, so a repeat after a crash
   is recognised.
3. What is kept goes to the topic `PREFIX.join`, in chunks (streams/records/join_chunks.py). A flush sends outcomes, awaits
   the acknowledgements, sends chunks, awaits them, and only then moves the durable offset. The other way round
   a crash would lose outcomes.
4. Chunks are written when there is enough for one, or after `_CHUNK_SECONDS`, or when the partition goes. Until then the durable
   offset stands still, and outcomes that went out already are repeats after a crash.
5. What a chunk says is a function of the events alone, so a second owner of the partition writes what is there already.
6. A tick for outcomes comes by the events topic and is passed on at its offset: it must not overtake the outcomes of
   the records before it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Self

import numpy as np

from detectors.pairing.pairs import ModelPairs
from detectors.pairing.partition import BrokerClock
from detectors.pairing.taken import Pairing, TakenPairs
from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.transport import LogState
from streams.events.decoding import Decoded, decoded
from streams.events.event import Event, EventKind
from streams.events.identified import Identified, identified_by_model
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.patience import LogLimit
from streams.records.join_chunks import BEGIN, Begin, ChunkPlace, chunks_of, encode, encode_begin
from streams.records.outcomes import OutcomeColumns, OutcomeTick
from streams.records.outcomes import encode as encode_outcomes
from streams.stages.join_start import Start, started
from streams.stages.outcome_columns import outcome_columns
from streams.stages.wiring import Wiring
from streams.topics import JOIN, OUTCOMES, topic_name

_LOG = logging.getLogger("driftline.worker")

#: Records taken from which chunks are written, and seconds after which they are in any case.
_CHUNK_RECORDS, _CHUNK_SECONDS = 1_000, 30.0
#: A record of outcomes with more bytes than this is cut.
_MOST_BYTES = 512 << 10
#: Seconds after which the beginning of the log is written anew, so that retention does not remove it.
_BEGIN_SECONDS = 86_400.0
_TICKS: tuple[EventKind, ...] = ("outcome_tick",)
#: Ids of labels that wait, of which one becomes the example of a foreign label.
_MOST_EXAMPLES = 64


class Join:
    """Pairs of one partition of events."""

    def __init__(
        self,
        wiring: Wiring,
        start: Start,
        *,
        partition: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on with what waits."""
        self._outcomes, self._log = (topic_name(wiring.kafka.prefix, topic) for topic in (OUTCOMES, JOIN))
        self._metrics = wiring.metrics
        self._gauges = wiring.join_gauges
        self._groups = {name: spec.groups for name, spec in wiring.models.items()}
        self._decoding = wiring.decoding
        self._as_rows = wiring.outcomes_format == "rows"
        self._number = partition
        self._store = wiring.store
        self._partition = start.partition
        self._seed = start.seed
        self._clock = clock
        self._limit = LogLimit()
        #: Where the next chunks begin, and the offset that the last checkpoint made durable.
        self._cut, self._durable = start.end, start.offset
        #: When the oldest record came that is in no chunk.
        self._pending_since: float | None = None
        #: The beginning of the log, and when it was written; None if it is still to be written.
        self._begin = start.begin
        self._begun_at: float | None = clock() if start.written else None
        #: Model -> chunks in the log, in order of their ends.
        self._places: dict[str, deque[ChunkPlace]] = {}
        for place in sorted(start.places, key=lambda one: one.end):
            self._places.setdefault(place.model, deque()).append(place)
        #: (model, key) of labels that wait -> id.
        self._examples: dict[tuple[str, int], str] = {}
        self.start = start.offset
        # The log of the join may reach further than the committed offset: say so, or nothing would be committed.
        self.outbox = Outbox(-1)
        self._gauges.add(self)

    @classmethod
    async def open(cls, wiring: Wiring, partition: int, log: LogState) -> Self:
        """Begin with what the log of the join has, at the committed offset or where that log ends.

        Raises:
            UnavailableError: Kafka or Redis is away.
        """
        began = time.monotonic()
        start = await asyncio.to_thread(started, wiring, partition, log)
        wiring.metrics.gauge("driftline_join_load_seconds", time.monotonic() - began, partition=str(partition))
        return cls(wiring, start, partition=partition)

    @property
    def pairs(self) -> Mapping[str, ModelPairs]:
        """Return model -> what waits."""
        return self._partition.models

    async def feed(self, batch: Batch, position: int) -> None:
        """Pair the events of a batch from `position` on."""
        found = decoded(batch, self._decoding)
        known = identified_by_model(found, self.pairs, seed=self._seed, position=position, groups=self._groups)
        ticks = [event for event in found.events(_TICKS) if event.offset >= position] if _has_ticks(found) else []
        if known:
            offsets = np.asarray(batch.offsets, np.int64)
            clock = BrokerClock(offsets, batch.timestamps / 1000.0)
            for model, taken in self._partition.take({model: one.halves for model, one in known.items()}, clock):
                self._emit(model, taken, known[model], ticks)
            if self._pending_since is None:
                self._pending_since = self._clock()
        for event in ticks:
            self.outbox.add(self._tick(event))
        self._partition.position = batch.end

    # -- what comes out ------------------------------------------------------------------------

    def _emit(self, model: str, taken: TakenPairs, known: Identified, ticks: list[Event]) -> None:
        for result, count in taken.counts.items():
            if count:
                self._metrics.count("driftline_outcomes_total", count, model=model, result=result.value)
        self._note_foreign(model, taken, known)
        if len(taken.pairs):
            ids = known.ids_at(taken.pairs["source"])
            for record in outcome_columns(model, self._number, self._partition.models[model], taken, ids):
                self._send(record, ticks)

    def _send(self, record: OutcomeColumns, ticks: list[Event]) -> None:
        """Send outcomes, cut at the ticks of their model, which go between them."""
        cuts = [event for event in ticks if event.model == record.model and event.offset < record.source[-1]]
        for event in cuts:
            ticks.remove(event)
            place = int(np.searchsorted(record.source, event.offset))
            if place:
                self._send_whole(record.cut(0, place))
            self.outbox.add(self._tick(event))
            record = record.cut(place, len(record))
        self._send_whole(record)

    def _send_whole(self, record: OutcomeColumns) -> None:
        if self._as_rows:
            for outcome in record.rows():
                self._add(outcome.id.encode(), encode_outcomes(outcome))
            return
        value, half = encode_outcomes(record), len(record) // 2
        if len(value) > _MOST_BYTES and half:  # long ids or labels
            self._send_whole(record.cut(0, half))
            self._send_whole(record.cut(half, len(record)))
        else:
            self._add(record.model.encode(), value)

    def _add(self, key: bytes, value: bytes) -> None:
        self.outbox.add(Outgoing(self._outcomes, key, value, partition=self._number))

    def _tick(self, event: Event) -> Outgoing:
        value = encode_outcomes(OutcomeTick(event.model, event.ts, event.offset))
        return Outgoing(self._outcomes, None, value, partition=self._number)

    def _note_foreign(self, model: str, taken: TakenPairs, known: Identified) -> None:
        """Remember ids of labels that wait, and log one that nobody waited for."""
        waiting = taken.used[taken.waits]
        if len(waiting) and len(self._examples) < _MOST_EXAMPLES:
            few = waiting[:4]
            for key, identity in zip(few["key"].tolist(), known.ids_at(few["offset"]), strict=True):
                self._examples[model, key] = identity
        if len(taken.pairs) and self._examples:
            for key in taken.pairs["key"].tolist():
                self._examples.pop((model, key), "")
        for key in taken.foreign["key"].tolist() if self._examples else ():
            identity = self._examples.pop((model, key), "")
            if identity and self._limit.due(model):
                _LOG.warning(
                    "%s: no prediction came for the label of id %.80s in partition %d of events within label_within (%d such "
                    "labels now): is the key of the message the id, as for predictions?",
                    *(model, identity, self._number, taken.counts[Pairing.FOREIGN]),
                )

    # -- what is stored ------------------------------------------------------------------------

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return the outcomes made since the last checkpoint, and chunks when it is time for them."""
        state, complete = self._beginning(position)
        pending = self._partition.pending
        due = pending and (final or pending >= _CHUNK_RECORDS or self._is_old())
        if due:
            state += self._chunks(position)
        if not pending or due:
            self._durable = position
        checkpoint = self.outbox.checkpoint(self._durable)
        if checkpoint is None and not state:
            return None
        self._gauges.show(self._partition.models)
        return Checkpoint([] if checkpoint is None else checkpoint.outgoing, self._durable, complete, state)

    def _beginning(self, position: int) -> tuple[list[Outgoing], Callable[[], Awaitable[None]] | None]:
        """Return the beginning of the log when it is time to write it, with what follows on that."""
        if self._begun_at is not None and self._clock() - self._begun_at < _BEGIN_SECONDS:
            return [], None
        self._begun_at = self._clock()
        # What was taken over from Redis is in the log before the beginning says so, with what came since.
        state = [] if self._begin.upgraded else self._chunks(position)
        state.append(Outgoing(self._log, BEGIN, encode_begin(self._begin), partition=self._number))
        return state, None if self._begin.upgraded else self._upgraded

    async def _upgraded(self) -> None:
        """Delete what was taken over from Redis, and let the beginning say so."""
        await asyncio.to_thread(self._store.drop_pending, self._number)
        self._begin, self._begun_at = Begin(self._begin.start, upgraded=True), None

    def _is_old(self) -> bool:
        return self._pending_since is not None and self._clock() - self._pending_since >= _CHUNK_SECONDS

    def _chunks(self, position: int) -> list[Outgoing]:
        flush = (self._cut, position)
        chunks = chunks_of(self._partition.stored(*flush), self._seed, flush)
        messages = []
        for chunk in chunks:
            value = encode(chunk)
            self._metrics.count("driftline_join_chunk_bytes_total", len(value), model=chunk.stretch.model)
            messages.append(Outgoing(self._log, chunk.place.key, value, chunk.place.headers, self._number))
            self._places.setdefault(chunk.stretch.model, deque()).append(chunk.place)
        self._cut, self._pending_since = position, None
        return [*messages, *self._expired()]

    def _expired(self) -> Iterable[Outgoing]:
        """Return records that delete chunks whose rows have all expired, the oldest first: what is left has no hole.

        The pieces of the newest flush stay together: only a whole flush says how far the log reaches.
        """
        gone: list[ChunkPlace] = []
        for model, places in self._places.items():
            pairs = self._partition.models.get(model)
            while pairs is not None and places and places[0].flush_end <= pairs.bounds.floor:
                gone.append(places.popleft())
        gone.sort(key=lambda place: place.end)
        return [Outgoing(self._log, place.key, None, partition=self._number) for place in gone]


def _has_ticks(found: Decoded) -> bool:
    return any(kind == "outcome_tick" for _, kind in found.kinds)
