"""A reader of partitions from given offsets, without a consumer group: training rows, replays, the demo, tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, TopicPartition

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET, Record, record_of
from streams.settings import KafkaSettings

_MOVING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_DAY_MS = 86_400_000


class Log:
    """A reader of partitions from given offsets; nothing is committed."""

    def __init__(self, settings: KafkaSettings, client: str, *, queue_bytes: int = 64 << 20) -> None:
        """Connect lazily; at most `queue_bytes` are fetched ahead."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": client,
                "group.id": f"{settings.prefix}.{client}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": queue_bytes >> 10,
                **QUIET,
            }
        )

    def ends(self, topic: str, timeout_seconds: float = 10.0) -> dict[int, tuple[int, int]]:
        """Return partition -> (first offset kept, offset after the last).

        Raises:
            UnavailableError: the broker or the topic cannot be reached.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                return self._watermarks(topic, timeout_seconds)
            except KafkaException as error:
                # The topic was just created, or its leader is moving: no broker leads it yet.
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise UnavailableError(f"cannot read topic {topic}: {error.args[0].str()}; is the broker up?") from None
                time.sleep(0.05)

    def ends_of(self, topic: str, partition: int, timeout_seconds: float = 10.0) -> tuple[int, int]:
        """Return (first offset kept, offset after the last) of one partition.

        Raises:
            UnavailableError: the broker or the topic cannot be reached.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                found: tuple[int, int] = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=timeout_seconds
                )
            except KafkaException as error:
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise UnavailableError(f"cannot read topic {topic}: {error.args[0].str()}; is the broker up?") from None
                time.sleep(0.05)
            else:
                return found

    def _watermarks(self, topic: str, timeout_seconds: float) -> dict[int, tuple[int, int]]:
        partitions = self._consumer.list_topics(topic, timeout=timeout_seconds).topics[topic].partitions
        if not partitions:
            raise UnavailableError(f"no topic {topic} on this broker: run `driftline topics create`")
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=timeout_seconds)
            for number in sorted(partitions)
        }

    def committed(self, topic: str, timeout_seconds: float = 10.0) -> dict[int, int]:
        """Return partition -> offset that this reader's group has committed, for partitions that have a committed offset.

        Raises:
            UnavailableError: the broker or the topic cannot be reached.
        """
        wanted = [TopicPartition(topic, number) for number in self.ends(topic)]
        try:
            found = self._consumer.committed(wanted, timeout=timeout_seconds)
        except KafkaException as error:
            raise UnavailableError(f"cannot read offsets of {topic}: {error.args[0].str()}; is the broker up?") from None
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0}

    def offsets_at(self, topic: str, seconds: float, timeout_seconds: float = 10.0) -> dict[int, int]:
        """Return partition -> first offset whose Kafka timestamp is at or after `seconds`."""
        wanted = [TopicPartition(topic, number, int(seconds * 1000)) for number in self.ends(topic)]
        found = self._consumer.offsets_for_times(wanted, timeout=timeout_seconds)
        ends = self.ends(topic)
        return {tp.partition: tp.offset if tp.offset >= 0 else ends[tp.partition][1] for tp in found}

    def appended_since(self, topic: str, seconds: float, timeout_seconds: float = 10.0) -> dict[int, int]:
        """Return partition -> an offset; what stands before it was appended before `seconds`, by the broker's clock.

        A partition whose first record has the time of its sender, which may be wrong, gives that record's offset: so does
        a topic that was created with CreateTime.

        Raises:
            UnavailableError: the broker or the topic cannot be reached.
        """
        try:
            found = self.offsets_at(topic, max(0.0, seconds), timeout_seconds)
        except KafkaException as error:
            raise UnavailableError(f"cannot search topic {topic}: {error.args[0].str()}; is the broker up?") from None
        firsts = {number: low for number, (low, _) in self.ends(topic, timeout_seconds).items() if found.get(number, low) > low}
        return {**found, **{number: firsts[number] for number in self._stamped_by_senders(topic, firsts, timeout_seconds)}}

    def _stamped_by_senders(self, topic: str, starts: Mapping[int, int], timeout_seconds: float) -> set[int]:
        """Return the partitions whose record at or after an offset does not have the broker's time."""
        found: set[int] = set()
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in starts.items()])
        left = set(starts)
        deadline = time.monotonic() + timeout_seconds
        try:
            while left:
                for message in self._consumer.consume(1, timeout=0.2):
                    error, number = message.error(), message.partition() or 0
                    if error is not None and error.code() != KafkaError._PARTITION_EOF and not error.retriable():  # noqa: SLF001
                        raise UnavailableError(f"cannot read topic {topic}: {error.str()}")
                    if error is None and number in left and message.timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
                        found.add(number)
                    if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                        left.discard(number)
                if time.monotonic() > deadline:
                    raise UnavailableError(f"no answer from Kafka for {timeout_seconds:g} s while reading {topic}")
        finally:
            self._consumer.unassign()
        return found

    def read(self, topic: str, start: Mapping[int, int], *, follow: bool = False, idle_seconds: float = 10.0) -> Iterator[Record]:
        """Yield records of the given partitions from the given offsets.

        Partitions interleave as they arrive; within one, offsets grow. Ends at the end of every
        partition, or with `follow` after `idle_seconds` without a record.

        Raises:
            UnavailableError: the broker cannot be reached.
        """
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in start.items()])
        open_partitions = set(start)
        quiet_since = time.monotonic()
        try:
            while open_partitions:
                for message in self._consumer.consume(1000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        quiet_since = time.monotonic()
                        yield record_of(message)
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent_kafka's public name for it
                        if not follow:
                            open_partitions.discard(message.partition())
                    elif not error.retriable():
                        raise UnavailableError(f"cannot read topic {topic}: {error.str()}")
                if time.monotonic() - quiet_since > idle_seconds:
                    if follow:
                        return
                    raise UnavailableError(f"no answer from Kafka for {idle_seconds:g} s while reading {topic}")
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
