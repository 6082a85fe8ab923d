"""What cannot be stored is not read: with Redis frozen or slow the lag grows and the memory does not; then all is made up for."""

from __future__ import annotations

import asyncio
import random
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from faust.types import TP

from driftline.servers.child import Child
from driftline.servers.redis_server import RedisServer
from streams.engine.checkpoint import Checkpoint
from streams.engine.lanes import Lanes
from streams.engine.outbox import Outbox
from streams.engine.transport import LogState
from streams.kafka import Outgoing, Sender, create_topics, delete_topics
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import ALERTS, OUTCOMES, RETRAINS, WINDOWS, topic_name
from tests.support.background import background
from tests.support.deployment import PER_WINDOW, ShopDeployment, end_of, shop_log, until
from tests.support.records import Fetched, batch_of

WINDOWS_SENT, DRIFT_AT = 120, 60
#: Predictions and their labels, but for those of the last minute.
EVENTS_SENT = (2 * WINDOWS_SENT - 1) * PER_WINDOW
EVENT_BYTES = 16_000
#: What a worker may grow by: fetches that wait, and what was made of them. The backlog is more than twice as much.
ROOM_BYTES = 64 << 20


def padded(message: Outgoing, draw: random.Random) -> Outgoing:
    """Return an event that is long, and does not become short when it is compressed."""
    padding = b',"padding":"' + draw.randbytes(EVENT_BYTES // 2).hex().encode() + b'"}'
    return replace(message, value=(message.value or b"")[:-1] + padding)


def metric(address: str, name: str, **labels: str) -> float:
    """Return a metric of a worker, summed over the labels that are not given."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(f"{name}{{") and all(one in line for one in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def memory_bytes(worker: Child) -> int:
    """Return the resident memory of a worker."""
    status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def slow(url: str, seconds: float) -> AbstractContextManager[None]:
    """Let every answer of a Redis take so long."""

    def pause(over: threading.Event) -> None:
        client: Any = redis.Redis.from_url(url)
        while not over.is_set():
            client.client_pause(int(seconds * 1000))
            over.wait(seconds * 1.1)

    return background(pause)


@pytest.fixture
def deployments(
    kafka_settings: KafkaSettings, redis_settings: RedisSettings, own_redis: RedisServer, signing_key: Secret, tmp_path: Path
) -> Iterator[tuple[ShopDeployment, ShopDeployment]]:
    """One deployment on the shared Redis, and one on a Redis of the test's own."""
    made = []
    for name, url in (("calm", redis_settings.url), ("rough", own_redis.url)):
        kafka = replace(kafka_settings, prefix=f"{kafka_settings.prefix}-{name}")
        create_topics(kafka)
        made.append(ShopDeployment(tmp_path / name, kafka, RedisSettings(url, kafka.prefix), signing_key))
    yield made[0], made[1]
    for deployment in made:
        deployment.stop()
        delete_topics(deployment.kafka)


def finish(deployment: ShopDeployment, address: str) -> dict[str, set[bytes]]:
    """Wait until everything is judged and return alerts and requests by id."""
    until(lambda: metric(address, "driftline_events_total") >= EVENTS_SENT or None, seconds=120, what="the last events")
    until(lambda: deployment.judged_to_the_end(end_of(WINDOWS_SENT)) or None, seconds=120, what="the end of the log")
    return {**deployment.bytes_by_id(ALERTS), **deployment.bytes_by_id(RETRAINS)}


def test_with_redis_frozen_the_lag_grows_and_the_memory_does_not(
    deployments: tuple[ShopDeployment, ShopDeployment], own_redis: RedisServer
) -> None:
    """Windows that cannot be judged stay in Kafka while 150 MB of events come; in the end the alerts are as without."""
    calm, rough = deployments
    calm.send(shop_log(calm.kafka.prefix, WINDOWS_SENT, drift_at=DRIFT_AT))
    _, address = calm.ready("worker")
    expected = finish(calm, address)
    calm.stop()

    log = shop_log(rough.kafka.prefix, WINDOWS_SENT, drift_at=DRIFT_AT)
    worker, address = rough.ready("worker")
    few = len(log) // 20
    rough.send(log[:few])
    until(lambda: metric(address, "driftline_windows_judged_total") or None, what=f"the first windows; {worker.tail()}")
    before, grown = memory_bytes(worker), []

    def look(condition: bool) -> bool | None:
        grown.append(memory_bytes(worker) - before)
        return condition or None

    windows, outcomes = (topic_name(rough.kafka.prefix, topic) for topic in (WINDOWS, OUTCOMES))
    own_redis.freeze()
    try:
        draw = random.Random(5)
        rough.send(padded(message, draw) for message in log[few:])
        rewinds = metric(address, "driftline_rewinds_total")
        until(lambda: look(metric(address, "driftline_rewinds_total") > rewinds + 3), what=f"failures; {worker.tail()}")
        left = 2 * WINDOWS_SENT
        until(lambda: look(metric(address, "driftline_lag_records", topic=windows) >= left), what="the lag of windows to grow")
        age = metric(address, "driftline_watermark_age_seconds", kind="features")
        until(
            lambda: look(metric(address, "driftline_watermark_age_seconds", kind="features") > age + 3),
            what="the age of the watermark to grow, though nobody judges",
        )
    finally:
        own_redis.thaw()
    with slow(own_redis.url, 0.1):
        until(lambda: look(metric(address, "driftline_lag_records", topic=windows) < left), seconds=120, what="some of it")
    assert finish(rough, address) == expected
    look(True)
    assert max(grown) < ROOM_BYTES, [size >> 20 for size in grown]
    assert len(log) * EVENT_BYTES > 2 * ROOM_BYTES
    until(lambda: metric(address, "driftline_unread_records") == 0 or None, what="nothing left unread")
    until(lambda: metric(address, "driftline_lag_records", topic=outcomes) < 100 or None, what="open windows, and no more")


class Hoarder:
    """A stage that makes a message of every record."""

    start = 0

    def __init__(self) -> None:
        self.outbox = Outbox(0)

    async def feed(self, batch: Batch, position: int) -> None:
        """Take everything."""
        self.outbox.extend(Outgoing("t.windows", None, record.value) for record in batch.records(position))

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return the outbox."""
        outgoing = self.outbox.take()
        return Checkpoint(outgoing, position) if outgoing or final else None


@pytest.mark.parametrize(("size", "batches"), [(1, 5000), (100_000, 100)])
async def test_a_broker_that_takes_nothing_stops_the_reading(size: int, batches: int) -> None:
    """Feeding waits once 20,000 messages or 32 MiB wait to be sent, however much there is to read."""
    nowhere = KafkaSettings(bootstrap="127.0.0.1:1", prefix="t")
    here, hoarder = TP("t.events", 0), Hoarder()
    sender = Sender(nowhere, "test", give_up_seconds=3.0)  # a worker's does not give up; this one lets the test end

    async def make(_tp: TP, _log: LogState) -> Hoarder:
        return hoarder

    lanes = Lanes(nowhere, sender, Metrics(), {"t.events": {"hoard": make}})
    await lanes.restore(1, {here: LogState(None, 0, 10**9)})
    reading: asyncio.Task[None] | None = None
    taken = 0
    value = b"x" * size
    while reading is None or reading.done():
        assert taken * batches <= 50_000, "feeding did not wait"
        records = [Fetched(value, taken * batches + number) for number in range(batches)]
        reading = asyncio.create_task(lanes.add("hoard", batch_of(records)))
        taken += 1
        await asyncio.wait([reading], timeout=0.5)
    assert taken * batches * size <= (32 << 20) + 2 * batches * size
    reading.cancel()
    lanes.revoke([here])
    sender.close(0.0)
