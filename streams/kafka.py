"""The one door to confluent_kafka: producer, plain consumer, admin.

Producers are idempotent with acks=all, and use Java's partitioner so that keys land where Faust and
Java clients expect them. Workers consume through streams/transport.py; the plain consumer here is
for readers without a group (the retrainer's training rows, the demo, tests).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from detectors.errors import UnavailableError
from streams.settings import KafkaSettings
from streams.topics import TOPICS, Topic, topic_name

__all__ = [
    "GroupReader",
    "Log",
    "Outgoing",
    "Record",
    "Sender",
    "create_topics",
    "delete_topics",
    "missing_topics",
    "partition_counts",
    "wait_for_kafka",
]

#: Failures are raised or handed to callbacks; librdkafka would print each of 20 attempts a second as well.
_QUIET = {"log_level": 2}
_MAX_MESSAGE_BYTES = 4 << 20
_DAY_MS = 86_400_000
_MOVING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_BY_KEY = -1


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent; `partition` None lets the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One message read; `timestamp_seconds` is Kafka's, epoch seconds."""

    topic: str
    partition: int
    offset: int
    timestamp_seconds: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Sender:
    """A producer whose queue is bounded and whose losses are reported, never swallowed."""

    def __init__(self, settings: KafkaSettings, client: str, *, queue_bytes: int = 64 << 20, linger_ms: int = 5) -> None:
        """Connect lazily; `client` names the process in the broker's logs."""
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": client,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": "lz4",
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": queue_bytes >> 10,
                "delivery.timeout.ms": 60_000,
                **_QUIET,
            }
        )
        self._stopping = threading.Event()

    def send(self, message: Outgoing, on_failure: Callable[[str], None] | None = None) -> bool:
        """Queue one message; False when the queue is full (nothing was queued).

        `on_failure` is called with the reason when the broker did not take it in the end.
        """

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None and on_failure is not None:
                on_failure(error.str())

        try:
            self._producer.produce(
                message.topic,
                key=message.key,
                value=message.value,
                headers=list(message.headers),
                on_delivery=delivered,
                partition=_BY_KEY if message.partition is None else message.partition,
            )
        except BufferError:
            return False
        return True

    async def send_all(self, messages: list[Outgoing], timeout_seconds: float = 30.0) -> None:
        """Send in order and return once the broker acknowledged every one.

        Raises:
            UnavailableError: some were not acknowledged in time; any of them may still arrive.
        """
        if not messages:
            return
        failures: list[str] = []
        for message in messages:
            while not self.send(message, failures.append):
                await asyncio.to_thread(self._producer.poll, 0.1)
        left = await asyncio.to_thread(self._producer.flush, timeout_seconds)
        if left or failures:
            reason = failures[0] if failures else f"{left} messages unacknowledged after {timeout_seconds:g} s"
            raise UnavailableError(f"Kafka did not acknowledge {messages[0].topic}: {reason}; is the broker up?")

    def poll(self, timeout_seconds: float = 0.0) -> None:
        """Run delivery callbacks; to be called now and then by who uses `send`."""
        self._producer.poll(timeout_seconds)

    def start_polling(self) -> None:
        """Run delivery callbacks from a daemon thread (for a server that only calls `send`)."""

        def run() -> None:
            while not self._stopping.is_set():
                self._producer.poll(0.2)

        threading.Thread(target=run, name="driftline-sender", daemon=True).start()

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Flush, and return how many messages remain unsent."""
        self._stopping.set()
        return int(self._producer.flush(timeout_seconds))

    def __len__(self) -> int:
        """Return how many messages wait for an acknowledgement."""
        return len(self._producer)


class Log:
    """A reader of whole partitions, without a consumer group: replays, training rows, tests."""

    def __init__(self, settings: KafkaSettings, client: str) -> None:
        """Connect lazily."""
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
                **_QUIET,
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
                # Just created, or its leader is moving: known to the broker, not yet led by anyone.
                if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                    raise UnavailableError(f"cannot read topic {topic}: {error.args[0].str()}; is the broker up?") from None
                time.sleep(0.05)

    def _watermarks(self, topic: str, timeout_seconds: float) -> dict[int, tuple[int, int]]:
        partitions = self._consumer.list_topics(topic, timeout=timeout_seconds).topics[topic].partitions
        if not partitions:
            raise UnavailableError(f"no topic {topic} on this broker: run `driftline topics create`")
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=timeout_seconds)
            for number in sorted(partitions)
        }

    def committed(self, topic: str, timeout_seconds: float = 10.0) -> dict[int, int]:
        """Return partition -> offset that this reader's group has committed; partitions without one are left out.

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
                        yield _record(message)
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
                **_QUIET,
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
        return _record(message)

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


def _record(message: Message) -> Record:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_seconds=message.timestamp()[1] / 1000.0,
        key=message.key(),
        value=message.value(),
        headers=tuple((name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs),
    )


def _admin(settings: KafkaSettings) -> AdminClient:
    return AdminClient({"bootstrap.servers": settings.bootstrap, **_QUIET})


def wait_for_kafka(settings: KafkaSettings, timeout_seconds: float = 10.0) -> None:
    """Return once the broker answers.

    Raises:
        UnavailableError: it did not within the time.
    """
    partition_counts(settings, timeout_seconds)


def partition_counts(settings: KafkaSettings, timeout_seconds: float = 10.0) -> dict[str, int]:
    """Return topic name -> number of partitions, for every topic on the broker.

    Raises:
        UnavailableError: the broker does not answer.
    """
    admin = _admin(settings)
    try:
        found = admin.list_topics(timeout=timeout_seconds).topics
    except KafkaException as error:
        raise UnavailableError(
            f"no Kafka at {settings.bootstrap} ({error.args[0].str()}): start it, or set [kafka] bootstrap in driftline.toml"
        ) from None
    return {name: len(topic.partitions) for name, topic in found.items()}


def missing_topics(settings: KafkaSettings, topics: tuple[Topic, ...] = TOPICS) -> list[str]:
    """Return the names of the topics that are not on the broker."""
    found = partition_counts(settings)
    return [name for topic in topics if (name := topic_name(settings.prefix, topic)) not in found]


def create_topics(settings: KafkaSettings, timeout_seconds: float = 30.0) -> dict[str, str]:
    """Create what is missing and return topic name -> "created" | "exists".

    Running it twice, or two at once, does no harm.

    Raises:
        UnavailableError: the broker does not answer or refuses.
    """
    existing = partition_counts(settings)
    wanted = {topic_name(settings.prefix, topic): topic for topic in TOPICS}
    result = {name: "exists" for name in wanted if name in existing}
    new = [
        NewTopic(
            name,
            num_partitions=topic.partitions or settings.partitions,
            replication_factor=settings.replication,
            config={"retention.ms": str(topic.retention_seconds * 1000), "max.message.bytes": str(topic.max_message_bytes)},
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
    return result


def delete_topics(settings: KafkaSettings, timeout_seconds: float = 30.0) -> None:
    """Delete Driftline's topics with everything in them; those that are not there are no error.

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
