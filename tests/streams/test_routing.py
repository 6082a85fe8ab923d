"""The router: labels of a foreign topic reach the events topic once each, under their id, whatever is frozen or killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from detectors.spec import ModelSpec
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from streams.kafka import Log, Outgoing, Record, Sender, create_topics, members, partition_counts
from streams.kafka.transaction import Transactions
from streams.metrics import Metrics
from streams.records.dead_letters import REASON, SOURCE
from streams.routing import Route, Router, label_route
from streams.settings import KafkaSettings
from streams.topics import DEAD, EVENTS, topic_name
from tests.support.deployment import until
from tests.support.routing_process import POINTS

MODELS = {"shop": ModelSpec("shop")}
#: Partitions of the labels topic: another number than that of events.
LABEL_PARTITIONS = 3


@pytest.fixture
def labels(kafka_settings: KafkaSettings) -> Iterator[str]:
    """A topic of labels beside the topics of Driftline."""
    name = f"{kafka_settings.prefix}-labels"
    created(kafka_settings, name)
    yield name
    AdminClient({"bootstrap.servers": kafka_settings.bootstrap}).delete_topics([name])[name].exception(30)


def created(kafka: KafkaSettings, name: str) -> None:
    """Create a topic of labels."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, LABEL_PARTITIONS, 1)])[name].result(30)
    until(lambda: partition_counts(kafka).get(name), what="the topic of labels")


def label(number: int, **other: Any) -> bytes:
    """Return the label of a prediction; the same bytes for the same number."""
    return orjson.dumps({"type": "label", "model": "shop", "id": f"order-{number}", "label": number % 2 == 0, **other})


def sent(kafka: KafkaSettings, topic: str, values: Sequence[bytes | None], *, partition: int | None = None) -> None:
    """Write values under keys that mean nothing, each acknowledged."""
    sender = Sender(kafka, "tests-sender")
    asyncio.run(sender.send_all([Outgoing(topic, os.urandom(4), value, partition=partition) for value in values]))


def all_of(kafka: KafkaSettings, topic: str) -> list[Record]:
    """Return every committed record of a topic."""
    log = Log(kafka, "tests-reader")
    try:
        return list(log.read(topic, {number: first for number, (first, _) in log.ends(topic).items()}))
    finally:
        log.close()


def routed(kafka: KafkaSettings) -> list[Record]:
    """Return what is on the events topic."""
    return all_of(kafka, topic_name(kafka.prefix, EVENTS))


def as_many(kafka: KafkaSettings, count: int) -> bool | None:
    """Tell whether so many records are on the events topic; None means not yet."""
    return len(routed(kafka)) >= count or None


@contextmanager
def routing(kafka: KafkaSettings, topic: str, metrics: Metrics, route: Route | None = None) -> Iterator[Router]:
    """Route in this process for the length of a block."""
    router = Router(kafka, topic=topic, route=route or label_route(kafka, MODELS), metrics=metrics)
    router.start()
    try:
        yield router
    finally:
        router.stop()
        assert router.join(5.0)


# -- what becomes of a record ----------------------------------------------------------------------


def test_a_label_comes_to_the_partition_of_its_id_byte_for_byte(kafka_settings: KafkaSettings, labels: str) -> None:
    """Key and partition are those of a client that sends the label itself; an envelope and a missing type are labels too."""
    bare = b'{"label" : 1.50, "id":7,"model":"shop" }'
    envelope = orjson.dumps(
        {"specversion": "1.0", "id": "order-x", "source": "s", "type": "label", "data": {"model": "shop", "label": True}}
    )
    values = [*(label(number) for number in range(40)), bare, envelope]
    sent(kafka_settings, labels, values)
    with routing(kafka_settings, labels, Metrics()):
        until(lambda: as_many(kafka_settings, len(values)), what="the labels")
    found = {record.value: record for record in routed(kafka_settings)}
    assert set(found) == set(values)
    assert found[bare].key == b"7"
    assert found[envelope].key == b"order-x"
    events = topic_name(kafka_settings.prefix, EVENTS)
    sender = Sender(kafka_settings, "tests-sender")
    asyncio.run(sender.send_all([Outgoing(events, record.key, b"by hand") for record in found.values()]))
    homes = {record.key: record.partition for record in routed(kafka_settings) if record.value == b"by hand"}
    assert homes == {record.key: record.partition for record in found.values()}
    assert len(set(homes.values())) > 1


