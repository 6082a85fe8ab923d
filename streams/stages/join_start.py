"""How the join of a partition starts: from its log, from Redis once, or from the events.

Rules:
1. The log of the join has a beginning (`Begin`). From it on the log is the state, and Redis is not asked.
2. Without a beginning, and with events that were read before, there are two cases. An earlier version kept what waits in Redis:
   it is taken over, written to the log, and deleted in Redis only when the log has it. Otherwise the log was lost:
   the join, and no other agent, reads the events again from where they begin.
3. Outcomes that are made again have the sources that they had, so readers drop them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.pairing.columns import LABEL, PREDICTION, Halves, What
from detectors.pairing.keys import keys_of
from detectors.pairing.partition import BrokerClock, PartitionPairs
from detectors.pairing.values import UNKNOWN
from streams.engine.start_offsets import resumed
from streams.engine.transport import LogState
from streams.events.event import Event
from streams.records.join_chunks import Begin, ChunkPlace
from streams.stages.wiring import Wiring
from streams.state.join_log import JoinLog, Loaded, load
from streams.topics import EVENTS, JOIN, topic_name

_LOG = logging.getLogger("driftline.worker")


class _Half(msgspec.Struct, array_like=True, gc=False):
    """One half as earlier versions kept it in Redis: its offset, and its event unless it was joined already."""

    offset: int
    event: Event | None = None


_half = msgspec.msgpack.Decoder(_Half)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the join of a partition goes on.

    Args:
        partition: what waits.
        seed: of the hash of ids.
        offset: first offset of events to read.
        end: offset up to which the log has everything.
        places: of the chunks in the log.
        begin: the beginning of the log; `written` tells whether the log has it, as it is.
    """

    partition: PartitionPairs
    seed: int
    offset: int
    end: int
    places: tuple[ChunkPlace, ...]
    begin: Begin
    written: bool


def started(wiring: Wiring, partition: int, log: LogState) -> Start:
    """Return the state of a partition.

    Raises:
        UnavailableError: Kafka or Redis is away.
    """
    within = {name: spec.outcomes.label_within_seconds for name, spec in wiring.models.items()}
    most_bytes = max(1, wiring.join.most_bytes // wiring.sources)
    loaded = load(JoinLog(lambda: wiring.join_records(partition)), within, most_bytes=most_bytes, first=log.first, last=log.end)
    seed = loaded.seed if loaded.seed is not None else wiring.store.seed("join")
    committed = resumed(log)
    if loaded.begin is not None:
        return _from_log(wiring, partition, log, loaded, loaded.begin)
    state = PartitionPairs(within, most_bytes=most_bytes)
    if log.committed is None and not loaded.places:
        state.begin(committed)
        return Start(state, seed, committed, committed, (), Begin(committed, upgraded=True), written=False)
    taken_over = _from_redis(wiring, partition, state, seed, committed)
    if taken_over:
        _LOG.info("%d predictions and labels that waited in Redis for partition %d are taken over", taken_over, partition)
        state.begin(committed)
        return Start(state, seed, committed, 0, (), Begin(0, upgraded=False), written=False)
    state.begin(log.first)
    if log.first < committed:
        _LOG.warning(
            "%s/%d has no log of the join, so the join reads the events again from offset %d on; their outcomes are repeats, "
            "which readers drop",
            *(topic_name(wiring.kafka.prefix, JOIN), partition, log.first),
        )
    return Start(state, seed, log.first, log.first, (), Begin(log.first, upgraded=True), written=False)


def _from_log(wiring: Wiring, partition: int, log: LogState, loaded: Loaded, begin: Begin) -> Start:
    committed = resumed(log)
    seed = loaded.seed if loaded.seed is not None else wiring.store.seed("join")
    offset = max(loaded.end, committed)
    # A chunk that cannot be read takes nothing away where the log reaches as far as the workers came.
    if loaded.lost is not None and loaded.lost < offset:
        again = loaded.end if loaded.end == loaded.lost else offset
        _LOG.error(
            "%s/%d lacks what was taken from offset %d of events on: %s",
            topic_name(wiring.kafka.prefix, JOIN),
            partition,
            loaded.lost,
            f"the join reads the events again from offset {again} on"
            if again < offset
            else "the events are gone, and labels of those predictions will find none; was the topic truncated?",
        )
        if again == offset:
            wiring.metrics.count("driftline_records_lost_total", topic=topic_name(wiring.kafka.prefix, EVENTS))
        offset = again
    offset = max(log.first, min(offset, log.end))
    loaded.partition.begin(offset)
    return Start(loaded.partition, seed, offset, loaded.end, loaded.places, begin, written=begin.upgraded)


def _from_redis(wiring: Wiring, partition: int, state: PartitionPairs, seed: int, committed: int) -> int:
    """Take over what an earlier version left in Redis from before the committed offset, and return how many it were."""
    halves: dict[str, list[tuple[str, _Half]]] = {}
    for model, kind, value in wiring.store.pending(partition):
        half = _half.decode(value)
        if half.event is not None and half.offset < committed and model in state.models:
            halves.setdefault(model, []).append((kind, half))
    found = {model: _columns(state, model, of_model, seed) for model, of_model in halves.items()}
    if found:
        offsets = np.unique(np.concatenate([rows["offset"] for one in found.values() for rows in (one.predictions, one.labels)]))
        # They waited until now, so none of them is older than any other.
        state.take(found, BrokerClock(offsets, np.full(len(offsets), 0.0)))
    return sum(map(len, found.values()))


def _columns(state: PartitionPairs, model: str, halves: list[tuple[str, _Half]], seed: int) -> Halves:
    halves.sort(key=lambda one: one[1].offset)
    predictions = [half for kind, half in halves if kind == "p"]
    labels = [half for kind, half in halves if kind == "l"]
    pairs = state.models[model]
    rows, waiting = np.zeros(len(predictions), PREDICTION), np.zeros(len(labels), LABEL)
    for into, of_kind in ((rows, predictions), (waiting, labels)):
        events = [half.event for half in of_kind if half.event is not None]
        if events:
            into["key"], into["check"] = keys_of([str(event.id) for event in events], seed)
            into["offset"] = [half.offset for half in of_kind]
            into["ts"] = [event.ts for event in events]
    made = [half.event for half in predictions if half.event is not None]
    told = [half.event for half in labels if half.event is not None]
    if made:
        rows["answer"] = pairs.boxes.boxed([event.label for event in made])
        rows["score"] = np.array([event.score for event in made], np.float64)
        rows["what"] = pairs.whats.codes([What(event.segment, event.model_version, None) for event in made])
        rows["truth"] = UNKNOWN
    if told:
        waiting["truth"] = pairs.boxes.boxed([event.label for event in told])
        waiting["what"] = pairs.clients.codes([None] * len(told))
    return Halves(rows, waiting)
