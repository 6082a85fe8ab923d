"""Events for the benchmarks, made and written fast: bodies are encoded once and used in turn with another time.

A log is cut into partitions in turn, event by event, in the order of event time, and ends with one event
in each partition that closes every window.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from confluent_kafka import Producer

from detectors.errors import UnavailableError
from streams.kafka import Log
from streams.settings import KafkaSettings
from streams.topics import EVENTS, topic_name

MODEL, SEGMENT = "hot", "eu"
PARTITIONS = 4
#: First second of event time: a whole ten minutes, so that windows of any usual width begin with it.
BEGIN = 1_700_000_400.0
#: Events of one second of event time, over all partitions.
PER_SECOND = 1000
WINDOW_SECONDS = 10.0
#: Different bodies; more of them would only cost memory, since neither decoder nor compression remembers so many.
_BODIES = 50_000
_WORDS = ("red", "green", "blue", "black", "white", "amber", "teal", "pink")
#: Messages handed to the client at once; it holds at most 100,000.
_CHUNK, _CHUNKS_IN_FLIGHT = 10_000, 8
_FLUSH_SECONDS = 120.0
_TRANSACTION_MS = 900_000


@dataclass(frozen=True, slots=True)
class EventMix:
    """Events with so many numeric and so many categorical features."""

    name: str
    numeric: int
    categorical: int

    @property
    def features(self) -> int:
        """How many features an event has."""
        return self.numeric + self.categorical


#: The two kinds of events that the throughput is measured with.
DATA_SETS = {one.name: one for one in (EventMix("numeric", 20, 0), EventMix("mixed", 10, 10))}


def bodies(data: EventMix, count: int, *, seed: int = 1) -> list[bytes]:
    """Return the JSON of so many sets of features: normal numbers of two decimals, and one of eight words each."""
    draw = np.random.default_rng(seed)
    names = [*(f"f{number}" for number in range(data.numeric)), *(f"c{number}" for number in range(data.categorical))]
    numbers = draw.normal(size=(count, data.numeric)).round(2).tolist()
    words = draw.integers(len(_WORDS), size=(count, data.categorical)).tolist()
    return [
        orjson.dumps(dict(zip(names, (*part, *(_WORDS[word] for word in said)), strict=True)))
        for part, said in zip(numbers, words, strict=True)
    ]


def encoded(body: bytes, ts: float, *, model: str = MODEL, segment: str = SEGMENT) -> bytes:
    """Return one feature-only event.

    >>> encoded(b'{"x":1}', 1.5)
    b'{"type":"features","model":"hot","segment":"eu","ts":1.500,"features":{"x":1}}'
    """
    return b'{"type":"features","model":"%b","segment":"%b","ts":%.3f,"features":%b}' % (
        model.encode(),
        segment.encode(),
        ts,
        body,
    )


def events(data: EventMix, count: int, *, begin: float = BEGIN, per_second: float = PER_SECOND) -> Iterator[bytes]:
    """Yield so many events in order of event time."""
    turns = itertools.cycle(bodies(data, min(count, _BODIES)))
    for number, body in zip(range(count), turns, strict=False):
        # Milliseconds are cut off: rounded, the last events of a window would be those of the next.
        yield encoded(body, begin + number * 1000 // per_second / 1000)


def end_of(count: int, *, begin: float = BEGIN, per_second: float = PER_SECOND, seconds: float = WINDOW_SECONDS) -> float:
    """Return the end of the last window of so many events, epoch seconds of event time."""
    last = begin + (count - 1) / per_second
    return (last // seconds + 1) * seconds


def closing(data: EventMix, end: float) -> bytes:
    """Return an event that closes every window up to `end` in its partition, and belongs to none of them."""
    return encoded(bodies(data, 1)[0], end)


def fill(kafka: KafkaSettings, values: Iterator[bytes], last: bytes, *, at_once: Callable[[], None] | None = None) -> int:
    """Write events to the partitions in turn, then `last` to each; return how many bytes of events were written.

    With `at_once` readers see nothing until all is written (one transaction); it is called right before they do.

    Raises:
        UnavailableError: the broker did not take all of them.
    """
    topic = topic_name(kafka.prefix, EVENTS)
    before = offsets(kafka)
    producer = _producer(kafka, hidden=at_once is not None)
    written = messages = 0
    for chunk in _chunks(values):
        for partition in before:
            part = chunk[partition :: len(before)]
            written += sum(map(len, part))
            messages += len(part)
            _queue(producer, topic, partition, part)
    for partition in before:
        _queue(producer, topic, partition, [last])
    if producer.flush(_FLUSH_SECONDS):
        raise UnavailableError(f"the broker did not take the events within {_FLUSH_SECONDS:g} s")
    if at_once is not None:
        at_once()
        producer.commit_transaction(_FLUSH_SECONDS)
    _await(kafka, before, messages, markers=at_once is not None)
    return written


def _await(kafka: KafkaSettings, before: Mapping[int, tuple[int, int]], messages: int, *, markers: bool) -> None:
    """Return once readers see all messages: a transaction becomes visible a moment after its commit, partition by partition."""
    deadline = time.monotonic() + _FLUSH_SECONDS
    extra = 2 if markers else 1  # the last event of each partition, and the record with which a transaction ends
    while True:
        after = offsets(kafka)
        arrived = sum(after[partition][1] - before[partition][1] - extra for partition in before)
        if arrived == messages:
            return
        if arrived > messages or time.monotonic() > deadline:
            raise UnavailableError(
                f"{messages} events were written and {arrived} have arrived: does somebody else write to the topic?"
            )
        time.sleep(0.01)


def _chunks(values: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(itertools.islice(values, _CHUNK)):
        yield chunk


def _queue(producer: Producer, topic: str, partition: int, values: Sequence[bytes]) -> None:
    if len(producer) > _CHUNK * _CHUNKS_IN_FLIGHT and producer.flush(_FLUSH_SECONDS):
        raise UnavailableError(f"the broker did not take {len(producer)} events within {_FLUSH_SECONDS:g} s")
    if producer.produce_batch(topic, [{"value": value} for value in values], partition=partition) != len(values):
        raise UnavailableError(f"the client's queue is full at {len(producer)} events")


def _producer(kafka: KafkaSettings, *, hidden: bool) -> Producer:
    settings: dict[str, str | int | bool] = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": "feeder",
        "enable.idempotence": True,
        "compression.type": "lz4",
        "linger.ms": 20,
        "batch.num.messages": 10_000,
        "log_level": 2,
    }
    if hidden:
        settings |= {"transactional.id": f"{kafka.prefix}.feeder", "transaction.timeout.ms": _TRANSACTION_MS}
    producer = Producer(settings)
    if hidden:
        producer.init_transactions(_FLUSH_SECONDS)
        producer.begin_transaction()
    return producer


def offsets(kafka: KafkaSettings) -> Mapping[int, tuple[int, int]]:
    """Return partition of the events topic -> (first offset, offset after the last)."""
    log = Log(kafka, "benchmark-offsets")
    try:
        return log.ends(topic_name(kafka.prefix, EVENTS))
    finally:
        log.close()
