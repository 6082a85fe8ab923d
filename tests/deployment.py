"""A whole deployment of real processes for the tests of the loop, and an input log that is known to the byte."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from detectors.window import Mark
from streams import history
from streams.embedded.child import Child
from streams.kafka import Log, Outgoing, Record, Sender
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import EVENTS, WINDOWS, Topic, topic_name

MODEL = "shop"
WINDOW_SECONDS = 60.0
#: First second of event time; a whole minute.
BEGIN = 1_700_000_040.0 - 1_700_000_040.0 % 60.0
PER_WINDOW = 40

_CONFIG = """
[kafka]
bootstrap = "{bootstrap}"
prefix = "{prefix}"
session_timeout = "6s"

[redis]
url = "{redis}"
prefix = "{redis_prefix}"

[worker]
metrics_port = 0

[retrainer]
metrics_port = 0

[serve]
port = 0

[models.shop]
factory = "loop_model:make"
window = "1m"
lateness = "10s"

[models.shop.reference]
duration = "40m"
min_windows = 30

[models.shop.errors]
label_within = "1h"

[models.shop.retrain]
cooldown = "2h"
min_rows = 800
"""

_T = TypeVar("_T")


def until(answer: Callable[[], _T | None], *, seconds: float = 60.0, what: str) -> _T:
    """Return the first answer that is not None, asking again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while (found := answer()) is None:
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
    return found


@dataclass
class Deployment:
    """Processes of one deployment on given servers."""

    home: Path
    kafka: KafkaSettings
    redis: RedisSettings
    key: Secret

    def __post_init__(self) -> None:
        """Write the configuration and the model's factory."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.config = self.home / "driftline.toml"
        self.config.write_text(
            _CONFIG.format(
                bootstrap=self.kafka.bootstrap, prefix=self.kafka.prefix, redis=self.redis.url, redis_prefix=self.redis.prefix
            )
        )
        shutil.copy(Path(__file__).parent / "data" / "loop" / "loop_model.py", self.home)
        self.children: list[Child] = []

    def start(self, command: str) -> Child:
        """Start one process; it is not ready yet."""
        number = len(self.children)
        child = Child(
            [sys.executable, "-m", "driftline", "--config", str(self.config), command],
            log=self.home / f"{command}-{number}.log",
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

        return child, child.until(address, timeout_seconds=60)

    def stop(self) -> None:
        """End everything that still runs."""
        for child in self.children:
            child.kill()

    def read(self, topic: Topic) -> list[Record]:
        """Return everything in a topic now."""
        log = Log(self.kafka, "tests-reader")
        try:
            name = topic_name(self.kafka.prefix, topic)
            return list(log.read(name, {number: first for number, (first, _) in log.ends(name).items()}))
        finally:
            log.close()

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

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Write messages as fast as the broker takes them."""
        sender = Sender(self.kafka, "tests-sender")
        for message in messages:
            while not sender.send(message):
                sender.poll(0.1)
        assert sender.close(60) == 0

    def judged_to_the_end(self, until_ts: float, *, kinds: tuple[str, ...] = ("features", "outcomes")) -> bool:
        """Tell whether all sources were summarised up to that event time, and the judge has stored what it made of it."""
        sources = self.kafka.partitions
        last: dict[tuple[str, int], int] = {}
        for record in self.read(WINDOWS):
            parsed = history.parse(record.value)
            if isinstance(parsed, Mark) and parsed.until >= until_ts:
                last.setdefault((parsed.kind, parsed.source), record.offset)
        if any((kind, source) not in last for kind in kinds for source in range(sources)):
            return False
        partition = next(record.partition for record in self.read(WINDOWS))
        return self._committed(WINDOWS).get(partition, 0) > max(last.values())

    def _committed(self, topic: Topic) -> dict[int, int]:
        log = Log(self.kafka, "worker")  # asks for the group's offsets, joins nothing
        try:
            return log.committed(topic_name(self.kafka.prefix, topic))
        finally:
            log.close()


def event(prefix: str, body: Mapping[str, Any], *, key: str, partition: int | None = None) -> Outgoing:
    """Return one event as a message."""
    return Outgoing(
        topic_name(KafkaSettings(prefix=prefix).prefix, EVENTS), key.encode(), orjson.dumps(body), partition=partition
    )


def shop_rows(windows: int, *, drift_at: int, seed: int = 7) -> Iterator[tuple[str, float, dict[str, Any], bool]]:
    """Yield (id, ts, features, truth): from window `drift_at` on x is 3 higher and the truth is turned round."""
    random = np.random.default_rng(seed)
    step = WINDOW_SECONDS / PER_WINDOW
    for number in range(windows * PER_WINDOW):
        drifted = number >= drift_at * PER_WINDOW
        x, y = random.normal(3.0 if drifted else 0.0), random.normal()
        truth = bool((x - (3.0 if drifted else 0.0) > 0) != drifted)
        colour = str(random.choice(["red", "green", "blue"]))
        yield f"order-{number}", BEGIN + number * step, {"x": float(x), "y": float(y), "colour": colour}, truth


def shop_log(prefix: str, windows: int, *, drift_at: int, sources: int = 4) -> list[Outgoing]:
    """Return predictions with labels a minute behind, and at the end what closes every window of every partition."""
    log: list[Outgoing] = []
    waiting: list[tuple[str, float, bool]] = []
    for identity, ts, features, truth in shop_rows(windows, drift_at=drift_at):
        log.append(_prediction(prefix, identity, ts, features))
        waiting.append((identity, ts, truth))
        while waiting[0][1] <= ts - 60.0:
            due, at, label = waiting.pop(0)
            log.append(event(prefix, {"type": "label", "id": due, "model": MODEL, "ts": at + 60.0, "label": label}, key=due))
    end = BEGIN + (windows + 10) * WINDOW_SECONDS
    for source in range(sources):
        closing = f"closing-{source}"
        log.append(_prediction(prefix, closing, end, {"x": 0.0, "y": 0.0, "colour": "red"}, partition=source))
        label = {"type": "label", "id": closing, "model": MODEL, "ts": end, "label": True}
        log.append(event(prefix, label, key=closing, partition=source))
    return log


def _prediction(prefix: str, identity: str, ts: float, features: Mapping[str, Any], partition: int | None = None) -> Outgoing:
    body = {
        "id": identity,
        "model": MODEL,
        "ts": ts,
        "features": features,
        "prediction": {"label": features["x"] > 0, "score": 0.5},
    }
    return event(prefix, body, key=identity, partition=partition)


def end_of(windows: int) -> float:
    """Return the event time up to which a log of so many windows closes everything."""
    return BEGIN + windows * WINDOW_SECONDS
