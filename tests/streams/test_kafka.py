"""The door to Kafka, against a real broker: topics, sending, reading, and a broker that goes away."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it is there at run time
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from detectors.errors import UnavailableError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.mock_broker import PARTITIONS, MockBroker
from driftline.servers.ports import free_port
from streams.kafka import (
    Log,
    Outgoing,
    Record,
    Sender,
    create_topics,
    delete_topics,
    missing_topics,
    partition_counts,
    require_topics,
    topic_faults,
    wait_for_kafka,
)
from streams.kafka.topic_settings import broker_settings
from streams.settings import KafkaSettings
from streams.topics import ALERTS, EVENTS, JOIN, OUTCOMES, ROWS, TOPICS, WINDOWS, Topic, topic_name
from tests.support.deployment import until


def read_all(settings: KafkaSettings, topic: str) -> list[Record]:
    """Every record of the topic, partition after partition."""
    log = Log(settings, "reader")
    try:
        return list(log.read(topic, {number: first for number, (first, _) in log.ends(topic).items()}))
    finally:
        log.close()


def test_topics_are_created_once(kafka_server: KafkaServer, prefix: str) -> None:
    """The first call creates every topic of the table with its partitions, the second finds them all."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=3)
    names = {topic_name(prefix, topic) for topic in TOPICS}
    assert set(missing_topics(settings)) == names
    assert create_topics(settings) == dict.fromkeys(names, "created")
    assert create_topics(settings) == dict.fromkeys(names, "exists")
    assert missing_topics(settings) == []
    counts = partition_counts(settings)
    assert counts[topic_name(prefix, EVENTS)] == 3
    assert counts[topic_name(prefix, WINDOWS)] == WINDOWS.partitions


def test_topics_that_are_required_and_missing_are_named(kafka_server: KafkaServer, prefix: str) -> None:
    """The names, the broker and the command that creates them; once they are there, the partitions of all are returned."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=3)
    missing = f"missing at {settings.bootstrap}: run `driftline topics create`"
    with pytest.raises(UnavailableError) as refused:
        require_topics(settings, (EVENTS,))
    assert str(refused.value) == f"topic {prefix}.events is {missing}"
    with pytest.raises(UnavailableError) as refused:
        require_topics(settings, (EVENTS, WINDOWS))
    assert str(refused.value) == f"topics {prefix}.events, {prefix}.windows are {missing}"
    create_topics(settings)
    assert require_topics(settings)[topic_name(prefix, EVENTS)] == 3


def test_two_may_create_topics_at_once(kafka_server: KafkaServer, prefix: str) -> None:
    """Of two processes creating the topics at the same moment neither fails, and one of them creates each."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    together = threading.Barrier(2)

    def create(_: int) -> dict[str, str]:
        together.wait()
        return create_topics(settings)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(create, range(2))
    assert [sorted((first[name], second[name])) for name in first] == [["created", "exists"]] * len(TOPICS)


async def test_what_is_sent_is_read(kafka_settings: KafkaSettings) -> None:
    """Key, value, headers and partition come back as they were sent, in order."""
    topic = topic_name(kafka_settings.prefix, EVENTS)
    sent = [
        Outgoing(topic, b"k", b"first", (("reason", b"none"), ("reason", b"again"), ("empty", b"")), partition=2),
        Outgoing(topic, None, b"second", partition=2),
        Outgoing(topic, b"k", None, partition=2),
    ]
    sender = Sender(kafka_settings, "test")
    await sender.send_all(sent)
    assert len(sender) == 0
    assert sender.close() == 0
    got = read_all(kafka_settings, topic)
    assert [(r.topic, r.partition, r.offset) for r in got] == [(topic, 2, 0), (topic, 2, 1), (topic, 2, 2)]
    assert [(r.key, r.value, r.headers) for r in got] == [(m.key, m.value, m.headers) for m in sent]
    assert all(record.timestamp_seconds > 1.7e9 for record in got)


async def test_a_message_of_three_megabytes_passes(kafka_settings: KafkaSettings) -> None:
    """Three megabytes that do not compress arrive whole."""
    topic = topic_name(kafka_settings.prefix, EVENTS)
    payload = os.urandom(3_000_000)
    sender = Sender(kafka_settings, "test")
    await sender.send_all([Outgoing(topic, b"large", payload)])
    assert [record.value for record in read_all(kafka_settings, topic)] == [payload]


async def test_keys_land_where_faust_puts_them(kafka_settings: KafkaSettings) -> None:
    """A key goes to the partition that Faust's client would choose for it."""
    topic = topic_name(kafka_settings.prefix, EVENTS)
    keys = [f"card-{number}".encode() for number in range(50)]
    sender = Sender(kafka_settings, "test")
    await sender.send_all([Outgoing(topic, key, b"") for key in keys])
    faust = DefaultPartitioner()
    partitions = list(range(kafka_settings.partitions))
    assert {r.key: r.partition for r in read_all(kafka_settings, topic)} == {
        key: faust(key, partitions, partitions) for key in keys
    }


