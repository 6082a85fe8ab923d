"""How long after a window's close its alert is on the alerts topic; and a backlog read at full speed.

    python -m benchmarks.latency [--quick] [--rate N] [--seconds N] [--backlog N]

1. A backlog as an outage of ten minutes leaves one behind is there before the worker starts. It is read at
   full speed, which gives the rate that one worker can take, and its memory is looked at on the way.
2. Then events come as they happen, at half of that rate (or --rate), nearly all of a hot model. Beside it are
   probes: small models with windows of one second, each with a feature that jumps and comes back.
3. An alert names the window that raised it. That window could be closed once each partition had an event behind
   its end; the latency is the time from the last of these events to the alert. Both are the broker's own
   times of arrival (LogAppendTime), so no client's clock is in the figure.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.machine import BenchmarkServers, run, servers, show_table, usage, whole_number
from benchmarks.speed.feeding import DATA_SETS, MODEL, PARTITIONS, bodies, closing, encoded, events, fill
from benchmarks.workers import Ending, ReadyWorker, WorkerFleet
from detectors.errors import UnavailableError
from detectors.windows.record import Mark
from streams.kafka import Log
from streams.records import window_codec
from streams.topics import ALERTS, EVENTS, WINDOWS, topic_name

AIM_SECONDS = 1.0
OUTAGE_SECONDS = 600.0
BACKLOG, BACKLOG_QUICK = 3_000_000, 300_000
SECONDS, SECONDS_QUICK = 120, 45
#: Share of the rate found in the backlog that the live load has.
LOAD = 0.5
PROBES = 20
#: Windows of a probe: this many to learn from, then jumps of so many windows, so far apart.
LEARNED, JUMP, APART = 30, 4, 16
_JUMP_SIZE = 20.0
#: Live events come for so long before the first jump: the references have been learned by then.
SETTLE_SECONDS = 15.0
_PREFIX = "latency"
#: Live events are handed over so often; a probe has a row in each partition at each of these.
_TICK_SECONDS, _PROBE_TICKS = 0.02, 6
#: Memory may grow by so much from the first half of the backlog to the second.
_GROWTH, _GROWTH_BYTES = 1.1, 16 << 20
_TIMEOUT_SECONDS = 900.0
_JUDGED_SECONDS = 120.0
_DATA = DATA_SETS["numeric"]
_HOT_WINDOW = 10.0

_MODELS = f"""
[models.hot]
window = "{_HOT_WINDOW:g}s"

[models.hot.reference]
duration = "{OUTAGE_SECONDS / 2:g}s"
""" + "".join(
    f"""
[models.probe-{number:02d}]
window = "1s"

