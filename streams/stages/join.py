"""The join stage: predictions and labels of one partition, by id -> outcomes.

Rules:
1. Both carry the same key, so they are in the same partition, and who comes second makes the outcome.
   It is written to the same partition of the outcomes topic, with the offset of that second one: in
   each partition of outcomes the sources grow, and a repeat after a crash is recognised by that.
2. What waits for its other half lives in Redis, with the offset at which it came. An entry from a
   greater offset than the record at hand was written by a run that crashed further on: it does not
   exist yet. So the outcomes depend on the log alone, whatever Redis holds.
3. The first prediction and the first label of an id count; later ones are duplicates, counted.
4. Once an outcome is durable its halves shrink to their offsets, which keep rule 3 until they expire.
5. A tick for outcomes comes by the events topic and is passed on in its place: what says that event time
   has come so far must not overtake the outcomes of what stands before it.
6. A label later than `label_within` after its prediction is counted and not joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal, Self

import msgspec

from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.start_offsets import resumed
from streams.engine.transport import LogState
from streams.events.decoding import decoded
from streams.events.event import Event, EventKind, tick
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.records import outcomes
from streams.records.outcomes import Outcome, PredictionValue, SourceOffset
from streams.stages.wiring import Wiring
from streams.topics import OUTCOMES, topic_name

Half = Literal["p", "l"]

_TICKS: tuple[EventKind, ...] = ("outcome_tick",)
#: Added to `label_within` before an unmatched half expires: time to restart after an outage.
_GRACE_SECONDS = 2 * 86_400.0


class _Entry(msgspec.Struct, array_like=True, gc=False):
    """One half as it is kept: its offset, and its event unless it was joined already."""

    offset: int
    event: Event | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Entry)


class Join:
    """Pairs of one partition of events."""

    def __init__(self, wiring: Wiring, *, partition: int, start: int) -> None:
        self._topic = topic_name(wiring.kafka.prefix, OUTCOMES)
        self._store = wiring.store
        self._metrics = wiring.metrics
        self._models = wiring.models
        self._decoding = wiring.decoding
        self._partition = partition
        #: (model, id, half) -> entry not yet in Redis; and what is to shrink there.
        self._fresh: dict[tuple[str, str, Half], _Entry] = {}
        self._joined: list[tuple[str, str, Half, int]] = []
        self.start = start
        self.outbox = Outbox(start, self._fresh)

    @classmethod
    async def open(cls, wiring: Wiring, partition: int, log: LogState) -> Self:
        """Begin at the committed offset."""
        return cls(wiring, partition=partition, start=resumed(log))

    async def feed(self, batch: Batch, position: int) -> None:
        """Pair the events of a batch from `position` on."""
        found = decoded(batch, self._decoding)
        halves = [event for event in found.events(("prediction", "label"), with_id=True) if event.offset >= position]
        ticks = [event for event in found.events(_TICKS) if event.offset >= position]
        known: dict[tuple[str, str, Half], _Entry] = {}
        if halves:
            # What a flush stores while Redis is asked may be in neither: not there yet, and no longer here.
            recent = dict(self._fresh)
            known = await asyncio.to_thread(self._look_up, halves)
            known |= recent
        # From here on nothing is awaited: outbox and entries change in one step.
        for event in sorted([*halves, *ticks], key=lambda event: event.offset):
            if event.kind == "outcome_tick":
                self.outbox.add(Outgoing(self._topic, None, tick(event.model, event.ts), partition=self._partition))
            else:
                self._pair(event, known)

    def _look_up(self, events: list[Event]) -> dict[tuple[str, str, Half], _Entry]:
        """Return what Redis keeps of the events' ids."""
        found: dict[tuple[str, str, Half], _Entry] = {}
        wanted: dict[str, list[str]] = {}
        for event in events:
            wanted.setdefault(event.model, []).append(str(event.id))
        for model, ids in wanted.items():
            names = [f"{half}:{identity}" for identity in dict.fromkeys(ids) for half in ("p", "l")]
            for name, value in zip(names, self._store.get_pending(self._scope(model), names), strict=True):
                if value is not None:
                    half, _, identity = name.partition(":")
                    found[model, identity, "p" if half == "p" else "l"] = _decoder.decode(value)
        return found

    def _scope(self, model: str) -> str:
        return f"{model}:{self._partition}"

    def _pair(self, event: Event, known: dict[tuple[str, str, Half], _Entry]) -> None:
        identity = str(event.id)
        mine: Half = "p" if event.kind == "prediction" else "l"
        other: Half = "l" if mine == "p" else "p"

        def entry_of(half: Half) -> _Entry | None:
            key = (event.model, identity, half)
            entry = self._fresh.get(key) or known.get(key)
            return entry if entry is not None and entry.offset <= event.offset else None

        first = entry_of(mine)
        if first is not None and first.offset < event.offset:
            if mine == "l":
                self._metrics.count("driftline_outcomes_total", model=event.model, result="duplicate")
            return
        if first is None:
            self._fresh[event.model, identity, mine] = _Entry(event.offset, event)
        partner = entry_of(other)
        if partner is None or partner.offset == event.offset:
            if mine == "l":
                self._metrics.count("driftline_outcomes_total", model=event.model, result="waiting")
            return
        if partner.event is not None:
            prediction, label = (event, partner.event) if mine == "p" else (partner.event, event)
            self._emit(identity, prediction, label, event.offset)
        self._joined += [(event.model, identity, mine, event.offset), (event.model, identity, other, partner.offset)]

    def _emit(self, identity: str, prediction: Event, label: Event, offset: int) -> None:
        within = self._models[prediction.model].errors.label_within_seconds
        if label.ts - prediction.ts > within:
            self._metrics.count("driftline_outcomes_total", model=prediction.model, result="too_late")
            return
        outcome = Outcome(
            id=identity,
            model=prediction.model,
            segment=prediction.segment,
            ts=label.ts,
            predicted_at=prediction.ts,
            model_version=prediction.model_version,
            features=prediction.features,
            prediction=PredictionValue(prediction.label, prediction.score),
            label=label.label,
            source=SourceOffset(self._partition, offset),
        )
        self.outbox.add(Outgoing(self._topic, identity.encode(), outcomes.encode(outcome), partition=self._partition))
        self._metrics.count("driftline_outcomes_total", model=prediction.model, result="joined")

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - everything is stored each time
        """Return the outcomes made since the last checkpoint, and what Redis is to keep before they count."""
        fresh, joined = dict(self._fresh), self._joined

        async def store() -> None:
            await asyncio.to_thread(self._keep, fresh, joined)
            for key, entry in fresh.items():
                if self._fresh.get(key) is entry:
                    del self._fresh[key]

        checkpoint = self.outbox.checkpoint(position, store if fresh or joined else None)
        if checkpoint is not None:
            self._joined = []
        return checkpoint

    def _keep(self, fresh: Mapping[tuple[str, str, Half], _Entry], joined: list[tuple[str, str, Half, int]]) -> None:
        done = {(model, identity, half) for model, identity, half, _ in joined}
        by_model: dict[str, list[tuple[str, bytes]]] = {}
        for (model, identity, half), entry in fresh.items():
            kept = _Entry(entry.offset) if (model, identity, half) in done else entry
            by_model.setdefault(model, []).append((f"{half}:{identity}", _encoder.encode(kept)))
        for model, items in by_model.items():
            seconds = self._models[model].errors.label_within_seconds + _GRACE_SECONDS
            self._store.put_pending(self._scope(model), items, seconds)
        shrunk: dict[str, list[tuple[str, bytes]]] = {}
        for model, identity, half, offset in joined:
            if (model, identity, half) not in fresh:
                shrunk.setdefault(model, []).append((f"{half}:{identity}", _encoder.encode(_Entry(offset))))
        for model, items in shrunk.items():
            self._store.shrink_pending(self._scope(model), items)
