"""Real `driftline worker` processes for the benchmarks, and how to see from outside that they have finished.

Rules:
1. A worker is measured from outside: by its log, by the records in its topics, by /proc and by its own /metrics.
2. It has finished once the windows topic holds the marks of all sources for the end of the log. What a
   reader is given, the broker has acknowledged.
3. Every run checks its own arithmetic: the rows of the windows are the events that were written.
"""

from __future__ import annotations

import itertools
import re
import secrets
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.machine import BenchmarkServers, pin
from detectors.errors import UnavailableError
from detectors.windows.record import Kind, Mark, Window
from driftline.config.load import load_settings
from driftline.servers.child import Child
from streams.kafka import Log, create_topics
from streams.metrics import Metrics
from streams.records import window_codec
from streams.settings import KafkaSettings
from streams.state.store import Store
from streams.topics import EVENTS, OUTCOMES, WINDOWS, topic_name
from streams.worker.agents import stage_makers

_READY_SECONDS = 60.0
_GROUP_SECONDS = 30.0

_CONFIG = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
partitions = {partitions}
session_timeout = "{session:g}s"

[redis]
url = "{redis}"
prefix = "{state}"

[worker]
metrics_port = 0

[retrainer]
metrics_port = 0
"""


@dataclass(slots=True)
class ReadyWorker:
    """A worker that has its partitions; `ready_at` is when it said so, in seconds of the clock."""

    child: Child
    ready_at: float
    metrics: str

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def samples(self) -> dict[str, float]:
        """Return what /metrics shows now: `name{labels}` -> value.

        Raises:
            UnavailableError: it does not answer.
        """
        try:
            with urllib.request.urlopen(self.metrics, timeout=10) as answer:
                text = answer.read().decode()
        except OSError as error:
            raise UnavailableError(f"{self.metrics} does not answer ({error}); {self.child.tail()}") from None
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


class WorkerFleet:
    """Topics, configuration and workers of one deployment on a benchmark's servers."""

    def __init__(
        self, on: BenchmarkServers, models: str, *, prefix: str, partitions: int = 4, session_timeout_seconds: float | None = None
    ) -> None:
        """Create the topics; `models` is the part of `driftline.toml` that describes the models.

        A worker that is frozen for less than `session_timeout_seconds` keeps its partitions.
        """
        self._servers = on
        self._models = models
        self.kafka = KafkaSettings(bootstrap=on.kafka.bootstrap, prefix=prefix, partitions=partitions)
        if session_timeout_seconds is not None:
            self.kafka = replace(self.kafka, session_timeout_seconds=session_timeout_seconds)
        self._home = on.home / prefix
        self._home.mkdir()
        self._key = secrets.token_hex(32)
        self._runs = 0
        self.children: list[Child] = []
        create_topics(self.kafka)
        self._write()

    def _write(self) -> None:
        """Write the configuration with keys of this run's own in Redis."""
        config = _CONFIG.format(
            bootstrap=self.kafka.bootstrap,
            prefix=self.kafka.prefix,
            partitions=self.kafka.partitions,
            session=self.kafka.session_timeout_seconds,
            redis=self._servers.redis.url,
            state=f"{self.kafka.prefix}-{self._runs}",
        )
        (self._home / "driftline.toml").write_text(config + self._models)

    def agents(self) -> list[str]:
        """Return the agents that run in a worker of this configuration."""
        settings = load_settings(self._home / "driftline.toml", {"DRIFTLINE_SIGNING_KEY": self._key})
        store = Store(settings.redis, settings.signing_key)
        makers = stage_makers(settings, store=store, metrics=Metrics(), sinks=(), sources=self.kafka.partitions)
        return sorted({agent for agents in makers.values() for agent in agents})

    def afresh(self, models: str | None = None) -> None:
        """Forget what workers have read, written and stored, and keep the events; the workers have ended."""
        self._runs += 1
        self._models = models or self._models
        self._write()
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 2})
        for group, future in admin.delete_consumer_groups([f"{self.kafka.prefix}.worker"]).items():
            try:
                future.result(_GROUP_SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise UnavailableError(f"cannot delete group {group}: {error.args[0].str()}") from None
        ends = [TopicPartition(name, number, end) for name, number, end in self._ends(OUTCOMES.name, WINDOWS.name)]
        for deleted in admin.delete_records(ends).values():
            deleted.result(_GROUP_SECONDS)

    def _ends(self, *names: str) -> list[tuple[str, int, int]]:
        log = Log(self.kafka, "benchmark-ends")
        try:
            topics = [f"{self.kafka.prefix}.{name}" for name in names]
            return [(topic, number, end) for topic in topics for number, (_, end) in log.ends(topic).items() if end]
        finally:
            log.close()

    def start(self, command: str, cores: Iterable[int]) -> Child:
        """Start one process of the deployment on these cores; it is not ready yet."""
        child = Child(
            [sys.executable, "-m", "driftline", "--config", str(self._home / "driftline.toml"), command],
            log=self._home / f"{command}-{len(self.children)}.log",
            name=f"driftline {command}",
            environment={"DRIFTLINE_SIGNING_KEY": self._key, "DRIFTLINE_DEBUG": "1"},
        )
        self.children.append(child)
        child.start()
        pin(child.pid, cores)
        return child

    def worker(self, cores: Iterable[int]) -> ReadyWorker:
        """Start a worker on these cores and return it once it has its partitions."""
        child = self.start("worker", cores)

        def said() -> ReadyWorker | None:
            found = re.search(r"driftline worker: ready .*?(http://[^\s)]+)", child.log.read_text(errors="replace"))
            return ReadyWorker(child, min(time.time(), child.log.stat().st_mtime), found[1]) if found else None

        return child.until(said, timeout_seconds=_READY_SECONDS)

    def shared(self, workers: int, timeout_seconds: float = _READY_SECONDS) -> None:
        """Return once so many members of the workers' group have an equal share of the events topic.

        Raises:
            UnavailableError: they did not within the time.
        """
        topic = topic_name(self.kafka.prefix, EVENTS)
        deadline = time.monotonic() + timeout_seconds
        while sorted(self._shares(topic)) != [self.kafka.partitions // workers] * workers:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{workers} workers do not share {topic} after {timeout_seconds:g} s")
            time.sleep(0.1)

    def _shares(self, topic: str) -> list[int]:
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 2})
        group = f"{self.kafka.prefix}.worker"
        members = admin.describe_consumer_groups([group])[group].result(_GROUP_SECONDS).members
        return [sum(1 for tp in member.assignment.topic_partitions if tp.topic == topic) for member in members]

    def committed(self) -> dict[tuple[str, int], int]:
        """Return (topic, partition) -> offset that the workers have committed."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 2})
        group = f"{self.kafka.prefix}.worker"
        found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(_GROUP_SECONDS)
        return {(tp.topic, tp.partition): tp.offset for tp in found.topic_partitions}

    def stop(self) -> None:
        """End every process, in order where it lets itself."""
        for child in self.children:
            child.stop()


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended: when the last mark was read, and what the windows hold."""

    at: float
    windows: int
    rows: int