[models.probe-{number:02d}.reference]
duration = "{LEARNED - 5}s"
min_windows = {LEARNED - 10}
"""
    for number in range(PROBES)
)


@dataclass(frozen=True, slots=True)
class CatchUp:
    """A backlog that was read: its size, how long it took, and (seconds, resident bytes) on the way."""

    events: int
    seconds: float
    memory: list[tuple[float, int]]

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    def halves(self) -> tuple[int, int]:
        """Return the most memory in the first half and in the second, bytes."""
        middle = len(self.memory) // 2
        first, second = self.memory[: max(1, middle)], self.memory[middle:]
        return max(size for _, size in first), max(size for _, size in second)

    @property
    def flat(self) -> bool:
        """Whether the second half needed no more memory than the first."""
        first, second = self.halves()
        return second <= first * _GROWTH + _GROWTH_BYTES


class Probes:
    """The small models: what they send, and when each partition had an event behind each second."""

    def __init__(self, began: float) -> None:
        """Begin to jump at that whole second of event time."""
        self._began = began
        self._draw = np.random.default_rng(5)
        #: (model, partition, second) -> arrival of its first event, in milliseconds of the broker.
        self.arrivals: dict[tuple[str, int, int], int] = {}

    def body(self, number: int, ts: float) -> bytes:
        """Return the features of a probe at a moment: one that jumps at times, one that never does."""
        window = int(ts - self._began)
        jumps = window >= 0 and (window + number) % APART < JUMP
        x, y = self._draw.normal(size=2).round(3).tolist()
        return orjson.dumps({"x": x + (_JUMP_SIZE if jumps else 0.0), "y": y})

    def rows(self, ts: float) -> Iterator[tuple[str, bytes]]:
        """Yield one event of each probe."""
        for number in range(PROBES):
            model = f"probe-{number:02d}"
            yield model, encoded(self.body(number, ts), ts, model=model, segment="")

    def arrived(self, model: str, second: int, message: Message) -> None:
        """Note when the broker took an event."""
        key = (model, int(message.partition() or 0), second)
        at = int(message.timestamp()[1])
        self.arrivals[key] = min(at, self.arrivals.get(key, at))

    @property
    def end(self) -> float:
        """End of the last window that all partitions have closed."""
        last: dict[tuple[str, int], int] = {}
        for model, partition, second in self.arrivals:
            last[model, partition] = max(second, last.get((model, partition), 0))
        return float(min(last.values()))

    def closable(self, model: str, end: float) -> float | None:
        """Return when a window with that end could be closed, epoch seconds; None if it was not while events were live."""
        of_all = [self.arrivals.get((model, partition, int(end))) for partition in range(PARTITIONS)]
        known = [at for at in of_all if at is not None]
        return max(known) / 1000.0 if len(known) == PARTITIONS else None


def caught_up(deployment: WorkerFleet, on: BenchmarkServers, count: int, now: float) -> tuple[ReadyWorker, CatchUp]:
    """Write the backlog, start a worker, and return it once all windows of the backlog are there."""
    begin = math.floor((now - OUTAGE_SECONDS) / _HOT_WINDOW) * _HOT_WINDOW
    end = begin + OUTAGE_SECONDS
    fill(deployment.kafka, events(_DATA, count, begin=begin, per_second=count / OUTAGE_SECONDS), closing(_DATA, end))
    ending = Ending(deployment.kafka)
    worker = deployment.worker(on.cores.measured)
    memory: list[tuple[float, int]] = []

    def look() -> None:
        memory.append((time.time() - worker.ready_at, usage(worker.pid).resident_bytes))

    look()
    finished = ending.wait(
        end, sources=PARTITIONS, rows=count, workers=[worker], timeout_seconds=_TIMEOUT_SECONDS, meanwhile=look
    )
    return worker, CatchUp(count, finished.at - worker.ready_at, memory)


class Feeder:
    """Sends the hot model's events and the probes' as time goes on."""

    def __init__(self, deployment: WorkerFleet, probes: Probes) -> None:
        """Connect."""
        self._topic = topic_name(deployment.kafka.prefix, EVENTS)
        self._probes = probes
        self._failures: list[str] = []
        self._bodies = bodies(_DATA, 20_000)
        self._producer = Producer(
            {
                "bootstrap.servers": deployment.kafka.bootstrap,
                "client.id": "feeder",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )

    def live(self, *, rate: float, seconds: float) -> float:
        """Send so many events a second for so long, and return the rate that was reached."""
        begin = time.time()
        sent = tick = 0
        while (now := time.time()) < begin + seconds:
            due = int((now - begin) * rate) - sent
            self._hot([encoded(self._bodies[(sent + place) % len(self._bodies)], now) for place in range(due)])
            sent += due
            if tick % _PROBE_TICKS == 0:
                self._probe(now)
            tick += 1
            self._producer.poll(max(0.0, now + _TICK_SECONDS - time.time()))
        took = time.time() - begin
        if self._producer.flush(60.0) or self._failures:
            raise UnavailableError(f"the broker did not take every event: {(self._failures or ['timed out'])[0]}")
        return sent / took

    def _hot(self, values: list[bytes]) -> None:
        for partition in range(PARTITIONS):
            part = [{"value": value} for value in values[partition::PARTITIONS]]
            if self._producer.produce_batch(self._topic, part, partition=partition) < len(part):
                raise UnavailableError(f"{len(self._producer):,} events wait for the broker: choose a lower --rate")

    def _probe(self, now: float) -> None:
        for partition in range(PARTITIONS):
            for model, value in self._probes.rows(now):
                self._producer.produce(self._topic, value, partition=partition, on_delivery=self._note(model, int(now)))

    def _note(self, model: str, second: int) -> Callable[[KafkaError | None, Message], None]:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._probes.arrived(model, second, message)
            else:
                self._failures.append(error.str())

        return delivered


def learn(deployment: WorkerFleet, probes: Probes, now: float) -> None:
    """Write the seconds of the probes before now: what they learn their references from."""
    producer = Producer({"bootstrap.servers": deployment.kafka.bootstrap, "linger.ms": 20, "log_level": 2})
    topic = topic_name(deployment.kafka.prefix, EVENTS)
    step = _TICK_SECONDS * _PROBE_TICKS
    for number in range(int(LEARNED / step)):
        for partition in range(PARTITIONS):
            for _, value in probes.rows(now - LEARNED + number * step):
                producer.produce(topic, value, partition=partition)
        producer.poll(0)
    if producer.flush(60.0):
        raise UnavailableError("the broker did not take the probes' events within 60 s")


def alerts_stamped_by_the_broker(on: BenchmarkServers) -> str:
    """Make the alerts topic with the broker's clock for its times, as events have it, and return its name."""
    name = topic_name(_PREFIX, ALERTS)
    admin = AdminClient({"bootstrap.servers": on.kafka.bootstrap, "log_level": 2})
    topic = NewTopic(name, num_partitions=1, replication_factor=1, config={"message.timestamp.type": "LogAppendTime"})
    admin.create_topics([topic])[name].result(30)
    return name


