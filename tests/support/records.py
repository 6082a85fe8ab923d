"""Records as the workers' client hands them out, and what stages make of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from faust.types import TP

from detectors.errors import EventError
from detectors.spec import ModelSpec
from streams.engine.checkpoint import Checkpoint
from streams.engine.stage import Stage
from streams.events.decoding import DeadLetter, Decoding
from streams.events.event import Event, parse
from streams.kafka.batch import Batch, RecordColumns

#: The broker's clock in these tests, milliseconds since 1970: 2026-11-21T07:30:00Z.
NOW_MS = 1_795_246_200_000
NOW = NOW_MS / 1000.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One record of a fetch."""

    value: bytes | None
    offset: int = 0
    timestamp: int = NOW_MS
    topic: str = "t.events"
    partition: int = 0
    key: bytes | None = None


def log_of(values: Iterable[Any], *, topic: str = "t.events", partition: int = 0, first: int = 0) -> list[Fetched]:
    """Return a partition: bytes as they are, anything else as JSON."""
    return [
        Fetched(value if isinstance(value, bytes) else orjson.dumps(value), first + number, topic=topic, partition=partition)
        for number, value in enumerate(values)
    ]


def general(
    offsets: Sequence[int], timestamps: Sequence[int], values: Sequence[bytes | None], models: Mapping[str, ModelSpec]
) -> tuple[list[Event], list[DeadLetter]]:
    """Return the events and dead letters of some records, read one by one with streams/events/event.py."""
    events: list[Event] = []
    dead: list[DeadLetter] = []
    for offset, timestamp, value in zip(offsets, timestamps, values, strict=True):
        try:
            event = parse(offset, timestamp, value, models)
        except EventError as error:
            dead.append(DeadLetter(offset, error))
        else:
            event.features = dict(sorted(event.features.items()))
            events.append(event)
    return events, dead


def decode(records: Sequence[Fetched], models: Mapping[str, ModelSpec]) -> tuple[list[Event], list[DeadLetter]]:
    """Return the events and dead letters of some records, after both ways of reading them have said the same."""
    columns = (
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.value for record in records],
    )
    events, dead = general(*columns, models)
    for decoding in (Decoding(models), _with_types(models)):
        for _ in range(2):
            learned = decoding.decode(*columns)
            # As text: 1, 1.0 and True are equal. Sorted: some tests put several partitions together.
            assert sorted(map(repr, learned.events())) == sorted(map(repr, events))
            assert [(one.offset, str(one.error)) for one in learned.dead] == [(one.offset, str(one.error)) for one in dead]
    return learned.events(), learned.dead


def _with_types(models: Mapping[str, ModelSpec]) -> Decoding:
    """Return a decoder that has a type for each model, also for records without features."""
    decoding = Decoding(models)
    seen = [orjson.dumps({"model": name, "features": {"x": 1.0}}) for name in models]
    decoding.decode(range(len(seen)), [NOW_MS] * len(seen), seen)
    return decoding


def batch_of(records: Sequence[Fetched], *, epoch: int = 1, start: int | None = None) -> Batch:
    """Return the records as one fetch."""
    first = records[0]
    return Batch(TP(first.topic, first.partition), epoch, first.offset if start is None else start, [stretch_of(records)])


def stretch_of(records: Sequence[Fetched]) -> RecordColumns:
    """Return the records as a batch of one producer."""
    return RecordColumns(
        [record.offset for record in records],
        np.array([record.timestamp for record in records]),
        [record.key for record in records],
        [record.value for record in records],
    )


async def feed(stage: Stage, records: Sequence[Fetched], sizes: Sequence[int] = ()) -> int:
    """Feed records in batches of the given sizes (the rest as one) and return the position after them."""
    position = stage.start
    left = [record for record in records if record.offset >= position]
    for size in (*sizes, len(left)):
        if left and size:
            batch = batch_of(left[:size])
            await stage.feed(batch, position)
            position = batch.end
            left = left[size:]
    return position


async def checkpoints(stage: Stage, log: Sequence[Fetched], sizes: Sequence[int]) -> AsyncIterator[tuple[Checkpoint, bool]]:
    """Feed batches of these sizes from where a stage starts; yield each checkpoint, and whether its batch was the last of them.

    Whoever stops asking is a worker that died after that checkpoint.
    """
    position = stage.start
    for number, size in enumerate(sizes):
        records = log[position : position + size]
        if not records:
            return
        await stage.feed(batch_of(records), position)
        position += len(records)
        checkpoint = stage.checkpoint(position, final=False)
        if checkpoint is not None:
            yield checkpoint, number == len(sizes) - 1


async def make_durable(checkpoint: Checkpoint | None) -> list[Any]:
    """Return the messages of a checkpoint after it has stored what it stores, as a flush does."""
    if checkpoint is None:
        return []
    if checkpoint.complete is not None:
        await checkpoint.complete()
    return checkpoint.outgoing