def test_what_is_no_label_is_a_dead_letter_with_its_reason(kafka_settings: KafkaSettings, labels: str) -> None:
    """Reason, source and bytes are kept, each is counted, and the labels around them are routed."""
    metrics = Metrics()
    dead: list[tuple[bytes | None, str]] = [
        (b"hello", "not_json"),
        (None, "empty"),
        (orjson.dumps({"type": "label", "model": "shop", "label": True}), "missing"),
        (orjson.dumps({"type": "label", "model": "other", "id": "a", "label": True}), "unknown_model"),
        (orjson.dumps({"model": "shop", "id": "a", "features": {"x": 1}}), "not_a_label"),
        (orjson.dumps({"type": "tick", "model": "shop", "ts": 1.0}), "not_a_label"),
        (label(1, id="x" * 300), "wrong_length"),
        (label(1, padding="x" * 300_000), "too_large"),
    ]
    sent(kafka_settings, labels, [label(1), *(value for value, _ in dead), label(2)], partition=1)
    with routing(kafka_settings, labels, metrics):
        until(lambda: as_many(kafka_settings, 2), what="the labels")
    letters = all_of(kafka_settings, topic_name(kafka_settings.prefix, DEAD))
    assert [(record.value, dict(record.headers)[REASON].decode()) for record in letters] == dead
    assert [dict(record.headers)[SOURCE] for record in letters] == [f"{labels}/1/{number}".encode() for number in range(1, 9)]
    count = metrics.registry.get_sample_value
    assert count("driftline_router_records_total", {"topic": labels, "result": "routed"}) == 2
    assert count("driftline_router_records_total", {"topic": labels, "result": "dead"}) == len(dead)
    assert count("driftline_dead_letters_total", {"reason": "not_a_label"}) == 2
    assert count("driftline_router_unread_records", {"topic": labels}) == 0


def test_a_time_is_no_matter_of_the_router(kafka_settings: KafkaSettings, labels: str) -> None:
    """A label far in the future is passed on: the worker refuses it, by the broker's clock."""
    sent(kafka_settings, labels, [label(1, ts="2999-01-01T00:00:00Z")])
    with routing(kafka_settings, labels, Metrics()):
        until(lambda: as_many(kafka_settings, 1), what="the label")


def test_a_route_that_fails_makes_a_dead_letter(kafka_settings: KafkaSettings, labels: str) -> None:
    """An error that nobody thought of stops no other record, and a route may write to several topics."""
    dead = topic_name(kafka_settings.prefix, DEAD)
    events = topic_name(kafka_settings.prefix, EVENTS)

    def route(record: Record) -> list[Outgoing]:
        if record.value == b"bad":
            raise ZeroDivisionError
        return [Outgoing(events, b"k", record.value, partition=2), Outgoing(events, b"k", b"twice", partition=3)]

    sent(kafka_settings, labels, [b"good", b"bad", b"fine"], partition=0)
    with routing(kafka_settings, labels, Metrics(), route):
        until(lambda: as_many(kafka_settings, 4), what="the messages")
    assert Counter(record.value for record in routed(kafka_settings)) == {b"good": 1, b"fine": 1, b"twice": 2}
    (letter,) = all_of(kafka_settings, dead)
    assert (letter.value, dict(letter.headers)[REASON]) == (b"bad", b"failed")


# -- each once -------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
def test_a_router_that_is_frozen_and_one_that_is_killed_lose_and_repeat_nothing(
    kafka_settings: KafkaSettings, labels: str, tmp_path: Path, point: str
) -> None:
    """One freezes in a transaction until its session is over; another takes over, then is killed; the first goes on."""
    kafka = replace(kafka_settings, session_timeout_seconds=3.0)

    def process(name: str, freezes: str) -> Child:
        command = [sys.executable, "-m", "tests.support.routing_process", kafka.bootstrap, kafka.prefix, labels, "3", freezes]
        return Child(command, log=tmp_path / f"{name}.log", name=f"router {name}").start()

    sent(kafka, labels, [label(number) for number in range(300)])
    with process("frozen", point) as frozen:
        frozen.until(lambda: "committed" in frozen.log.read_text() or None, timeout_seconds=30)
        sent(kafka, labels, [label(number) for number in range(300, 600)])
        until(lambda: _is_stopped(frozen.pid) or None, what="the router to freeze")
        with process("other", "never") as other:
            until(lambda: as_many(kafka, 600), what=f"the other router; {other.tail()}")
            frozen.signal(signal.SIGCONT)
            _in_turn(kafka, labels, range(600, 1800), lambda: other.signal(signal.SIGKILL))
            until(lambda: as_many(kafka, 1800), what=f"the first router; {frozen.tail()}")
    time.sleep(0.5)  # whatever a repeat would still need
    found = routed(kafka)
    assert Counter(record.value for record in found) == Counter(label(number) for number in range(1800))


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _in_turn(kafka: KafkaSettings, topic: str, numbers: range, in_the_middle: Callable[[], object]) -> None:
    """Write labels for some seconds, and do something when half of them are written."""
    step = len(numbers) // 12
    for turn, first in enumerate(range(0, len(numbers), step)):
        sent(kafka, topic, [label(number) for number in numbers[first : first + step]])
        if turn == 6:
            in_the_middle()
        time.sleep(0.25)