class Ending:
    """A reader of the windows topic that waits for the end of a log; made before the workers start."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Stand at the end of the topic."""
        self._topic = topic_name(kafka.prefix, WINDOWS)
        log = Log(kafka, "benchmark-ending")
        places = [TopicPartition(self._topic, number, end) for number, (_, end) in log.ends(self._topic).items()]
        log.close()
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": f"{kafka.prefix}.benchmark-ending",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        self._consumer.assign(places)

    def wait(
        self,
        end: float,
        *,
        sources: int,
        rows: int,
        workers: Iterable[ReadyWorker],
        timeout_seconds: float,
        meanwhile: Callable[[], None] = lambda: None,
        kinds: Iterable[Kind] = ("features",),
    ) -> Finished:
        """Return once all sources have closed what ends at or before `end`; `meanwhile` is called now and then.

        `kinds` are those of the windows that are waited for; the rows are those of the windows of features.

        Raises:
            UnavailableError: that took too long, a worker ended, or the windows do not hold all rows.
        """
        waiting = set(itertools.product(kinds, range(sources)))
        found: dict[tuple[str, int, float], int] = {}
        deadline = time.monotonic() + timeout_seconds
        children = [worker.child for worker in workers]
        at = 0.0
        while waiting:
            for message in self._consumer.consume(1000, timeout=0.1):
                at = time.time()
                record = window_codec.parse(message.value())
                if isinstance(record, Mark) and record.until >= end:
                    waiting.discard((record.kind, record.source))
                elif isinstance(record, Window) and record.kind == "features" and record.end <= end:
                    found[record.segment, record.source, record.start] = record.n
            meanwhile()
            dead = [child for child in children if not child.running]
            if dead or time.monotonic() > deadline:
                said = "\n".join(child.tail() for child in dead or children)
                raise UnavailableError(f"the workers ended, or did not finish within {timeout_seconds:g} s; they say:\n{said}")
        self._consumer.close()
        finished = Finished(at, len(found), sum(found.values()))
        if finished.rows != rows:
            raise UnavailableError(f"{rows} events were written and {finished.rows} are in windows: the run measures nothing")
        return finished
