"""Told to stop, a worker puts away what it has, leaves, and has ended five seconds later; the next one goes on there."""

from __future__ import annotations

import signal
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from benchmarks.exactness.chaos.evidence import judged_windows
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from streams.kafka import Log, create_topics
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.topics import ALERTS, EVENTS, RETRAINS, WINDOWS, Topic, topic_name
from tests.support.deployment import ShopDeployment, end_of, shop_log, until

WINDOWS_SENT, DRIFT_AT = 110, 60
#: Makes an event so long that a fetch holds a small part of the log.
PADDING = b',"padding":"' + b"x" * 4000 + b'"}'
#: What is promised, from the signal to the end of the process.
PROMISED_SECONDS = 5.0

Alerts = dict[str, set[bytes]]


class Servers:
    """A Kafka and a Redis that the tests of this file may freeze."""

    def __init__(self, kafka: KafkaServer, redis: RedisServer, directory: Path) -> None:
        self.kafka = kafka
        self.redis = redis
        self._directory = directory

    def deploy(self, padding: bytes = PADDING) -> ShopDeployment:
        """Return a new deployment with the whole log waiting for it."""
        name = f"t{uuid.uuid4().hex[:8]}"
        kafka = KafkaSettings(bootstrap=self.kafka.bootstrap, prefix=name)
        create_topics(kafka)
        key = Secret(b"a key that only the tests know...")
        deployment = ShopDeployment(self._directory / name, kafka, RedisSettings(self.redis.url, name), key)
        log = shop_log(name, WINDOWS_SENT, drift_at=DRIFT_AT)
        deployment.send(replace(message, value=(message.value or b"")[:-1] + padding) for message in log)
        return deployment


@pytest.fixture(scope="module")
def servers(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of this file's own; that the shared ones run says that these can be started."""
    assert kafka_server.child.running
    with KafkaServer() as kafka, RedisServer() as redis:
        yield Servers(kafka, redis, tmp_path_factory.mktemp("stopping"))


def metric(address: str, name: str) -> float:
    """Return a metric of a worker, summed over its labels."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


def finish(deployment: ShopDeployment, address: str) -> Alerts:
    """Wait until everything is judged and return alerts and requests by id."""
    said = "\n".join(child.tail(1000) for child in deployment.children)
    committed, ends = offsets(deployment, EVENTS)
    left = sum(ends.values()) - sum(committed.values())  # before it has read so many there is no use in looking
    until(lambda: metric(address, "driftline_events_total") >= left or None, seconds=120, what=f"the last events; {said}")
    until(lambda: deployment.judged_to_the_end(end_of(WINDOWS_SENT)) or None, seconds=120, what=f"the end of the log; {said}")
    return {**deployment.bytes_by_id(ALERTS), **deployment.bytes_by_id(RETRAINS)}


@pytest.fixture(scope="module")
def calm(servers: Servers) -> Alerts:
    """What a worker that nobody stops makes of the log."""
    deployment = servers.deploy(b"}")
    _, address = deployment.ready("worker")
    alerts = finish(deployment, address)
    deployment.stop()
    assert alerts
    return alerts


def at_work(deployment: ShopDeployment) -> Child:
    """Start a worker and return it when it is in the middle of the log."""
    worker, address = deployment.ready("worker")
    until(lambda: metric(address, "driftline_events_total") > 0 or None, what=f"a worker at work; {worker.tail()}")
    return worker


def stopped(worker: Child, *signals: signal.Signals) -> None:
    """Tell a worker to stop, and check that it did in time."""
    told = time.monotonic()
    for number in signals:
        worker.signal(number)
        time.sleep(0.2 if len(signals) > 1 else 0.0)  # a second signal is to find it stopping
    status = worker.wait(4 * PROMISED_SECONDS)
    took = time.monotonic() - told
    assert status == 0, worker.tail()
    assert took < PROMISED_SECONDS, worker.tail()


def members(deployment: ShopDeployment) -> int:
    """Return how many members the workers' group has."""
    admin = AdminClient({"bootstrap.servers": deployment.kafka.bootstrap})
    group = f"{deployment.kafka.prefix}.worker"
    found = admin.describe_consumer_groups([group])[group].result(30)
    assert found.state == ConsumerGroupState.EMPTY or found.members
    return len(found.members)


def offsets(deployment: ShopDeployment, topic: Topic) -> tuple[dict[int, int], dict[int, int]]:
    """Return what the workers committed and where the log ends, by partition."""
    log = Log(deployment.kafka, "worker")
    try:
        name = topic_name(deployment.kafka.prefix, topic)
        return log.committed(name), {number: end for number, (_, end) in log.ends(name).items()}
    finally:
        log.close()


def test_stopped_at_full_speed_the_next_one_goes_on_where_it_was(servers: Servers, calm: Alerts) -> None:
    """SIGTERM, SIGINT, SIGTERM twice: each ends in time and leaves; the next goes on there, and no alert comes twice."""
    deployment = servers.deploy()
    for number, signals in enumerate(((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM))):
        worker = at_work(deployment)
        stopped(worker, *signals)
        assert members(deployment) == 0, "the partitions are free at once, not when the session times out"
        committed, ends = offsets(deployment, EVENTS)
        assert number or sum(committed.values()) < 0.9 * sum(ends.values()), "it was stopped in the middle"
    worker, address = deployment.ready("worker")
    assert finish(deployment, address) == calm
    ends = offsets(deployment, EVENTS)[1]
    left = sum(ends[number] - committed.get(number, 0) for number in ends)
    assert metric(address, "driftline_events_total") == left, "it began at what was committed"
    stopped(worker, signal.SIGTERM)
    deployment.stop()
    # Windows are judged by one agent alone: nothing of that is written twice. Of events that one agent had read and another
    # had not, and of outcomes that share a record, windows may come again, in part; their marks tell the judge.
    judged, unjudged, _ = judged_windows(deployment.read(WINDOWS))
    assert {kind for _, _, kind, _, _ in judged} == {"features", "outcomes"}
    assert not unjudged
    for topic in (ALERTS, RETRAINS):
        values = [record.value for record in deployment.read(topic)]
        assert len(values) == len(set(values))


def test_what_is_away_is_not_waited_for(servers: Servers, calm: Alerts) -> None:
    """With Redis or the broker frozen a worker ends in time as well; once they are back, the next one makes the same alerts."""
    deployment = servers.deploy()
    worker = at_work(deployment)
    servers.redis.freeze()
    try:
        stopped(worker, signal.SIGTERM)
        assert members(deployment) == 0
    finally:
        servers.redis.thaw()
    worker = at_work(deployment)
    servers.kafka.child.signal(signal.SIGSTOP)
    try:
        stopped(worker, signal.SIGTERM)
    finally:
        servers.kafka.child.signal(signal.SIGCONT)
    worker, address = deployment.ready("worker")
    assert finish(deployment, address) == calm
    deployment.stop()
