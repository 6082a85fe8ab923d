"""The topics of a private broker, written and read without a line of Driftline's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # they are there at run time
    AdminClient,
    ConfigResource,
    ConfigSource,
)

from benchmarks.exactness.same_bytes.executable import FailedError
from benchmarks.exactness.same_bytes.log import SentEvent

#: First part of the names of all topics, and of the workers' group.
PREFIX = "driftline"
_GROUP = f"{PREFIX}.worker"
_BROKER_SECONDS = 60.0
_MOST_BYTES = 4 << 20
#: Records taken at once, and for how long they are collected, in seconds.
_TAKEN, _WAIT_SECONDS = 10_000, 0.2
_TOLD = 10_000
#: Of syslog: a broker that has just begun is not worth a warning.
_ERRORS_ONLY = 3


class TopicRecord(NamedTuple):
    """One record of a topic; `headers` are (name, value) in their order."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class TopicReader:
    """What stands on the topics, read from their beginnings as they grow."""

    def __init__(self, bootstrap: str) -> None:
        """Connect lazily."""
        self._bootstrap = bootstrap
        self._asking = self._consumer(_GROUP)
        self._reading = self._consumer(f"{PREFIX}.same-bytes")
        #: Topic without its prefix -> its records, each partition in order.
        self.records: dict[str, list[TopicRecord]] = {}

    def _consumer(self, group: str) -> Consumer:
        # it is told its partitions and commits nothing, so it joins no group
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": _MOST_BYTES,
            }
        )

    def close(self) -> None:
        """Leave the broker."""
        self._asking.close()
        self._reading.close()

    def topics(self) -> dict[str, tuple[int, dict[str, str]]]:
        """Return name -> (partitions, what was set for it), in order of the names."""
        found = self._asking.list_topics(timeout=_BROKER_SECONDS).topics
        counts = {name: len(topic.partitions) for name, topic in sorted(found.items()) if name.startswith(f"{PREFIX}.")}
        asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in counts]
        admin = AdminClient({"bootstrap.servers": self._bootstrap})  # answers come as long as it is there
        answers = admin.describe_configs(asked)
        made: dict[str, tuple[int, dict[str, str]]] = {}
        for resource, answer in answers.items():
            entries = answer.result(_BROKER_SECONDS).values()
            own = [entry for entry in entries if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value]
            made[resource.name] = (counts[resource.name], {entry.name: entry.value for entry in sorted(own, key=str)})
        return dict(sorted(made.items()))

    def send(self, records: Sequence[SentEvent], told: Callable[[int], None]) -> None:
        """Write the records of a log to the events topic, each to its partition; `told` hears how many.

        Raises:
            FailedError: the broker did not take them all.
        """
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "linger.ms": 20,
                "message.max.bytes": _MOST_BYTES,
                "log_level": _ERRORS_ONLY,
            }
        )
        failures: list[str] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(str(error))

        for number, record in enumerate(records):
            while True:
                try:
                    producer.produce(
                        f"{PREFIX}.events", record.value, record.key, partition=record.partition, on_delivery=delivered
                    )
                    break
                except BufferError:  # its queue is full
                    producer.poll(0.1)
            producer.poll(0)
            if number % _TOLD == 0:
                told(number)
        if (left := producer.flush(_BROKER_SECONDS)) or failures:
            raise FailedError(f"the broker did not take {left or len(failures)} records of the log {failures[:1]}")

    def follow(self, *topics: str) -> None:
        """Read these topics, given without their prefix, from their beginnings on."""
        self.records = {topic: [] for topic in topics}
        wanted = [
            TopicPartition(f"{PREFIX}.{topic}", number, self._ends(topic)[number][0])
            for topic in topics
            for number in self._ends(topic)
        ]
        self._reading.assign(wanted)

    def _ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return partition -> (first offset, offset after the last record)."""
        name = f"{PREFIX}.{topic}"
        partitions = self._asking.list_topics(name, timeout=_BROKER_SECONDS).topics[name].partitions
        asked = {number: TopicPartition(name, number) for number in sorted(partitions)}
        return {number: self._asking.get_watermark_offsets(one, timeout=_BROKER_SECONDS) for number, one in asked.items()}

    def look(self) -> int:
        """Take what comes soon on the topics that are followed, and return how many records there are of all."""
        for message in self._reading.consume(_TAKEN, _WAIT_SECONDS):
            if (error := message.error()) is not None:
                raise FailedError(f"the topics cannot be read: {error}")
            self.records[str(message.topic()).removeprefix(f"{PREFIX}.")].append(_record(message))
        return sum(map(len, self.records.values()))

    def look_to_the_end(self) -> None:
        """Take what is there now, all of it."""
        wanted = sum(end - first for topic in self.records for first, end in self._ends(topic).values())
        while self.look() < wanted:
            pass

    def committed(self, topic: str) -> dict[int, int]:
        """Return partition -> offset from which the workers would go on; of what they have not begun it is 0."""
        asked = [TopicPartition(f"{PREFIX}.{topic}", number) for number in self._ends(topic)]
        found: list[Any] = self._asking.committed(asked, timeout=_BROKER_SECONDS)
        return {one.partition: max(0, one.offset) for one in found}

    def added(self, topic: str, records: int) -> int:
        """Return how many records beyond so many stand on a topic."""
        return sum(end - first for first, end in self._ends(topic).values()) - records


def _record(message: Message) -> TopicRecord:
    headers: Any = message.headers() or ()
    partition, offset = message.partition(), message.offset()
    assert partition is not None  # it was read
    assert offset is not None  # as above
    return TopicRecord(partition, offset, message.key(), message.value(), tuple(headers))
