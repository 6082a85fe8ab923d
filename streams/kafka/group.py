"""A member of a consumer group that commits by hand: the retrainer's way of reading requests."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET, Record, record_of
from streams.settings import KafkaSettings

_DAY_MS = 86_400_000


class GroupReader:
    """A member of a consumer group whose commits are the caller's, for work that takes long.

    Heartbeats go on in a thread of librdkafka, so the caller may stay away from `poll` for a day.
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
        """Return the partitions that are this member's now."""
        return frozenset(partition.partition for partition in self._consumer.assignment())

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Store partition -> next offset to read, and return once the broker has it.

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