def test_labels_of_one_partition_stay_in_order_over_a_rebalance(kafka_settings: KafkaSettings, labels: str) -> None:
    """Members come and go, and of each id the newest label is the last: an older one behind it would be a correction."""
    kafka = replace(kafka_settings, session_timeout_seconds=3.0)
    metrics = Metrics()
    values = [label(number % 7, round=number) for number in range(2000)]
    with routing(kafka, labels, metrics):
        for turn in range(4):
            part = values[turn * 500 : turn * 500 + 500]
            sender = threading.Thread(target=sent, args=(kafka, labels, part), kwargs={"partition": 0})
            sender.start()
            with routing(kafka, labels, metrics):
                sender.join()
                until(lambda many=(turn + 1) * 500: as_many(kafka, many), what="the labels")
    found = [orjson.loads(record.value or b"") for record in routed(kafka)]
    assert sorted(one["round"] for one in found) == list(range(2000))
    for number in range(7):
        rounds = [one["round"] for one in found if one["id"] == f"order-{number}"]
        assert rounds == sorted(rounds)


def test_offsets_of_a_member_that_is_none_any_more_are_not_taken(kafka_settings: KafkaSettings, labels: str) -> None:
    """After its partitions have gone to another member, what a member writes is broken off, with member and generation in it."""
    kafka = replace(kafka_settings, session_timeout_seconds=3.0)
    sent(kafka, labels, [label(1)], partition=0)
    first, second = (Transactions(kafka, "router", labels, identity=f"{kafka.prefix}.{name}") for name in ("one", "two"))
    try:
        until(lambda: first.read(0.1, 0.1) or None, what="the record")
        membership = first._membership  # as if it had been taken a moment before the session was over
        first._consumer.unsubscribe()
        until(lambda: second.read(0.1, 0.1) or None, what="the record, a second time")
        second.commit([Outgoing(topic_name(kafka.prefix, EVENTS), b"k", b"second")])
        first._membership = membership
        with pytest.raises(Exception, match="a transaction on the records"):
            first.commit([Outgoing(topic_name(kafka.prefix, EVENTS), b"k", b"first")])
        assert [record.value for record in routed(kafka)] == [b"second"]
    finally:
        first.close()
        second.close()


# -- services that are away, and the stop ----------------------------------------------------------


def test_a_router_outlives_its_broker(own_kafka: KafkaServer, caplog: pytest.LogCaptureFixture) -> None:
    """The broker is killed and comes back: failures are counted and logged once a minute, and each label comes once."""
    kafka = KafkaSettings(bootstrap=own_kafka.bootstrap, prefix="t", session_timeout_seconds=3.0)
    create_topics(kafka)
    created(kafka, "labels")
    metrics = Metrics()
    sent(kafka, "labels", [label(number) for number in range(100)])
    with routing(kafka, "labels", metrics):
        until(lambda: as_many(kafka, 100), what="the first labels")
        own_kafka.kill()
        time.sleep(3.0)
        own_kafka.start()
        sent(kafka, "labels", [label(number) for number in range(100, 200)])
        until(lambda: as_many(kafka, 200), what="the labels after the restart")
    assert Counter(record.value for record in routed(kafka)) == Counter(label(number) for number in range(200))
    assert sum("routing labels" in line for line in caplog.messages) <= 1


def test_errors_are_counted_and_a_stop_does_not_wait_for_them(kafka_settings: KafkaSettings) -> None:
    """A topic that is missing is tried again and again, counted, and a router that waits for it ends at once."""
    metrics = Metrics()
    topic = f"{kafka_settings.prefix}-nowhere"
    with routing(kafka_settings, topic, metrics) as router:
        until(lambda: metrics.registry.get_sample_value("driftline_router_failures_total", {"topic": topic}), what="a failure")
        began = time.monotonic()
        router.stop()
        assert router.join(5.0)
        assert time.monotonic() - began < 2.0


def test_a_router_that_stops_leaves_its_group(kafka_settings: KafkaSettings, labels: str) -> None:
    """It ends within a second, and the next one need not wait for its session."""
    sent(kafka_settings, labels, [label(1)])
    with routing(kafka_settings, labels, Metrics()) as router:
        until(lambda: as_many(kafka_settings, 1), what="the label")
        began = time.monotonic()
        router.stop()
        assert router.join(5.0)
        assert time.monotonic() - began < 2.0
    assert members(kafka_settings, "router") == []
