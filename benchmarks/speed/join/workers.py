"""Whole worker processes over the stream: CPU time, Redis, the broker's disk, memory, and what an idle worker takes.

Rules:
1. A worker starts on empty topics and is frozen. Then the records are written, and it is thawed. Its CPU time from there until
   the last window of features and of outcomes is acknowledged counts. So its start does not, and the waiting does not either.
2. All cases have about as many records, over the same days of event time, and the same windows. So what a worker does once,
   such as learning the type of the events, weighs alike on all.
3. A run checks its own arithmetic: rows in windows, outcomes that were made, predictions that wait.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import redis
from confluent_kafka import Producer

from benchmarks.machine import BenchmarkServers, usage
from benchmarks.speed.join.stream import (
    MODEL,
    PARTITIONS,
    WINDOW_SECONDS,
    WITHIN_SECONDS,
    Digits,
    EventWriter,
    JoinStream,
    only_predictions,
    predictions_and_labels,
)
from benchmarks.workers import Ending, ReadyWorker, WorkerFleet
from detectors.errors import UnavailableError
from streams.events.event import outcome_tick, tick
from streams.kafka import Log
from streams.settings import KafkaSettings
from streams.topics import EVENTS, JOIN, OUTCOMES, ROWS, Topic, topic_name

_MODEL = f"""
[join]
most_bytes = "{{most_bytes}}MB"

[models.{MODEL}]
window = "{WINDOW_SECONDS:g}s"
{{factory}}
[models.{MODEL}.outcomes]
label_within = "{WITHIN_SECONDS:g}s"
"""
#: A model that is retrained: only then the features are kept. A worker does not import it.
_FACTORY = 'factory = "river.linear_model:LogisticRegression"\n'
#: A worker may be frozen for so long (Faust allows no more than its timeout of requests), and may work for so long.
_SESSION_SECONDS, _TIMEOUT_SECONDS = 80.0, 900.0
#: After the worker is ready, and after its last window: until it does nothing.
_SETTLE_SECONDS, _REST_SECONDS = 1.0, 0.3
_CALM_SECONDS = 2.0
_CHUNK, _FLUSH_SECONDS = 10_000, 120.0


@dataclass(frozen=True, slots=True)
class WorkerCase:
    """What is sent, and whether the model is retrained."""

    name: str
    with_ids: bool
    labels: bool
    retrained: bool
    digits: Digits = "decimals"


WITHOUT_IDS = WorkerCase("no ids", with_ids=False, labels=False, retrained=False)
WITH_IDS = WorkerCase("ids", with_ids=True, labels=False, retrained=False)
WITH_LABELS = WorkerCase("ids and labels", with_ids=True, labels=True, retrained=False)
WITH_ROWS = WorkerCase("ids, labels, training rows", with_ids=True, labels=True, retrained=True)
WITH_DOUBLES = WorkerCase("the same, full doubles", with_ids=True, labels=True, retrained=True, digits="doubles")


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """One run of a case.

    Args:
        records: predictions and labels; `predictions` of them are those.
        cpu_seconds: of the worker.
        outcomes: that it counted as joined.
        outcome_bytes: of all outcomes on the broker's disk; `join_bytes` of the log of the join, `row_bytes` of training rows.
        redis_bytes: growth of Redis' memory; `redis_keys` of the number of its keys.
        resident_bytes: growth of the worker's memory.
        waiting: predictions that wait at the end.
        idle_share: share of a core that the worker takes when nothing comes; None if that was not looked at.
    """

    records: int
    predictions: int
    cpu_seconds: float
    outcomes: int
    outcome_bytes: int
    join_bytes: int
    row_bytes: int
    redis_bytes: int
    redis_keys: int
    resident_bytes: int
    waiting: int
    idle_share: float | None

    @property
    def microseconds(self) -> float:
        """CPU microseconds a record."""
        return 1e6 * self.cpu_seconds / self.records


class CaseRunner:
    """Runs cases on the benchmark's servers, each with topics of its own."""

    def __init__(self, on: BenchmarkServers, records: int, end: float, *, prefix: str = "join") -> None:
        """Make the streams of about so many records; names of topics begin with `prefix`."""
        self._on = on
        self._prefix = prefix
        self._end = end
        self._runs = 0
        self._plain = only_predictions(records, end)
        # A prediction has 0.98 labels.
        self._labelled = predictions_and_labels(round(records / 1.98), end)
        self._redis = redis.Redis.from_url(on.redis.url)

    def run(self, case: WorkerCase, *, idle_seconds: float = 0.0) -> WorkerRun:
        """Run a case once; `idle_seconds` tells for how long the worker is looked at after that."""
        self._runs += 1
        stream = self._labelled if case.labels else self._plain
        text = _MODEL.format(most_bytes=max(64, len(stream) >> 11), factory=_FACTORY if case.retrained else "")
        prefix = f"{self._prefix}-{self._runs}"
        fleet = WorkerFleet(self._on, text, prefix=prefix, partitions=PARTITIONS, session_timeout_seconds=_SESSION_SECONDS)
        try:
            return self._measured(fleet, case, stream, idle_seconds)
        finally:
            for child in fleet.children:
                child.kill()  # nothing of it is needed any more

    def _measured(self, fleet: WorkerFleet, case: WorkerCase, stream: JoinStream, idle_seconds: float) -> WorkerRun:
        ending = Ending(fleet.kafka)
        worker = fleet.worker(self._on.cores.measured)
        time.sleep(_SETTLE_SECONDS)
        before, redis_before, keys_before = usage(worker.pid), self._memory(), self._redis.dbsize()
        with frozen(worker):
            send(fleet.kafka, stream, EventWriter(with_ids=case.with_ids, digits=case.digits))
        ending.wait(
            self._end,
            sources=PARTITIONS,
            rows=stream.predictions,
            workers=[worker],
            timeout_seconds=_TIMEOUT_SECONDS,
            kinds=("features", "outcomes"),
        )
        time.sleep(_REST_SECONDS)
        after = usage(worker.pid)
        found = worker.samples()
        grown, keys = self._memory() - redis_before, self._redis.dbsize() - keys_before
        outcomes = _summed(found, "driftline_outcomes_total", 'result="joined"')
        waiting = _summed(found, "driftline_join_waiting", 'what="predictions"')
        _check(case, stream, outcomes, waiting)
        return WorkerRun(
            records=len(stream),
            predictions=stream.predictions,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
            outcomes=outcomes,
            outcome_bytes=self._stored(fleet.kafka, OUTCOMES),
            join_bytes=self._stored(fleet.kafka, JOIN),
            row_bytes=self._stored(fleet.kafka, ROWS),
            redis_bytes=grown,
            redis_keys=keys,
            resident_bytes=after.resident_bytes - before.resident_bytes,
            waiting=waiting,
            idle_share=_idle_share(worker, idle_seconds) if idle_seconds else None,
        )

    def _memory(self) -> int:
        return int(self._redis.info("memory")["used_memory"])

    def _stored(self, kafka: KafkaSettings, topic: Topic) -> int:
        """Return the bytes of a topic on the broker's disk."""
        logs = (self._on.kafka.directory / "data").glob(f"{topic_name(kafka.prefix, topic)}-*/*.log")
        return sum(log.stat().st_size for log in logs)


