"""Topics: created from the table of streams/topics.py, checked, truncated, deleted."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET
from streams.kafka.topic_settings import broker_settings
from streams.settings import KafkaSettings
from streams.topics import EVENTS, TOPICS, Topic, topic_name


def _admin(settings: KafkaSettings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.bootstrap, **QUIET})


def wait_for_kafka(settings: KafkaSettings, timeout_seconds: float = 10.0) -> None:
    """Return once the broker answers.

    Raises:
        UnavailableError: it did not answer within `timeout_seconds`.
    """
    partition_counts(settings, timeout_seconds)


def partition_counts(settings: KafkaSettings, timeout_seconds: float = 10.0) -> dict[str, int]:
    """Return topic name -> number of partitions, for every topic on the broker.

    Raises:
        UnavailableError: the broker does not answer.
    """
    admin = _admin(settings)
    try:
        topics = admin.list_topics(timeout=timeout_seconds).topics
    except KafkaException as error:
        raise UnavailableError(
            f"no Kafka at {settings.bootstrap} ({error.args[0].str()}): start it, or set [kafka] bootstrap in driftline.toml"
        ) from None
    return {name: len(topic.partitions) for name, topic in topics.items()}


def missing_topics(settings: KafkaSettings, topics: tuple[Topic, ...] = TOPICS) -> list[str]:
    """Return the names of those `topics` that are not on the broker.

    Raises:
        UnavailableError: the broker does not answer.
    """
    counts = partition_counts(settings)
    return [name for topic in topics if (name := topic_name(settings.prefix, topic)) not in counts]


def require_topics(
    settings: KafkaSettings, topics: tuple[Topic, ...] = TOPICS, *, timeout_seconds: float = 10.0
) -> dict[str, int]:
    """Return topic name -> number of partitions, for every topic on the broker, once all of `topics` are there.

    Raises:
        UnavailableError: the broker does not answer, or some of `topics` are missing.
    """
    counts = partition_counts(settings, timeout_seconds)
    missing = [name for topic in topics if (name := topic_name(settings.prefix, topic)) not in counts]
    if missing:
        subject = f"topic {missing[0]} is" if len(missing) == 1 else f"topics {', '.join(missing)} are"
        raise UnavailableError(f"{subject} missing at {settings.bootstrap}: run `driftline topics create`")
    return counts


def create_topics(settings: KafkaSettings, timeout_seconds: float = 30.0, *, label_within_seconds: float = 0.0) -> dict[str, str]:
    """Create the topics that are missing and return topic name -> "created" | "exists".

    Running it twice, or two at once, does no harm. What has no number of partitions of its own gets that of an events topic
    that is there already.

    Args:
        settings: the broker, and the partitions that new topics get.
        timeout_seconds: how long the broker may take.
        label_within_seconds: the longest of the models, for the topic of the join.

    Raises:
        UnavailableError: the broker does not answer or refuses.
    """
    existing = partition_counts(settings)
    wanted = {topic_name(settings.prefix, topic): topic for topic in TOPICS}
    result = {name: "exists" for name in wanted if name in existing}
    partitions = existing.get(topic_name(settings.prefix, EVENTS), settings.partitions)
    new = [
        NewTopic(
            name,
            num_partitions=topic.partitions or partitions,
            replication_factor=settings.replication,
            config={
                **broker_settings(topic, label_within_seconds),
                # An acknowledged record survives the loss of a broker; until it can, writing waits.
                "min.insync.replicas": str(max(1, settings.replication - 1)),
                "unclean.leader.election.enable": "false",
            },
        )
        for name, topic in wanted.items()
        if name not in existing
    ]
    if not new:
        return result
    admin = _admin(settings)  # kept: as a temporary its futures fail with _DESTROY
    for name, future in admin.create_topics(new, request_timeout=timeout_seconds).items():
        try:
            future.result(timeout_seconds)
            result[name] = "created"
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise UnavailableError(f"cannot create topic {name}: {error.args[0].str()}") from None
            result[name] = "exists"
    # The controller has created them; another broker may list them a moment later.
    deadline = time.monotonic() + timeout_seconds
    while unknown := missing_topics(settings):
        if time.monotonic() > deadline:
            raise UnavailableError(f"topics {', '.join(unknown)} were created and the broker does not list them: is it healthy?")
        time.sleep(0.05)
    return result


def delete_topics(settings: KafkaSettings, timeout_seconds: float = 30.0) -> None:
    """Delete all topics of Driftline with their records; a missing topic is no error.

    Raises:
        UnavailableError: the broker does not answer or refuses.
    """
    admin = _admin(settings)  # kept: as a temporary its futures fail with _DESTROY
    names = [topic_name(settings.prefix, topic) for topic in TOPICS]
    for name, future in admin.delete_topics(names, operation_timeout=timeout_seconds).items():
        try:
            future.result(timeout_seconds)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise UnavailableError(f"cannot delete topic {name}: {error.args[0].str()}") from None


def truncate(settings: KafkaSettings, topic: str, ends: Mapping[int, int], timeout_seconds: float = 30.0) -> None:
    """Delete the records of a topic before the given offsets, partition -> offset; later records keep their offsets.

    Raises:
        UnavailableError: the broker does not answer or refuses.
    """
    admin = _admin(settings)  # kept: as a temporary its futures fail with _DESTROY
    positions = [TopicPartition(topic, number, end) for number, end in ends.items()]
    for position, future in admin.delete_records(positions, operation_timeout=timeout_seconds).items():
        try:
            future.result(timeout_seconds)
        except (KafkaException, TimeoutError) as error:
            reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
            raise UnavailableError(f"cannot delete records of {topic}/{position.partition}: {reason}") from None
