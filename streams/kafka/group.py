"""Consumer groups: a member that commits by hand, as the retrainer needs it, and the members and offsets of a group."""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET, Record, record_of
from streams.settings import KafkaSettings

_DAY_MS = 86_400_000
#: The coordinator of a group is not known yet or is moving: a second request helps.
_MOVING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


class GroupReader:
    """A member of a consumer group for long work: the caller commits.

    A thread of librdkafka sends the heartbeats, so a day may pass between two calls of `poll`.
    """

    def __init__(self, settings: KafkaSettings, group: str, topic: str) -> None:
        """Connect lazily to `topic` as a member of `{prefix}.{group}`."""
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": group,
                "group.id": f"{settings.prefix}.{group}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "session.timeout.ms": int(settings.session_timeout_seconds * 1000),
                "heartbeat.interval.ms": int(settings.session_timeout_seconds * 1000 / 4),
                "max.poll.interval.ms": _DAY_MS,
                **QUIET,
            }
        )
        self._consumer.subscribe([topic])

    def poll(self, timeout_seconds: float) -> Record | None:
        """Return the next record, or None when none came in time.

        Raises:
            UnavailableError: the broker or the topic cannot be reached; the next call tries again.
        """
        message = self._consumer.poll(timeout_seconds)
        if message is None:
            return None
        error = message.error()
        if error is not None:
            raise UnavailableError(f"cannot read topic {self._topic}: {error.str()}; is the broker up?")
        return record_of(message)

    def assigned(self) -> frozenset[int]:
        """Return the partitions that are assigned to this member."""
        return frozenset(partition.partition for partition in self._consumer.assignment())

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit partition -> next offset to read, and return once the broker has stored it.

        Raises:
            UnavailableError: the broker did not take it, or the partition has gone to another member.
        """
        places = [TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise UnavailableError(f"cannot commit on topic {self._topic}: {error.args[0].str()}") from None

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def members(settings: KafkaSettings, group: str, timeout_seconds: float = 10.0) -> list[str]:
    """Return the client ids and hosts of the members of `{prefix}.{group}`; a killed member counts until its session ends.

    Raises:
        UnavailableError: the broker does not answer.
    """
    name = f"{settings.prefix}.{group}"
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, **QUIET})
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            future = admin.describe_consumer_groups([name], request_timeout=timeout_seconds)[name]
            return sorted(f"{member.client_id} at {member.host}" for member in future.result(timeout_seconds + 1.0).members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise UnavailableError(f"cannot look at the group {name}: {error.args[0].str()}; is the broker up?") from None
        except TimeoutError:
            raise UnavailableError(f"cannot look at the group {name}: no answer; is the broker up?") from None
        time.sleep(0.1)


def set_offsets(settings: KafkaSettings, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Set the offsets, partition -> offset, from which `{prefix}.{group}` reads a topic; the group must have no members.

    Raises:
        UnavailableError: the broker does not answer, or somebody has joined the group.
    """
    name = f"{settings.prefix}.{group}"
    wanted = ConsumerGroupTopicPartitions(name, [TopicPartition(topic, number, offset) for number, offset in offsets.items()])
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, **QUIET})
    try:
        changed = admin.alter_consumer_group_offsets([wanted])[name].result(30.0)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        raise UnavailableError(f"cannot set the offsets of {name} on {topic}: {reason}; is a worker running?") from None
    for position in changed.topic_partitions:
        if position.error is not None:
            raise UnavailableError(
                f"cannot set the offset of {name} on {topic}/{position.partition}: {position.error.str()}; is a worker running?"
            )