def _summed(samples: dict[str, float], name: str, label: str) -> int:
    return int(sum(value for sample, value in samples.items() if sample.startswith(f"{name}{{") and label in sample))


def _check(case: WorkerCase, stream: JoinStream, outcomes: int, waiting: int) -> None:
    """Return if as many outcomes were made and predictions wait as the stream has.

    Raises:
        UnavailableError: other numbers.
    """
    labels = stream.row[stream.labelled]
    wanted = len(np.unique(labels[labels < stream.predictions])) if case.labels else 0
    if outcomes != wanted:
        raise UnavailableError(
            f"{case.name}: {wanted} labels have a prediction and {outcomes} were joined: the run measures nothing"
        )
    # A gauge is set at a flush that has something to store: the last records may not be in it.
    if case.with_ids and waiting < 0.9 * stream.predictions:
        raise UnavailableError(
            f"{case.name}: {stream.predictions} predictions were sent and {waiting} wait: the run measures nothing"
        )


def _idle_share(worker: ReadyWorker, seconds: float) -> float:
    """Return the share of a core that a worker takes when nothing comes."""
    time.sleep(min(_CALM_SECONDS, seconds))
    used, began = usage(worker.pid).cpu_seconds, time.monotonic()
    time.sleep(seconds)
    return (usage(worker.pid).cpu_seconds - used) / (time.monotonic() - began)


@contextmanager
def frozen(worker: ReadyWorker) -> Iterator[None]:
    """Keep a worker from doing anything meanwhile."""
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def send(kafka: KafkaSettings, stream: JoinStream, writer: EventWriter) -> None:
    """Write the records, each to the partition of its id, and ticks that close every window.

    Raises:
        UnavailableError: the broker did not take all of them.
    """
    topic = topic_name(kafka.prefix, EVENTS)
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "client.id": "feeder",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "log_level": 2,
        }
    )
    for low in range(0, len(stream), _CHUNK):
        places = np.arange(low, min(low + _CHUNK, len(stream)))
        for partition in range(PARTITIONS):
            keys, values = writer.values(stream, places[stream.partition[places] == partition])
            messages = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
            _produce(producer, topic, partition, messages)
    ticks = [{"key": None, "value": tick(MODEL, stream.end)}, {"key": None, "value": outcome_tick(MODEL, stream.end)}]
    for partition in range(PARTITIONS):
        _produce(producer, topic, partition, ticks)
    if producer.flush(_FLUSH_SECONDS):
        raise UnavailableError(f"the broker did not take the events within {_FLUSH_SECONDS:g} s")
    _arrived(kafka, topic, len(stream) + 2 * PARTITIONS)


def _produce(producer: Producer, topic: str, partition: int, messages: list[dict[str, bytes | None]]) -> None:
    if len(producer) > 8 * _CHUNK and producer.flush(_FLUSH_SECONDS):
        raise UnavailableError(f"the broker did not take {len(producer)} events within {_FLUSH_SECONDS:g} s")
    if messages and producer.produce_batch(topic, messages, partition=partition) != len(messages):
        raise UnavailableError(f"the client's queue is full at {len(producer)} events")


def _arrived(kafka: KafkaSettings, topic: str, messages: int) -> None:
    log = Log(kafka, "benchmark-offsets")
    try:
        found = sum(end for _, end in log.ends(topic).values())
    finally:
        log.close()
    if found != messages:
        raise UnavailableError(f"{messages} events were written and {found} have arrived")
