"""Guards: state that does not fit its topics is refused by real workers, in words, with a way out that works."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from detectors.errors import SignatureError, StateError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.mock_broker import MockBroker
from driftline.servers.redis_server import RedisServer
from streams.engine.start_offsets import Beginnings
from streams.engine.transport import LogState
from streams.kafka import Outgoing, Sender, create_topics, delete_topics, describe, set_offsets, truncate
from streams.metrics import Metrics
from streams.settings import KafkaSettings, RedisSettings, Secret, Settings
from streams.state import binding, snapshot
from streams.state.store import Store
from streams.topics import EVENTS, JOIN, OUTCOMES, ROWS, TOPICS, WINDOWS, Topic, topic_name
from streams.worker.guard import guard
from tests.support.deployment import ShopDeployment, shop_log, until


@pytest.fixture
def deployment(
    kafka_server: KafkaServer, redis_server: RedisServer, signing_key: Secret, prefix: str, tmp_path: Path
) -> Iterator[ShopDeployment]:
    """A deployment of the test's own on the shared servers."""
    kafka = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, session_timeout_seconds=6.0)
    create_topics(kafka)
    made = ShopDeployment(tmp_path / "home", kafka, RedisSettings(url=redis_server.url, prefix=prefix), signing_key)
    yield made
    made.stop()
    delete_topics(kafka)


@pytest.fixture
def store(deployment: ShopDeployment) -> Store:
    """The deployment's Redis."""
    return Store(deployment.redis, deployment.key)


def name_of(deployment: ShopDeployment, topic: Topic) -> str:
    """Return a topic's name on the broker."""
    return topic_name(deployment.kafka.prefix, topic)


@pytest.fixture
def bound(deployment: ShopDeployment, store: Store) -> ShopDeployment:
    """The deployment after its first worker has been there."""
    binding.bind(store, binding.current(deployment.kafka))
    return deployment


def started(deployment: ShopDeployment) -> None:
    """Let a worker start, get its partitions and stop."""
    worker, _ = deployment.ready("worker")
    worker.stop()
    assert worker.exit_status == 0, worker.tail()


def refused(deployment: ShopDeployment, command: str = "worker") -> str:
    """Start a process that has to be refused for its state, and return what it said."""
    child = deployment.start(command)
    assert child.wait(90) == 4, child.tail()
    said = child.log.read_text()
    assert "Traceback" not in said
    return said


