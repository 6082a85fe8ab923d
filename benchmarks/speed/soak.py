"""A deployment under steady load, to see whether anything grows that should not.

    python -m benchmarks.soak [--quick] [--minutes 10] [--rate N]

A worker and a retrainer on a real Kafka and Redis, predictions with their labels at a steady rate, in three
segments, with a feature that drifts now and then, so that incidents open and end. Memory, open files, lag and
the size of snapshots are looked at again and again. The first third is for warming up: references are learned,
caches filled. Of the rest a straight line says how much each grows; more than is allowed for the whole time is
not flat, and the exit status is 1. With --quick, memory and files alone decide: lag depends on how busy the machine is, and
snapshots grow until a feature has drifted for the first time in each segment. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from redis import Redis

from benchmarks.machine import fit, run, servers, show_table, usage, whole_number
from benchmarks.workers import ReadyWorker, WorkerFleet
from detectors.errors import UnavailableError
from driftline.servers.child import Child
from streams.kafka import Outgoing, Sender
from streams.settings import KafkaSettings
from streams.topics import EVENTS, topic_name

MINUTES, RATE = 10.0, 400
MINUTES_QUICK, RATE_QUICK = 2.0, 100
WINDOW_SECONDS = 2.0
#: Of the whole time: learning of the references, and warming up.
LEARNS, WARM = 1 / 6, 1 / 3
#: The feature drifts for so many seconds, so far apart, and no label comes earlier than this after its prediction.
_DRIFTS, _APART = 10.0, 60.0
_LABEL_AFTER = 1.0
_TICK_SECONDS = 0.05
_MIB = 1 << 20

_MODEL = """
[models.soak]
window = "{window:g}s"
categorical = ["shop"]

[models.soak.outcomes]
label_within = "10s"

