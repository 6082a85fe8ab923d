"""The log of the join on a real Kafka: a writer that may be killed, and a fresh process that loads what the writer left.

    python -m benchmarks.speed.join.loading write|load --bootstrap ADDRESS --prefix PREFIX --predictions N --end SECONDS

Run by `benchmarks.join`. `write` goes the way of a worker's flush: `PartitionPairs.stored`, `chunks_of`, `encode`, the topic.
Line by line it prints the offset up to which the broker has acknowledged everything, and one JSON object at the end.
`load` prints one JSON object. With `--compare` it also feeds the same records to a partition of its own and compares the states;
and while a thread loads the log, the main thread takes fetches of another partition, as a worker does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.machine import usage
from benchmarks.speed.join.columns import ColumnFeed, roomy
from benchmarks.speed.join.stream import MODEL, WITHIN_SECONDS, JoinStream, predictions_and_labels
from detectors.errors import DriftlineError
from detectors.pairing.partition import PartitionPairs
from driftline.cli.processor import advise_numpy
from streams.kafka import Outgoing, Sender
from streams.records.join_chunks import BEGIN, Begin, chunks_of, encode, encode_begin
from streams.settings import KafkaSettings
from streams.state.join_log import JoinLog, Loaded, load, records_of
from streams.topics import JOIN, topic_name

_SEED = 7
#: Fetches of one flush.
_FETCHES = 3
#: Predictions of the stream that is taken while another one is loaded.
_MEANWHILE = 200_000


@dataclass(slots=True)
class Takes:
    """CPU seconds of the takes of a thread: all of them, and the longest."""

    seconds: float = 0.0
    longest: float = 0.0
    count: int = 0
    _grew: list[float] = field(default_factory=list)

    def take(self, feed: ColumnFeed, fetched: Any, partition: PartitionPairs) -> None:
        """Take a fetch, and note how long it computes."""
        began = time.thread_time()
        feed.take(*fetched)
        took = time.thread_time() - began
        self.seconds += took
        self.longest = max(self.longest, took)
        self.count += 1
        if partition.models[MODEL].waiting.growing:
            self._grew.append(took)

    @property
    def longest_growing(self) -> float:
        """Return the longest take after which the index had two arrays, 0 without one."""
        return max(self._grew, default=0.0)


def write(kafka: KafkaSettings, stream: JoinStream) -> dict[str, Any]:
    """Feed the stream and write its log; return what that cost."""
    partition = roomy(stream.predictions)
    feed, takes = ColumnFeed(stream, partition), Takes()
    sender = Sender(kafka, "benchmark-join")
    topic = topic_name(kafka.prefix, JOIN)
    asyncio.run(sender.send_all([Outgoing(topic, BEGIN, encode_begin(Begin(0, upgraded=True)), partition=0)]))
    start = written = largest = 0
    packing = 0.0
    for number, fetched in enumerate(feed.columns(), 1):
        takes.take(feed, fetched, partition)
        if number % _FETCHES and partition.position < len(stream):
            continue
        began = time.thread_time()
        flush = (start, partition.position)
        chunks = chunks_of(partition.stored(*flush), _SEED, flush)
        messages = [Outgoing(topic, chunk.place.key, encode(chunk), chunk.place.headers, 0) for chunk in chunks]
        packing += time.thread_time() - began
        asyncio.run(sender.send_all(messages))
        sizes = [len(message.value or b"") for message in messages]
        written, largest, start = written + sum(sizes), max(largest, *sizes), flush[1]
        print(flush[1], flush=True)
    sender.close()
    return {
        "records": len(stream),
        "bytes": written,
        "largest_chunk_bytes": largest,
        "take_microseconds": 1e6 * takes.seconds / len(stream),
        "chunk_microseconds": 1e6 * packing / len(stream),
        "longest_take_ms": 1e3 * takes.longest,
        "longest_growing_take_ms": 1e3 * takes.longest_growing,
    }


def loaded_from(kafka: KafkaSettings, predictions: int) -> Loaded:
    """Return what the log has.

    Raises:
        DriftlineError: something is lost.
    """
    bound = roomy(predictions).most_bytes
    found = load(JoinLog(lambda: records_of(kafka, 0)), {MODEL: WITHIN_SECONDS}, most_bytes=bound, first=0)
    if found.lost is not None or found.begin is None:
        raise DriftlineError(f"the log of the join has lost what came from offset {found.lost} on: the run measures nothing")
    return found


def load_alone(kafka: KafkaSettings, predictions: int) -> dict[str, Any]:
    """Load the log while nothing else happens."""
    before, used = usage(os.getpid()).resident_bytes, time.process_time()
    began = time.monotonic()
    found = loaded_from(kafka, predictions)
    cpu, seconds = time.process_time() - used, time.monotonic() - began
    rows = found.partition.models[MODEL].waiting.count
    grown = usage(os.getpid()).resident_bytes - before
    return {"end": found.end, "waiting": rows, "cpu_seconds": cpu, "seconds": seconds, "bytes": grown / max(1, rows)}


def load_and_compare(kafka: KafkaSettings, stream: JoinStream) -> dict[str, Any]:
    """Load the log while fetches of another partition are taken, then compare the state with that of the same records."""
    loaded: list[Loaded] = []
    thread = threading.Thread(target=lambda: loaded.append(loaded_from(kafka, stream.predictions)))
    other = roomy(_MEANWHILE)
    feed, takes = ColumnFeed(predictions_and_labels(_MEANWHILE, stream.end, seed=2), other), Takes()
    fetches = feed.columns()
    thread.start()
    while thread.is_alive() and (fetched := next(fetches, None)) is not None:
        takes.take(feed, fetched, other)
    thread.join()
    if not loaded:
        raise DriftlineError("the log of the join could not be loaded: see above")
    found = loaded[0]
    wanted = roomy(stream.predictions)
    again = ColumnFeed(stream, wanted)
    for halves, clock, end in again.columns():
        again.take(halves if end <= found.end else halves.cut(-1, found.end), clock, min(end, found.end))
        wanted.stored(0, end)
        if end >= found.end:
            break
    return {
        "end": found.end,
        "waiting": found.partition.models[MODEL].waiting.count,
        "differs_in": differences(found.partition, wanted),
        "takes_meanwhile": takes.count,
        "longest_take_ms": 1e3 * takes.longest,
    }


def differences(found: PartitionPairs, wanted: PartitionPairs) -> list[str]:
    """Return what two states of the model differ in: rows and truths, labels that wait, totals, clocks, the position."""
    mine, other = found.models[MODEL], wanted.models[MODEL]
    differing = []
    for table, names in (("waiting", ("key", "check", "offset", "ts", "score", "answer", "truth")), ("early", None)):
        rows, others = (one.rows[one.taken()] for one in (getattr(mine, table), getattr(other, table)))
        rows, others = rows[np.argsort(rows["offset"])], others[np.argsort(others["offset"])]
        columns: Iterable[str] = names or ("key", "check", "offset", "ts", "truth")
        if len(rows) != len(others):
            differing.append(f"{table}: {len(rows)} rows, and {len(others)}")
        else:
            differing += [f"{table}.{name}" for name in columns if rows[name].tobytes() != others[name].tobytes()]
        if table == "waiting" and len(rows) == len(others):
            says, would = (one.whats.values_of(those["what"].tolist()) for one, those in ((mine, rows), (other, others)))
            differing += ["waiting.what"] if says != would else []
    for name in ("total", "floor", "levels", "looks"):
        if getattr(mine.bounds, name) != getattr(other.bounds, name):
            differing.append(f"bounds.{name}")
    differing += ["newest"] if mine.newest != other.newest else []
    return differing + (["position"] if found.position != wanted.position else [])


def main() -> None:
    """Write or load, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.join.loading")
    parser.add_argument("what", choices=["write", "load"])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--predictions", type=int, required=True)
    parser.add_argument("--end", type=float, required=True)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    advise_numpy()
    kafka = KafkaSettings(bootstrap=arguments.bootstrap, prefix=arguments.prefix, partitions=1)
    if arguments.what == "load" and not arguments.compare:
        result = load_alone(kafka, arguments.predictions)
    else:
        stream = predictions_and_labels(arguments.predictions, arguments.end)
        result = write(kafka, stream) if arguments.what == "write" else load_and_compare(kafka, stream)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
