"""The join stage: predictions and labels of one partition of events -> outcomes.

Rules:
1. Which prediction and which label make an outcome stands in detectors/pairing/pairing.py. Here is where the halves
   are kept.
2. Both halves carry the same key, so they are in the same partition. The outcome goes to the same partition of the
   outcomes topic, with the offset of its second half: in each partition of outcomes these offsets grow, so a repeat
   after a crash is recognised.
3. A half waits in Redis, with its offset. One from a greater offset than the record at hand was written by a run that
   crashed further on, and does not exist yet. So outcomes depend on the log alone, whatever Redis holds.
4. Once an outcome is durable, its halves shrink to their offsets, which keep duplicates out until they expire.
5. A half whose partner was used up already is used up too. Replay leaves it waiting (driftline/readers/pairs.py);
   the two differ only where an id comes again after one of its halves expired and the other did not.
6. A tick for outcomes comes by the events topic and is passed on at its offset: it must not overtake the outcomes of
   the records before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

import msgspec

from detectors.pairing.pairing import (
    USING_UP,
    Half,
    Pairing,
    existing,
    half_of,
    in_order,
    kept_seconds,
    other,
    paired,
)
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

#: Model, id, half.
_Key = tuple[str, str, Half]

_TICKS: tuple[EventKind, ...] = ("outcome_tick",)
#: What leaves both halves as they are.
_LEAVING = frozenset({Pairing.DUPLICATE, Pairing.WAITING})


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
        self._fresh: dict[_Key, _Entry] = {}
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
        known: dict[_Key, _Entry] = {}
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

    def _look_up(self, events: list[Event]) -> dict[_Key, _Entry]:
        """Return what Redis keeps of the events' ids."""
        found: dict[_Key, _Entry] = {}
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

    def _pair(self, event: Event, known: dict[_Key, _Entry]) -> None:
        identity, half = str(event.id), half_of(event.kind)
        mine, others = (event.model, identity, half), (event.model, identity, other(half))
        same = existing(self._fresh.get(mine) or known.get(mine), event.offset)
        partner = existing(self._fresh.get(others) or known.get(others), event.offset)
        within = self._models[event.model].outcomes.label_within_seconds
        result = paired(half, event, event.offset, same=same, partner=partner, label_within_seconds=within)
        if same is None:
            self._fresh[mine] = _Entry(event.offset, event)
        if result is not Pairing.AGAIN and (half == "l" or result in USING_UP):  # a prediction that waits is no news
            self._metrics.count("driftline_outcomes_total", model=event.model, result=result.value)
        if partner is None or result in _LEAVING:
            return
        if result is Pairing.JOINED and partner.event is not None:
            self._emit(identity, *in_order(half, event, partner.event), event.offset)
        self._joined += [(*mine, event.offset), (*others, partner.offset)]

    def _emit(self, identity: str, prediction: Event, label: Event, offset: int) -> None:
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

    def _keep(self, fresh: Mapping[_Key, _Entry], joined: list[tuple[str, str, Half, int]]) -> None:
        done = {(model, identity, half) for model, identity, half, _ in joined}
        by_model: dict[str, list[tuple[str, bytes]]] = {}
        for (model, identity, half), entry in fresh.items():
            kept = _Entry(entry.offset) if (model, identity, half) in done else entry
            by_model.setdefault(model, []).append((f"{half}:{identity}", _encoder.encode(kept)))
        for model, items in by_model.items():
            seconds = kept_seconds(self._models[model].outcomes.label_within_seconds)
            self._store.put_pending(self._scope(model), items, seconds)
        shrunk: dict[str, list[tuple[str, bytes]]] = {}
        for model, identity, half, offset in joined:
            if (model, identity, half) not in fresh:
                shrunk.setdefault(model, []).append((f"{half}:{identity}", _encoder.encode(_Entry(offset))))
        for model, items in shrunk.items():
            self._store.shrink_pending(self._scope(model), items)