async def test_a_log_is_read_from_any_offset(kafka_settings: KafkaSettings) -> None:
    """Reading starts at the offsets given, ends at the end of every partition, and can be done twice."""
    topic = topic_name(kafka_settings.prefix, EVENTS)
    sender = Sender(kafka_settings, "test")
    await sender.send_all([Outgoing(topic, b"", str(n).encode(), partition=n % 2) for n in range(10)])
    log = Log(kafka_settings, "reader")
    assert log.ends(topic) == {0: (0, 5), 1: (0, 5), 2: (0, 0), 3: (0, 0)}
    for _ in range(2):
        got = list(log.read(topic, {0: 3, 1: 4, 2: 0}))
        assert sorted((r.partition, r.offset, r.value) for r in got) == [(0, 3, b"6"), (0, 4, b"8"), (1, 4, b"9")]
    log.close()


async def test_a_log_is_followed(kafka_settings: KafkaSettings) -> None:
    """A follower sees what arrives after it reached the end, and ends after the idle time."""
    topic = topic_name(kafka_settings.prefix, ALERTS)
    sender = Sender(kafka_settings, "test")
    await sender.send_all([Outgoing(topic, b"m", b"before")])
    log = Log(kafka_settings, "reader")
    following = log.read(topic, {0: 0}, follow=True, idle_seconds=2.0)
    assert next(following).value == b"before"
    await sender.send_all([Outgoing(topic, b"m", b"after")])
    assert [record.value for record in following] == [b"after"]
    log.close()


async def test_offsets_are_found_by_time(kafka_settings: KafkaSettings) -> None:
    """The first offset at or after a time is found; beyond the last message it is the end."""
    topic = topic_name(kafka_settings.prefix, ALERTS)
    sender = Sender(kafka_settings, "test")
    await sender.send_all([Outgoing(topic, b"m", b"one"), Outgoing(topic, b"m", b"two")])
    [first, _] = read_all(kafka_settings, topic)
    log = Log(kafka_settings, "reader")
    assert log.offsets_at(topic, first.timestamp_seconds) == {0: 0}
    assert log.offsets_at(topic, first.timestamp_seconds - 3600) == {0: 0}
    assert log.offsets_at(topic, first.timestamp_seconds + 3600) == {0: 2}
    log.close()


def test_topics_keep_what_was_acknowledged(kafka_server: KafkaServer, prefix: str) -> None:
    """All but one copy have to have a record before it is acknowledged, and no leader is chosen that does not have it."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    create_topics(settings)
    places = [ConfigResource("topic", topic_name(prefix, topic)) for topic in TOPICS]
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})  # kept: as a temporary its futures fail
    for future in admin.describe_configs(places).values():
        found = {name: entry.value for name, entry in future.result(30).items()}
        assert (found["min.insync.replicas"], found["unclean.leader.election.enable"]) == ("1", "false")
    delete_topics(settings)


def settings_of(kafka: KafkaSettings, topic: Topic) -> dict[str, str]:
    """Return what the broker has been told of a topic."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # kept: as a temporary its futures fail
    (future,) = admin.describe_configs([ConfigResource("topic", topic_name(kafka.prefix, topic))]).values()
    return {name: entry.value for name, entry in future.result(30).items()}


def test_the_topic_of_the_join_keeps_what_waits(kafka_server: KafkaServer, prefix: str) -> None:
    """It is compacted, outlives the longest label window by two days, and closes its segments long before that is over."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    create_topics(settings, label_within_seconds=4 * 86_400.0)
    found = settings_of(settings, JOIN)
    assert found["cleanup.policy"] == "compact,delete"
    assert int(found["retention.ms"]) >= 6 * 86_400_000
    assert int(found["segment.ms"]) == 86_400_000
    assert settings_of(settings, ROWS)["message.timestamp.type"] == "LogAppendTime"
    delete_topics(settings)
    for seconds, segment in ((1.0, 3600), (90 * 86_400.0, 604_800)):
        wanted = broker_settings(JOIN, seconds)
        assert int(wanted["retention.ms"]) >= (seconds + 172_800) * 1000
        assert int(wanted["segment.ms"]) == segment * 1000


def test_new_topics_get_the_partitions_of_the_events_that_are_there(kafka_server: KafkaServer, prefix: str) -> None:
    """A deployment that is upgraded has join and rows like its events topic, whatever the configuration says of new topics."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, partitions=3)
    create_topics(settings)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    for topic in (JOIN, ROWS):
        name = topic_name(prefix, topic)
        admin.delete_topics([name])[name].result(30)
        until(lambda gone=name: gone not in partition_counts(settings) or None, what="the topic to go")
    create_topics(dataclasses.replace(settings, partitions=8))
    counts = partition_counts(settings)
    assert [counts[topic_name(prefix, topic)] for topic in (JOIN, ROWS)] == [3, 3]
    delete_topics(settings)


