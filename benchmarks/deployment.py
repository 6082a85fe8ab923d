"""A whole deployment of real processes on given servers: what the chaos disturbs and the tests of the loop drive."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from detectors.windows.record import Kind, Mark
from driftline.servers.child import Child
from streams.kafka import Log, Outgoing, Record, Sender
from streams.records import window_codec
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import WINDOWS, Topic, topic_name

_SERVERS = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
session_timeout = "{session:g}s"

[redis]
url = "{redis}"
prefix = "{redis_prefix}"

[worker]
metrics_port = 0

[retrainer]
metrics_port = 0

[serve]
port = 0
"""
_READY_SECONDS = 60.0
_SEND_SECONDS = 60.0
#: The group whose offsets show how far the workers are; reading with its name joins nothing.
_GROUP = "worker"


class Deployment:
    """Processes of one deployment on given servers."""

    def __init__(self, home: Path, kafka: KafkaSettings, redis: RedisSettings, key: Secret, *, models: str) -> None:
        """Write the configuration; `models` is its `[models.NAME]` part. Nothing is started."""
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.kafka = kafka
        self.redis = redis
        self.key = key
        self.models = tuple(tomllib.loads(models)["models"])
        self.config = home / "driftline.toml"
        servers = _SERVERS.format(
            bootstrap=kafka.bootstrap,
            prefix=kafka.prefix,
            session=kafka.session_timeout_seconds,
            redis=redis.url,
            redis_prefix=redis.prefix,
        )
        self.config.write_text(servers + models)
        self.children: list[Child] = []

    # -- processes -----------------------------------------------------------------------------

    def start(self, command: str, *, program: str = "driftline") -> Child:
        """Start one process; it is not ready yet. `program` is the module that takes the command line."""
        child = Child(
            [sys.executable, "-m", program, "--config", str(self.config), command],
            log=self.home / f"{command}-{len(self.children)}.log",
            name=f"driftline {command}",
            environment={"DRIFTLINE_SIGNING_KEY": self.key.reveal().decode(), "DRIFTLINE_DEBUG": "1"},
        )
        self.children.append(child)
        return child.start()

    def ready(self, command: str) -> tuple[Child, str]:
        """Start one process and return it with its address once it says it is ready."""
        child = self.start(command)

        def address() -> str | None:
            found = re.search(rf"driftline {command}: .*?(http://[^\s)]+)", child.log.read_text())
            return found.group(1) if found else None

        return child, child.until(address, timeout_seconds=_READY_SECONDS)

    def stop(self) -> None:
        """End everything that still runs."""
        for child in self.children:
            child.kill()

    # -- topics --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _log(self) -> Iterator[Log]:
        """Give a reader of the topics; a new one each time, because brokers and topics may be new since the last."""
        log = Log(self.kafka, _GROUP)
        try:
            yield log
        finally:
            log.close()

    def name(self, topic: Topic) -> str:
        """Return a topic's name on the broker."""
        return topic_name(self.kafka.prefix, topic)

    def ends(self, topic: Topic) -> dict[int, int]:
        """Return partition -> offset after the last record."""
        with self._log() as log:
            return {number: end for number, (_, end) in log.ends(self.name(topic)).items()}

    def committed(self, topic: Topic) -> dict[int, int]:
        """Return partition -> offset that the workers have committed; partitions without one are left out."""
        with self._log() as log:
            return log.committed(self.name(topic))

    def read(self, topic: Topic) -> list[Record]:
        """Return everything in a topic now."""
        name = self.name(topic)
        with self._log() as log:
            return list(log.read(name, {number: first for number, (first, _) in log.ends(name).items()}))

    def events(self, topic: Topic) -> dict[str, dict[str, Any]]:
        """Return id -> data of the CloudEvents in a topic."""
        found = [orjson.loads(record.value or b"") for record in self.read(topic)]
        return {event["id"]: event["data"] for event in found}

    def bytes_by_id(self, topic: Topic) -> dict[str, set[bytes]]:
        """Return id -> the different byte strings under that id."""
        found: dict[str, set[bytes]] = {}
        for record in self.read(topic):
            found.setdefault(orjson.loads(record.value or b"")["id"], set()).add(record.value or b"")
        return found

    def send(self, messages: Iterable[Outgoing], *, queued: Callable[[int], None] = lambda _: None) -> None:
        """Write messages as fast as the broker takes them; `queued` gets the number of messages so far."""
        sender = Sender(self.kafka, "deployment-sender")
        for number, message in enumerate(messages):
            while not sender.send(message):
                sender.poll(0.1)
            if number % 10_000 == 0:
                queued(number)
        left = sender.close(_SEND_SECONDS)
        if left:
            raise RuntimeError(f"the broker did not take {left} messages within {_SEND_SECONDS:g} s")

    # -- how far it is -------------------------------------------------------------------------

    def judged_to_the_end(self, until: float, *, kinds: tuple[Kind, ...] = ("features", "outcomes")) -> bool:
        """Return whether all sources were summarised up to that event time, and the judge has stored what it made of it."""
        marks: dict[tuple[str, Kind, int], tuple[int, int]] = {}
        for record in self.read(WINDOWS):
            parsed = window_codec.parse(record.value)
            if isinstance(parsed, Mark) and parsed.until >= until:
                marks.setdefault((parsed.model, parsed.kind, parsed.source), (record.partition, record.offset))
        sources = range(self.kafka.partitions)
        wanted = [(model, kind, source) for model in self.models for kind in kinds for source in sources]
        if any(one not in marks for one in wanted):
            return False
        committed = self.committed(WINDOWS)
        return all(committed.get(partition, 0) > offset for partition, offset in (marks[one] for one in wanted))