def rebuilt(deployment: ShopDeployment, *arguments: str) -> str:
    """Run a rebuild that has to succeed, and return what it said."""
    environment = {**os.environ, "DRIFTLINE_SIGNING_KEY": deployment.key.reveal().decode()}
    command = [sys.executable, "-m", "driftline", "--config", str(deployment.config), "rebuild", "--yes", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def created_again(kafka: KafkaSettings, topic: Topic, partitions: int = 4) -> None:
    """Delete one topic and create it under the same name."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    name = topic_name(kafka.prefix, topic)
    before = describe(kafka, [name]).topics[name].id
    admin.delete_topics([name])[name].result(30)
    until(lambda: name not in describe(kafka, [name]).topics or None, what="the topic to go")
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    until(lambda: _other(describe(kafka, [name]).topics.get(name), before), what="the topic to come")


def _other(found: Any, before: str | None) -> bool | None:
    return True if found is not None and found.id != before else None


def with_partitions(kafka: KafkaSettings, count: int, *topics: Topic) -> None:
    """Add partitions to topics."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for topic in topics:
        name = topic_name(kafka.prefix, topic)
        admin.create_partitions([NewPartitions(name, count)])[name].result(30)
        until(partial(_has, kafka, name, count), what="the partitions")


def _has(kafka: KafkaSettings, name: str, count: int) -> bool | None:
    return describe(kafka, [name]).topics[name].partitions == count or None


def filled(kafka: KafkaSettings, topic: Topic, count: int, partition: int = 0) -> None:
    """Append so many records that mean nothing."""
    sender = Sender(kafka, "tests-sender")
    name = topic_name(kafka.prefix, topic)
    asyncio.run(sender.send_all([Outgoing(name, b"a", b"garbage", partition=partition)] * count))


# -- a topic of the same name ----------------------------------------------------------------------


def test_a_topic_created_again_is_known_however_long_it_has_grown(bound: ShopDeployment, store: Store) -> None:
    """No worker starts on another topic of the same name, though every offset fits it; the rebuild that it names helps."""
    for topic, words, way_out in [
        (WINDOWS, "snapshots are of the old one", "--from windows"),
        (OUTCOMES, "joins the outcomes again", "--from events"),
        (EVENTS, "waiting predictions are of the old one", "--from windows --allow-loss"),
    ]:
        store.drop("snapshot")
        store.save_snapshot("judge/0", None, 3, snapshot.dump({}))
        created_again(bound.kafka, topic)
        filled(bound.kafka, topic, 10)
        said = refused(bound)
        assert f"topic {name_of(bound, topic)} was created again under its name" in said
        assert words in said
        assert f"`driftline rebuild {way_out}`" in said
        rebuilt(bound, *way_out.split())
        assert store.load_snapshot("judge/0") is None
    started(bound)


async def test_a_running_worker_notices_within_two_looks(settings: Settings) -> None:
    """A topic created again under a worker ends it with status 4; as long as all is as it was, nothing happens."""
    store = Store(settings.redis, settings.signing_key)
    await asyncio.to_thread(binding.bind, store, binding.current(settings.kafka))
    left: list[int] = []
    looking = asyncio.create_task(guard(settings.kafka, store, 0.05, left.append))
    try:
        for _ in range(20):
            await asyncio.sleep(0.05)
        assert left == []
        await asyncio.to_thread(created_again, settings.kafka, WINDOWS)
        await asyncio.to_thread(until, lambda: left or None, what="the guard")
        assert left[0] == 4
    finally:
        looking.cancel()


# -- offsets that are not there --------------------------------------------------------------------


async def test_events_that_retention_has_overtaken_are_counted(deployment: ShopDeployment) -> None:
    """A worker that comes too late goes on where the log begins; how many records were lost is in its log and its metrics."""
    deployment.send(shop_log(deployment.kafka.prefix, 2, drift_at=9))
    events = name_of(deployment, EVENTS)
    set_offsets(deployment.kafka, "worker", events, dict.fromkeys(range(4), 0))
    truncate(deployment.kafka, events, {0: 5, 3: 7})
    worker, address = deployment.ready("worker")
    await asyncio.to_thread(until, lambda: "retention removed 7 records" in worker.log.read_text() or None, what="the log line")
    assert f"{events}/0 was to be read from offset 0, but begins at 5: retention removed 5 records" in worker.log.read_text()
    assert await _metric(address, f'driftline_records_lost_total{{topic="{events}"}}') == 12


async def _metric(address: str, series: str) -> float:
    process = await asyncio.create_subprocess_exec("curl", "-s", address, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


def test_a_loss_is_told_once_and_a_partition_too_many_is_refused() -> None:
    """Reading again counts no loss twice, and partitions that came since the start are not summarised under the old number."""
    metrics = Metrics()
    beginnings = Beginnings(metrics, 2)
    for _ in range(3):
        assert beginnings.of("t.events", 1, LogState(10, 15, 90)) == 15
    assert metrics.registry.get_sample_value("driftline_records_lost_total", {"topic": "t.events"}) == 5
    assert beginnings.of("t.events", 0, LogState(None, 7, 90)) == 7
    assert beginnings.of("t.events", 0, LogState(90, 7, 90)) == 90
    with pytest.raises(StateError, match=r"t\.events has a partition 2, and had 2 when this worker started"):
        beginnings.of("t.events", 2, LogState(None, 0, 0))


# -- other numbers of partitions -------------------------------------------------------------------


def test_added_partitions_are_refused_until_they_are_accepted(bound: ShopDeployment) -> None:
    """Which topic, how many, and what it means for keys and models; rebuilt from the windows, the deployment goes on."""
    deployment = bound
    with_partitions(deployment.kafka, 6, EVENTS)
    said = refused(deployment)
    assert f"{name_of(deployment, EVENTS)} has 6 partitions, but {name_of(deployment, OUTCOMES)} has 4" in said
    assert f"add partitions to {name_of(deployment, OUTCOMES)} and {name_of(deployment, JOIN)}" in said
    with_partitions(deployment.kafka, 6, OUTCOMES, WINDOWS, JOIN, ROWS)
    said = refused(deployment)
    for topic in (EVENTS, OUTCOMES, WINDOWS, JOIN, ROWS):
        assert f"topic {name_of(deployment, topic)} has 6 partitions, the state was made with 4" in said
    assert "keys have moved" in said
    assert "models have moved" in said
    assert "moved after their models" in rebuilt(deployment, "--from", "windows")
    started(deployment)


# -- snapshots that do not fit ---------------------------------------------------------------------


def _below(deployment: ShopDeployment, store: Store, _raw: Any) -> None:
    filled(deployment.kafka, WINDOWS, 30, partition=0)
    truncate(deployment.kafka, name_of(deployment, WINDOWS), {0: 25})
    store.save_snapshot("judge/0", None, 10, snapshot.dump({}))


def _beyond(_deployment: ShopDeployment, store: Store, _raw: Any) -> None:
    store.save_snapshot("judge/0", None, 500, snapshot.dump({}))


def _foreign_river(_deployment: ShopDeployment, store: Store, _raw: Any) -> None:
    store.save_snapshot("judge/0", None, 30, msgspec.msgpack.encode(snapshot.Snapshot(river="0.25.0", models={})))


def _newer(_deployment: ShopDeployment, store: Store, _raw: Any) -> None:
    newer = {"format": snapshot.FORMAT + 1, "driftline": "9.0.0", "river": "1.0", "state": [1, 2]}
    store.save_snapshot("judge/0", None, 30, msgspec.msgpack.encode(newer))


def _altered(_deployment: ShopDeployment, store: Store, raw: Any) -> None:
    store.save_snapshot("judge/0", None, 30, snapshot.dump({}))
    key = f"{store.prefix}:snapshot:judge/0"
    raw.set(key, raw.get(key)[:-1] + b"\x00")


_UNFIT: list[tuple[Callable[[ShopDeployment, Store, Any], None], str]] = [
    (_below, "stands at offset 10, but the windows topic begins at 25: retention removed 15 records"),
    (_beyond, "stands at offset 500, but the windows topic ends at 30: it was created again"),
    (_foreign_river, f"was made with River 0.25.0, here is {version('river')}: install that one"),
    (_newer, f"written by Driftline 9.0.0, which is newer than format {snapshot.FORMAT}"),
    (_altered, "snapshot/judge/0: the signature does not match"),
]


def test_snapshots_that_do_not_fit_are_refused(bound: ShopDeployment, store: Store) -> None:
    """Below the log or beyond it, of another River or a newer Driftline, altered: status 4, the reason, and a rebuild helps."""
    # A worker that gives up does not leave the group, and the next one waits until its session is over.
    bound.config.write_text(bound.config.read_text().replace('session_timeout = "6s"', 'session_timeout = "3s"'))
    raw = redis.Redis.from_url(bound.redis.url)
    for make, words in _UNFIT:
        store.drop("snapshot")
        make(bound, store, raw)
        said = refused(bound)
        assert "judge/0" in said
        assert words in said
        assert "`driftline rebuild --from windows`" in said
    rebuilt(bound, "--from", "windows")
    assert store.load_snapshot("judge/0") is None
    set_offsets(bound.kafka, "worker", name_of(bound, EVENTS), {1: 40})
    said = refused(bound)
    assert f"{name_of(bound, EVENTS)}/1 was read up to offset 40, but ends at 0" in said
    assert "`driftline rebuild --from events`" in said
    rebuilt(bound, "--from", "events")
    started(bound)


# -- two deployments under one prefix --------------------------------------------------------------


def test_two_deployments_do_not_share_a_prefix(
    bound: ShopDeployment, mock_broker: MockBroker, prefix: str, tmp_path: Path
) -> None:
    """Worker, retrainer and service of another cluster, or of another prefix in Kafka, are refused: the first to come stays."""
    elsewhere = replace(bound.kafka, bootstrap=mock_broker.bootstrap)
    mock_broker.declare(topic_name(prefix, topic) for topic in TOPICS)
    renamed = replace(bound.kafka, prefix=f"{prefix}-other")
    create_topics(renamed)
    for kafka, command in [(elsewhere, "worker"), (renamed, "retrainer"), (renamed, "serve")]:
        second = ShopDeployment(tmp_path / command, kafka, bound.redis, bound.key)
        said = refused(second, command)
        assert f"[redis] prefix {prefix} belongs to topics {prefix}.* of Kafka cluster" in said
        assert "set another [redis] prefix" in said
    delete_topics(renamed)


def test_another_signing_key_is_no_reason_to_overwrite(bound: ShopDeployment, tmp_path: Path) -> None:
    """A second deployment with a key of its own is told that somebody has the prefix, or that the key was changed."""
    stranger = ShopDeployment(tmp_path / "stranger", bound.kafka, bound.redis, Secret(b"quite another key"))
    said = refused(stranger)
    assert f"[redis] prefix {bound.redis.prefix}: binding: the signature does not match" in said
    assert "set another one here" in said
    rebuilt(stranger, "--from", "windows", "--allow-loss")
    assert binding.recorded(Store(bound.redis, stranger.key)) == binding.current(bound.kafka)


# -- the binding itself ----------------------------------------------------------------------------


def test_the_first_binding_stays(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """Whoever comes second compares and writes nothing; unknown ids and topics that are away are no difference.

    The topics of the join and of rows may be created again, and may not have other partitions.
    """
    store = Store(redis_settings, signing_key)
    first = binding.Binding("c", "t", {"events": binding.BoundTopic("a", 4), "windows": binding.BoundTopic(None, 4)})
    binding.bind(store, first)
    same = [
        first,
        binding.Binding(None, "t", {"events": binding.BoundTopic(None, 4)}),
        binding.Binding("c", "t", {"windows": binding.BoundTopic("w", 4), "outcomes": binding.BoundTopic("o", 4)}),
    ]
    for other in same:
        binding.bind(store, other)
    for name in ("join", "rows"):
        made = binding.Binding("c", "t", {name: binding.BoundTopic("a", 4)})
        binding.compare(made, binding.Binding("c", "t", {name: binding.BoundTopic("b", 4)}), "t")
        with pytest.raises(StateError, match=rf"t\.{name} has 8 partitions, the state was made with 4: keys have moved"):
            binding.compare(made, binding.Binding("c", "t", {name: binding.BoundTopic("b", 8)}), "t")
    for other, words in [
        (binding.Binding("d", "t", {}), "belongs to topics t"),
        (binding.Binding("c", "u", {}), "belongs to topics t"),
        (binding.Binding("c", "t", {"events": binding.BoundTopic("b", 4)}), "created again"),
        (binding.Binding("c", "t", {"events": binding.BoundTopic("a", 8)}), "has 8 partitions, the state was made with 4"),
    ]:
        with pytest.raises(StateError, match=words):
            binding.bind(store, other)
    assert binding.recorded(store) == first


def test_a_binding_that_cannot_be_read_is_refused(redis_settings: RedisSettings, signing_key: Secret) -> None:
    """A newer format is named as newer, garbage as garbage, and an altered record is not read at all."""
    store = Store(redis_settings, signing_key)
    for payload, words in [
        (b'{"format": 9}', "format 9, which is newer than 1"),
        (b"[]", "cannot be read"),
        (b"{}", "cannot be"),
    ]:
        store.bind_anew(payload)
        with pytest.raises(StateError, match=words):
            binding.recorded(store)
    raw: Any = redis.Redis.from_url(redis_settings.url)
    raw.set(f"{redis_settings.prefix}:binding", b"DLS1 altered")
    with pytest.raises(SignatureError, match="binding"):
        binding.recorded(store)