def wait_until_judged(deployment: WorkerFleet, end: float) -> None:
    """Return once the judges have stored what they made of the probes' windows up to that end.

    Raises:
        UnavailableError: they have not within the time.
    """
    name = topic_name(deployment.kafka.prefix, WINDOWS)
    deadline = time.monotonic() + _JUDGED_SECONDS
    while True:
        marks: dict[tuple[str, int], tuple[int, int]] = {}
        log = Log(deployment.kafka, "benchmark-judged")
        for record in log.read(name, {number: first for number, (first, _) in log.ends(name).items()}):
            mark = window_codec.parse(record.value)
            if isinstance(mark, Mark) and mark.model != MODEL and mark.until >= end:
                marks.setdefault((mark.model, mark.source), (record.partition, record.offset))
        log.close()
        committed = deployment.committed()
        if len(marks) == PROBES * PARTITIONS and all(committed.get((name, at), 0) > offset for at, offset in marks.values()):
            return
        if time.monotonic() > deadline:
            raise UnavailableError(f"the last windows are not judged after {_JUDGED_SECONDS:g} s: choose a lower --rate")
        time.sleep(0.2)


def latencies(deployment: WorkerFleet, topic: str, probes: Probes) -> list[float]:
    """Return the latency of every alert that a live event made possible, in seconds, ascending."""
    log = Log(deployment.kafka, "benchmark-alerts")
    found: list[float] = []
    try:
        start = {number: first for number, (first, _) in log.ends(topic).items()}
        for record in log.read(topic, start):
            alert = orjson.loads(record.value or b"")["data"]
            closable = probes.closable(alert["model"], alert["raised_at"])
            if closable is not None:
                found.append(max(0.0, record.timestamp_seconds - closable))
    finally:
        log.close()
    return sorted(found)


def quantile(ordered: list[float], share: float) -> float:
    """Return the value that this share of all does not exceed.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"a backlog of {BACKLOG_QUICK:,} events, then {SECONDS_QUICK} s")
    parser.add_argument("--rate", type=whole_number(1), help=f"live events a second [{LOAD:.0%}% of what the backlog shows]")
    parser.add_argument("--seconds", type=whole_number(2), help=f"how long events come live [{SECONDS}]")
    parser.add_argument("--backlog", type=whole_number(600), help=f"events of the outage [{BACKLOG:,}]")
    arguments = parser.parse_args()
    backlog = arguments.backlog or (BACKLOG_QUICK if arguments.quick else BACKLOG)
    seconds = arguments.seconds or (SECONDS_QUICK if arguments.quick else SECONDS)
    with servers() as on:
        print(on.cores.words)
        topic = alerts_stamped_by_the_broker(on)
        deployment = WorkerFleet(on, _MODELS, prefix=_PREFIX, partitions=PARTITIONS)
        try:
            _, catch_up = caught_up(deployment, on, backlog, time.time())
            began = time.time()
            probes = Probes(math.ceil(began + min(SETTLE_SECONDS, seconds / 3)))
            learn(deployment, probes, began)
            rate = arguments.rate or LOAD * catch_up.per_second
            reached = Feeder(deployment, probes).live(rate=rate, seconds=seconds)
            wait_until_judged(deployment, probes.end)
            found = latencies(deployment, topic, probes)
        finally:
            deployment.stop()
    return reported(catch_up, found, reached, seconds), 0


def reported(catch_up: CatchUp, found: list[float], reached: float, seconds: int) -> dict[str, Any]:
    """Print the tables and return the result."""
    if not found:
        raise UnavailableError("no alert came: too short a run, or too slow a machine; try more --seconds or a lower --rate")
    first, second = catch_up.halves()
    backlog = [
        ["events", f"{catch_up.events:,}"],
        ["events/s", f"{catch_up.per_second:,.0f}"],
        ["most memory, first half", f"{first / 2**20:.0f} MiB"],
        ["most memory, second half", f"{second / 2**20:.0f} MiB"],
        ["memory", "flat" if catch_up.flat else "grows"],
    ]
    show_table(["backlog", ""], backlog, f"{OUTAGE_SECONDS / 60:g} minutes of backlog")
    p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
    print()
    rows = [[f"{len(found)}", f"{reached:,.0f}", f"{p50:.3f}", f"{p99:.3f}", f"{found[-1]:.3f}"]]
    show_table(["alerts", "events/s", "p50 s", "p99 s", "max s"], rows, f"{seconds} s live")
    return {
        "benchmark": "latency",
        "alerts": len(found),
        "p50_seconds": round(p50, 3),
        "p99_seconds": round(p99, 3),
        "max_seconds": round(found[-1], 3),
        "aim_seconds": AIM_SECONDS,
        "met": p99 < AIM_SECONDS,
        "events_per_second": round(reached),
        "load": round(reached / catch_up.per_second, 3),
        "catch_up": {
            "events": catch_up.events,
            "events_per_second": round(catch_up.per_second),
            "first_half_bytes": first,
            "second_half_bytes": second,
            "flat": catch_up.flat,
        },
    }


if __name__ == "__main__":
    run(benchmark)
