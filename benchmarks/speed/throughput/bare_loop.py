"""The bare confluent_kafka loops that Driftline is compared with, each in a process of its own.

`loop` is the same decoding and the same window summary without Faust, offsets, state or messages;
`floor` only reads; `phases` is the loop once more, with messages, and says where its time goes. Each
prints one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from types import FrameType
from typing import Any, cast

from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.speed.feeding import MODEL, WINDOW_SECONDS
from detectors.errors import UnavailableError
from detectors.spec import ModelSpec, shapes_of
from detectors.windows.block import Block
from detectors.windows.part import columns_of
from detectors.windows.record import Mark, Window
from detectors.windows.windows import Windows
from streams.events import decoding
from streams.events.decoding import Decoding
from streams.kafka import Sender
from streams.records import window_records
from streams.settings import KafkaSettings

MODELS = {MODEL: ModelSpec(MODEL, window_seconds=WINDOW_SECONDS)}
#: Messages asked for at once; more make the loop no faster.
_AT_ONCE = 5000
_IDLE_SECONDS = 30.0
_SAMPLE_SECONDS = 0.001
#: Function -> phase, for what a step spends in another phase than its own.
_WITHIN = {
    decoding._blocks.__code__: "columns",  # noqa: SLF001 - the one place that says where decoding ends and columns begin
    columns_of.__code__: "summary",
    Windows._close.__code__: "summary",  # noqa: SLF001 - as above, for columns and summaries
}


def fetched(bootstrap: str, topic: str, ends: dict[int, int]) -> Iterator[list[Message]]:
    """Yield the first record, then what `consume` returns until every partition was read up to its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bare-loop",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "log_level": 2,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in ends])
    left, wanted = sum(ends.values()), 1
    try:
        while left > 0:
            messages = consumer.consume(min(left, wanted), timeout=_IDLE_SECONDS)
            wanted = _AT_ONCE
            if not messages:
                raise UnavailableError(f"nothing came from {topic} for {_IDLE_SECONDS:g} s, and {left} records are missing")
            left -= len(messages)
            yield messages
    finally:
        consumer.close()


Columns = tuple[list[int], list[int], list[bytes | None]]


def by_partition(messages: list[Message]) -> dict[int, Columns]:
    """Return partition -> offsets, timestamps and values: a fetch interleaves partitions."""
    found: dict[int, Columns] = defaultdict(lambda: ([], [], []))
    for message in messages:
        offsets, timestamps, values = found[cast("int", message.partition())]
        offsets.append(cast("int", message.offset()))
        timestamps.append(message.timestamp()[1])
        values.append(message.value())
    return found


class Loop:
    """Decoding and windows of all partitions."""

    def __init__(self, partitions: int) -> None:
        """Begin with nothing."""
        shapes = shapes_of(MODELS, "features")
        self._decoding = [Decoding(MODELS) for _ in range(partitions)]
        self._windows = [Windows("features", source=number, sources=partitions, shapes=shapes) for number in range(partitions)]
        self.rows = 0

    def decode(self, messages: list[Message]) -> dict[int, list[Block]]:
        """Return partition -> what the records of one fetch hold."""
        return {
            partition: self._decoding[partition].decode(*columns).blocks for partition, columns in by_partition(messages).items()
        }

    def add(self, blocks: dict[int, list[Block]]) -> list[Window | Mark]:
        """Return what the blocks closed."""
        closed = [record for partition, of_one in blocks.items() for record in self._windows[partition].add(of_one).records]
        self.rows += sum(record.n for record in closed if isinstance(record, Window))
        return closed


def floor(fetches: Iterator[list[Message]], partitions: int) -> int:
    """Read everything, look at nothing, and return the number of events: the last of each partition only closes windows."""
    return sum(map(len, fetches)) - partitions


def loop(fetches: Iterator[list[Message]], partitions: int) -> int:
    """Decode and summarise everything and return the number of rows in windows."""
    bare = Loop(partitions)
    for messages in fetches:
        bare.add(bare.decode(messages))
    return bare.rows


class Sampler:
    """Looks every millisecond of CPU time at what runs, and counts the phase that it belongs to, for each step."""

    def __init__(self) -> None:
        """Count from now on."""
        self.step = ""
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        phase = self.step
        while frame is not None:
            if frame.f_code in _WITHIN:
                phase = _WITHIN[frame.f_code]
                break
            frame = frame.f_back
        self.counts[self.step][phase] += 1

    def split(self, seconds: dict[str, float]) -> dict[str, float]:
        """Stop, and return phase -> seconds, given step -> seconds."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        found: dict[str, float] = defaultdict(float)
        for step, spent in seconds.items():
            counts = self.counts[step] or Counter({step: 1})
            for phase, count in counts.items():
                found[phase] += spent * count / counts.total()
        return dict(found)


def phases(bootstrap: str, topic: str, ends: dict[int, int], prefix: str) -> dict[str, Any]:
    """Return rows, bytes of a feature on the windows topic, and phase -> CPU seconds.

    Putting rows into their windows counts as `columns`; `client` is what librdkafka's own threads used.
    """
    kafka = KafkaSettings(bootstrap=bootstrap, prefix=prefix)
    sender = Sender(kafka, "benchmark-phases")
    bare, spent, sampler = Loop(len(ends)), dict.fromkeys(("consume", "decode", "columns", "produce"), 0.0), Sampler()
    written = features = 0
    whole, at = time.process_time(), time.thread_time()

    def took(step: str, following: str) -> None:
        nonlocal at
        now = time.thread_time()
        spent[step] += now - at
        at, sampler.step = now, following

    sampler.step = "consume"
    for messages in fetched(bootstrap, topic, ends):
        took("consume", "decode")
        blocks = bare.decode(messages)
        took("decode", "columns")
        closed = bare.add(blocks)
        took("columns", "produce")
        for record in closed:
            message = window_records.outgoing(kafka, record)
            if isinstance(record, Window):
                written += len(message.value or b"")
                features += len(record.features)
            while not sender.send(message):
                sender.poll(0.1)
        sender.poll()
        took("produce", "consume")
    sampler.step = "produce"
    if sender.close(60.0):
        raise UnavailableError(f"the broker did not take the windows on {prefix}")
    took("produce", "")
    found = sampler.split(spent)
    found["client"] = time.process_time() - whole - sum(spent.values())
    return {"events": bare.rows, "phases": found, "bytes_per_feature": written / max(1, features)}


def main() -> None:
    """Run one of the loops and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput.bare_loop")
    parser.add_argument("what", choices=["loop", "floor", "phases"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--ends", required=True, help="JSON: end of each partition, in order")
    parser.add_argument("--prefix", default="", help="of the windows topic that `phases` writes to")
    arguments = parser.parse_args()
    ends = dict(enumerate(json.loads(arguments.ends)))
    result: dict[str, Any]
    if arguments.what == "phases":
        result = phases(arguments.bootstrap, arguments.topic, ends, arguments.prefix)
    else:
        fetches = fetched(arguments.bootstrap, arguments.topic, ends)
        first = next(fetches)
        began, used = time.perf_counter(), time.process_time()
        events = {"loop": loop, "floor": floor}[arguments.what](itertools.chain([first], fetches), len(ends))
        result = {"events": events, "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