[models.soak.reference]
duration = "{learns:.0f}s"
min_windows = {windows}
"""


@dataclass(frozen=True, slots=True)
class GrowthLimit:
    """Something that must not grow: its unit, and how much it may over the whole time, given its level and the rate."""

    unit: str
    divisor: float
    allowed: Callable[[float, float], float]


#: What decides in a quick run.
DECIDE_QUICK = ("memory", "files")
#: Name without the process -> what it is. Memory creeps by what the allocator does not give back.
MEASURES: dict[str, GrowthLimit] = {
    "memory": GrowthLimit("MiB", _MIB, lambda level, _rate: 0.03 * level + 8 * _MIB),
    "files": GrowthLimit("", 1.0, lambda _level, _rate: 3.0),
    "lag": GrowthLimit("records", 1.0, lambda _level, rate: 4.0 * rate),
    "unread": GrowthLimit("records", 1.0, lambda _level, rate: 2.0 * rate),
    "snapshot": GrowthLimit("KiB", 1024.0, lambda level, _rate: 0.05 * level + 8 * 1024),
}


@dataclass(frozen=True, slots=True)
class Trend:
    """How one measure moved: level at the beginning, growth over the time looked at, and what was allowed."""

    name: str
    level: float
    growth: float
    allowed: float
    highest: float
    hours: float

    @property
    def flat(self) -> bool:
        """Whether it grew no more than was allowed."""
        return self.growth <= self.allowed


@dataclass(slots=True)
class Samples:
    """Moments, and name -> what was measured then."""

    at: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    def add(self, at: float, found: Mapping[str, float]) -> None:
        """Take what was measured at one moment."""
        self.at.append(at)
        for name, value in found.items():
            self.values[name].append(value)

    def trends(self, since: float, rate: float) -> list[Trend]:
        """Return how each measure moved since a moment.

        Raises:
            UnavailableError: there are too few samples for a line.
        """
        first = sum(1 for at in self.at if at < since)
        at = self.at[first:]
        if len(at) < 3:
            raise UnavailableError(f"{len(at)} samples are too few to tell: take more --minutes")
        found = []
        for name, values in self.values.items():
            line = fit(at, values[first:])
            level = line.level + line.slope * at[0]
            span = at[-1] - at[0]
            allowed = MEASURES[name.rpartition(" ")[2]].allowed(level, rate)
            found.append(Trend(name, level, line.slope * span, allowed, max(values[first:]), span / 3600))
        return found


class Load:
    """Predictions and, a little later, their labels, as time goes on."""

    def __init__(self, kafka: KafkaSettings, rate: float, drifts_from: float) -> None:
        """Connect; the feature drifts now and then from that moment on."""
        self._topic = topic_name(kafka.prefix, EVENTS)
        self._sender = Sender(kafka, "benchmark-soak")
        self._rate = rate
        self._drifts_from = drifts_from
        self._begin = time.time()
        self._draw = np.random.default_rng(3)
        self._labels: collections.deque[tuple[float, str, bool]] = collections.deque()
        self.sent = 0

    def send(self, now: float) -> None:
        """Send what is due."""
        while self.sent < (now - self._begin) * self._rate:
            self._predict(now)
        while self._labels and self._labels[0][0] <= now:
            _, identity, truth = self._labels.popleft()
            self._put(identity, {"type": "label", "id": identity, "model": "soak", "ts": now, "label": truth})
        self._sender.poll()

    def _predict(self, now: float) -> None:
        identity = f"order-{self.sent}"
        drifted = now >= self._drifts_from and (now - self._drifts_from) % _APART < _DRIFTS
        values = self._draw.normal(size=6).round(3).tolist()
        if drifted:
            values[0] += 6.0
        features = {f"x{number}": value for number, value in enumerate(values)}
        features["colour"] = ("red", "green", "blue")[self.sent % 3]
        features["shop"] = self.sent % 7
        truth = values[1] > 0
        wrong = self._draw.random() < 0.1
        body = {
            "id": identity,
            "model": "soak",
            "ts": now,
            "segment": ("eu", "us", "asia")[self.sent % 3],
            "features": features,
            "prediction": {"label": truth != wrong, "score": 0.9},
        }
        self._put(identity, body)
        self._labels.append((now + _LABEL_AFTER, identity, truth))
        self.sent += 1

    def _put(self, key: str, body: Mapping[str, Any]) -> None:
        while not self._sender.send(Outgoing(self._topic, key.encode(), orjson.dumps(body))):
            self._sender.poll(0.1)

    def close(self) -> None:
        """Return once everything has arrived.

        Raises:
            UnavailableError: it has not.
        """
        if left := self._sender.close(30.0):
            raise UnavailableError(f"the broker did not take the last {left} events within 30 s")


def looked(worker: ReadyWorker, retrainer: Child) -> dict[str, float]:
    """Return every measure at this moment."""
    found: dict[str, float] = {}
    for name, pid in (("worker", worker.pid), ("retrainer", retrainer.pid)):
        used = usage(pid)
        found[f"{name} memory"] = used.resident_bytes
        found[f"{name} files"] = used.files
    samples = worker.samples()
    found["worker lag"] = sum(value for name, value in samples.items() if name.startswith("driftline_lag_records{"))
    found["worker unread"] = sum(value for name, value in samples.items() if name.startswith("driftline_unread_records{"))
    found["worker snapshot"] = sum(value for name, value in samples.items() if name.startswith("driftline_snapshot_bytes{"))
    return found


def report(trends: Sequence[Trend]) -> None:
    """Print the table."""
    rows = []
    for trend in trends:
        measure = MEASURES[trend.name.rpartition(" ")[2]]
        numbers = [trend.level, trend.highest, trend.growth / trend.hours, trend.growth, trend.allowed]
        rows.append(
            [
                trend.name,
                *(f"{number / measure.divisor:,.2f}" for number in numbers),
                measure.unit,
                "flat" if trend.flat else "GROWS",
            ]
        )
    show_table(["measure", "at first", "highest", "an hour", "in all", "allowed", "unit", ""], rows, "soak")


def soak(minutes: float, rate: int, decide: Collection[str] = tuple(MEASURES)) -> tuple[dict[str, Any], int]:
    """Run the deployment for so long and return the result and the exit status, which follows from the measures that `decide`."""
    seconds = 60.0 * minutes
    learns = max(WINDOW_SECONDS * 2, LEARNS * seconds)
    model = _MODEL.format(window=WINDOW_SECONDS, learns=learns, windows=max(2, int(learns / WINDOW_SECONDS / 2)))
    every = min(5.0, max(0.25, seconds / 120))
    samples = Samples()
    with servers(apart=False) as on:
        deployment = WorkerFleet(on, model, prefix="soak")
        empty = Redis.from_url(on.redis.url).info("memory")["used_memory"]
        try:
            worker = deployment.worker(on.cores.all)
            retrainer = deployment.start("retrainer", on.cores.all)
            retrainer.until(
                lambda: re.search(r"driftline retrainer: .*?http://", retrainer.log.read_text(errors="replace")),
                timeout_seconds=60,
            )
            began = time.time()
            load = Load(deployment.kafka, rate, began + WARM * seconds)
            due = began
            while (now := time.time()) < began + seconds:
                load.send(now)
                if now >= due:
                    samples.add(now - began, looked(worker, retrainer))
                    due = now + every
                time.sleep(max(0.0, now + _TICK_SECONDS - time.time()))
            load.close()
            last = worker.samples()
            redis_bytes = Redis.from_url(on.redis.url).info("memory")["used_memory"] - empty
            statuses = {"worker": worker.child.stop(), "retrainer": retrainer.stop()}
        finally:
            deployment.stop()
    trends = samples.trends(WARM * seconds, rate)
    report(trends)
    flat = all(trend.flat for trend in trends if trend.name.rpartition(" ")[2] in decide)
    stopped = all(status == 0 for status in statuses.values())
    counted = {
        name: round(sum(value for key, value in last.items() if key.startswith(f"driftline_{name}{{")))
        for name in ("events_total", "windows_total", "alerts_total", "rewinds_total", "dead_letters_total")
    }
    print(f"{minutes:g} minutes, {load.sent:,} predictions; " + ", ".join(f"{value:,} {name}" for name, value in counted.items()))
    print("flat" if flat else "not flat")
    result = {
        "benchmark": "soak",
        "minutes": minutes,
        "predictions_per_second": rate,
        "flat": flat,
        "exit_statuses": statuses,
        "counted": counted,
        "redis_bytes": redis_bytes,
        "trends": {
            trend.name: {
                "at_first": round(trend.level, 1),
                "per_hour": round(trend.growth / trend.hours, 1),
                "growth": round(trend.growth, 1),
                "allowed": round(trend.allowed, 1),
                "flat": trend.flat,
            }
            for trend in trends
        },
    }
    return result, int(not (flat and stopped))


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    quick = f"{MINUTES_QUICK:g} minutes at {RATE_QUICK} predictions a second; {' and '.join(DECIDE_QUICK)} decide"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--minutes", type=float, help=f"how long [{MINUTES:g}]")
    parser.add_argument("--rate", type=whole_number(1), help=f"predictions a second, each with a label [{RATE}]")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (MINUTES_QUICK if arguments.quick else MINUTES)
    rate = arguments.rate or (RATE_QUICK if arguments.quick else RATE)
    return soak(minutes, rate, DECIDE_QUICK if arguments.quick else tuple(MEASURES))


if __name__ == "__main__":
    run(benchmark)