def test_settings_that_do_harm_are_named_with_the_command_that_mends_them(kafka_server: KafkaServer, prefix: str) -> None:
    """A clock of senders, a retention below the label window, a join that is not compacted; what is only different is not."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix)
    assert topic_faults(settings, 1e6) == []
    create_topics(settings)
    assert topic_faults(settings, 90 * 86_400.0) == []
    outcomes, join = (topic_name(prefix, topic) for topic in (OUTCOMES, JOIN))
    changed = {
        outcomes: {"message.timestamp.type": "CreateTime", "retention.ms": "3600000"},
        join: {"cleanup.policy": "delete", "retention.ms": "345600000", "segment.ms": "600000", "max.message.bytes": "1000"},
    }
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    places = [
        ConfigResource(
            "topic",
            name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
            ],
        )
        for name, values in changed.items()
    ]
    for future in admin.incremental_alter_configs(places).values():
        future.result(30)
    until(lambda: len(topic_faults(settings, 172_800.0)) == 3 or None, what="the settings")
    clock, policy, size = topic_faults(settings, 172_800.0)
    assert clock.startswith(f"topic {outcomes} has message.timestamp.type=CreateTime, wanted is LogAppendTime: its records carry")
    command = f"kafka-configs --bootstrap-server {settings.bootstrap} --alter --entity-type topics --entity-name"
    assert clock.endswith(f"`{command} {outcomes} --add-config message.timestamp.type=LogAppendTime`")
    assert policy.endswith(f"`{command} {join} --add-config cleanup.policy=[compact,delete]`")
    assert "max.message.bytes=1000, wanted is 1048576" in size
    retention = topic_faults(settings, 172_801.0)[-1]
    assert f"topic {join} has retention.ms=345600000, wanted is" in retention
    assert "predictions wait for their labels" in retention
    delete_topics(settings)


def test_a_missing_topic_is_named(kafka_settings: KafkaSettings) -> None:
    """Reading a topic that is not there says which, and how to make it."""
    log = Log(kafka_settings, "reader")
    with pytest.raises(UnavailableError, match="no topic nowhere on this broker: run `driftline topics create`"):
        log.ends("nowhere")
    log.close()


def test_no_broker_is_one_clear_line() -> None:
    """Where no Kafka listens, the error is one line with the address and what to do."""
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}")
    for ask in (wait_for_kafka, partition_counts):
        with pytest.raises(UnavailableError) as caught:
            ask(settings, 1.0)
        assert "\n" not in str(caught.value)
        assert settings.bootstrap in str(caught.value)
        assert "driftline.toml" in str(caught.value)


async def test_unacknowledged_messages_are_reported() -> None:
    """When the broker does not acknowledge in time, sending all of them fails and says so."""
    sender = Sender(KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"), "test")
    with pytest.raises(UnavailableError, match="1 messages unacknowledged"):
        await sender.send_all([Outgoing("t", None, b"x")], timeout_seconds=0.5)


def test_a_full_queue_refuses() -> None:
    """A sender without a broker takes what its bounded queue holds and refuses the rest."""
    sender = Sender(KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"), "test", queue_bytes=1 << 20)
    taken = [sender.send(Outgoing("t", None, bytes(100_000))) for _ in range(20)]
    assert taken == [True] * 10 + [False] * 10


async def test_a_refused_message_is_reported(kafka_settings: KafkaSettings) -> None:
    """A message larger than its topic allows is reported to who sent it, with the broker's reason."""
    reasons: list[str] = []
    sender = Sender(kafka_settings, "test")
    assert sender.send(Outgoing(topic_name(kafka_settings.prefix, ALERTS), b"m", os.urandom(2_000_000)), reasons.append)
    assert sender.close() == 0
    assert len(reasons) == 1
    assert "too large" in reasons[0].lower()


async def test_messages_survive_a_broker_that_is_killed(own_kafka: KafkaServer) -> None:
    """What was acknowledged is still there after kill -9 of the broker, and what was sent meanwhile arrives once."""
    settings = KafkaSettings(bootstrap=own_kafka.bootstrap)
    create_topics(settings)
    topic = topic_name(settings.prefix, ALERTS)
    sender = Sender(settings, "test")
    await sender.send_all([Outgoing(topic, b"m", b"before")])
    own_kafka.kill()
    sending = asyncio.create_task(sender.send_all([Outgoing(topic, b"m", b"meanwhile")]))
    await asyncio.to_thread(own_kafka.start)
    await sending
    assert [record.value for record in read_all(settings, topic)] == [b"before", b"meanwhile"]


async def test_the_embedded_broker_keeps_order(mock_broker: MockBroker) -> None:
    """The mock cluster has four partitions a topic and gives back what was sent to each, in order."""
    settings = dataclasses.replace(KafkaSettings(), bootstrap=mock_broker.bootstrap, prefix="demo")
    mock_broker.declare(topic_name("demo", topic) for topic in TOPICS)
    assert missing_topics(settings) == []
    assert set(partition_counts(settings).values()) == {PARTITIONS}
    topic = topic_name("demo", EVENTS)
    sender = Sender(settings, "test")
    await sender.send_all([Outgoing(topic, b"", str(n).encode(), partition=1) for n in range(100)])
    assert [record.value for record in read_all(settings, topic)] == [str(n).encode() for n in range(100)]
