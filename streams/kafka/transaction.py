"""Read, write and commit in one step: records of a topic, and what follows from them, in Kafka transactions.

Rules:
1. Messages and the offsets of the records that they follow from become visible together, or not at all.
2. The transactional id is unique. The group fences: offsets carry member and generation (KIP-447), and a member that lost
   its partitions, frozen or cut off, is refused with all that it wrote.
3. Member and generation are those of the assignment, taken while it is made. A member that lost its session knows neither
   any more, and the broker takes offsets without them from anybody.
4. A rebalance in the middle of a read drops what was read; reading goes on at the committed offsets.
5. After any error the object is of no use: close it and make another, under the same identity, which breaks off what the
   first left open. An open transaction that nobody ends holds up the readers of its topics until the broker breaks it off,
   after the session timeout and ten seconds at most.
6. After the restart of a broker librdkafka may wait for ever for a coordinator that it remembers, whatever timeout it was
   given (its issues 5456 and 5511). So a transaction is written in a thread of its own. One that does not end is left behind;
   if it wakes up some day, it is refused, because its identity has another owner by then.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from detectors.errors import UnavailableError
from streams.kafka.message import QUIET, Outgoing, Record, record_of
from streams.settings import KafkaSettings

_MAX_MESSAGE_BYTES = 4 << 20
_BY_KEY = -1
#: Records of one call of the library, and all that the library may have fetched ahead.
_AT_ONCE, _AHEAD_KBYTES = 500, 16 << 10
#: Most that one read returns.
MOST_RECORDS, MOST_BYTES = 10_000, 8 << 20
#: How long one request to the coordinators may take; and the ending of a transaction that failed.
_REQUEST_SECONDS, _ABORT_SECONDS = 10.0, 2.0
#: The broker breaks off a transaction that is open for longer than the session timeout, but not within so many seconds. One
#: that has not ended a little after that never will.
_LEAST_OPEN_SECONDS, _GRACE_SECONDS = 5.0, 2.0


class Transactions:
    """A member of a consumer group that writes what follows from its records, each read and its messages in one transaction."""

    def __init__(self, settings: KafkaSettings, group: str, topic: str, *, identity: str) -> None:
        """Join `{prefix}.{group}` for `topic`, and become the only writer under `identity`.

        Args:
            settings: the broker.
            group: name of the group behind the prefix.
            topic: full name of the topic to read.
            identity: transactional id; the transaction that was left open under it is broken off.

        Raises:
            UnavailableError: the broker does not answer.
        """
        self._topic = topic
        session_ms = int(settings.session_timeout_seconds * 1000)
        self._open_seconds = max(settings.session_timeout_seconds, _LEAST_OPEN_SECONDS)
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": identity,
                "group.id": f"{settings.prefix}.{group}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "range",
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": session_ms // 4,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": _AHEAD_KBYTES,
                **QUIET,
            }
        )
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "client.id": identity,
                "transactional.id": identity,
                "transaction.timeout.ms": int(self._open_seconds * 1000),
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                **QUIET,
            }
        )
        #: Member and generation of the assignment, None without one.
        self._membership: object | None = None
        self._moved = False
        self._stuck = False
        #: Partition -> offset after the last record read.
        self._read: dict[int, int] = {}
        try:
            self._producer.init_transactions(_REQUEST_SECONDS)
        except KafkaException as error:
            self.close()
            raise UnavailableError(f"no transactions at {settings.bootstrap}: {_words(error)}; is the broker up?") from None
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    # -- membership ----------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        membership = consumer.consumer_group_metadata()
        # Taken while the member was one: without the look afterwards it might be that of nobody.
        self._membership = membership if consumer.memberid() else None
        self._moved = True
        consumer.assign(partitions)

    def _revoked(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._membership = None
        self._moved = True

    # -- reading -------------------------------------------------------------------------------

    def read(self, wait_seconds: float, gather_seconds: float) -> list[Record]:
        """Return the next records of all partitions, in order within each; none if none came in time.

        Args:
            wait_seconds: longest wait for the first.
            gather_seconds: longest wait for the others.

        Raises:
            UnavailableError: the broker or the topic cannot be reached.
        """
        found = self._consume(1, wait_seconds)
        deadline = time.monotonic() + gather_seconds
        size = 0
        while found and len(found) < MOST_RECORDS and size < MOST_BYTES and (left := deadline - time.monotonic()) > 0:
            more = self._consume(min(_AT_ONCE, MOST_RECORDS - len(found)), min(left, 0.02))
            size += sum(len(message.value() or b"") for message in more)
            found += more
        if self._moved:
            self._moved = False
            self._read.clear()
            if found:
                self._begin_again()
            return []
        for message in found:
            self._read[message.partition() or 0] = (message.offset() or 0) + 1
        return [record_of(message) for message in found]

    def _consume(self, most: int, wait_seconds: float) -> list[Message]:
        try:
            found = self._consumer.consume(most, wait_seconds)
        except KafkaException as error:
            raise UnavailableError(f"cannot read topic {self._topic}: {_words(error)}; is the broker up?") from None
        for message in found:
            fault = message.error()
            if fault is not None:
                raise UnavailableError(f"cannot read topic {self._topic}: {fault.str()}; is the broker up?")
        return found

    def _begin_again(self) -> None:
        """Read the partitions from their committed offsets: what came around a rebalance may be of either assignment."""
        assigned = self._consumer.assignment()
        try:
            committed = self._consumer.committed(assigned, timeout=_REQUEST_SECONDS) if assigned else []
            self._consumer.assign(committed)
        except KafkaException as error:
            raise UnavailableError(f"cannot read the offsets of {self._topic}: {_words(error)}; is the broker up?") from None

    def unread(self) -> int:
        """Return how many records of the assigned partitions are not read yet, as far as the last fetches know."""
        count = 0
        for number, offset in self._read.items():
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
            count += max(0, end - offset)
        return count

    # -- writing -------------------------------------------------------------------------------

    def commit(self, messages: Iterable[Outgoing]) -> None:
        """Write the messages, and that everything read so far is done; return once the broker has both.

        Raises:
            UnavailableError: neither counts, unless the answer alone was lost; close this and make another.
        """
        membership = self._membership
        if membership is None:
            raise UnavailableError(f"the partitions of {self._topic} have gone to another member of the group")
        offsets = [TopicPartition(self._topic, number, offset) for number, offset in self._read.items()]
        written = list(messages)
        ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def write() -> None:
            try:
                self._write(written, offsets, membership)
            except Exception as error:  # noqa: BLE001 - it is raised by who waits
                ended.put(error)
            else:
                ended.put(None)

        threading.Thread(target=write, name="driftline-transaction", daemon=True).start()
        try:
            error = ended.get(timeout=self._open_seconds + _GRACE_SECONDS)
        except queue.Empty:
            self._stuck = True
            error = TimeoutError(f"it did not end within {self._open_seconds + _GRACE_SECONDS:g} s")
        if error is not None:
            raise UnavailableError(f"a transaction on the records of {self._topic} failed: {_words(error)}") from None

    def _write(self, messages: Sequence[Outgoing], offsets: list[TopicPartition], membership: object) -> None:
        try:
            self._producer.begin_transaction()
            for message in messages:
                self._producer.produce(
                    message.topic,
                    key=message.key,
                    value=message.value,
                    headers=list(message.headers),
                    partition=_BY_KEY if message.partition is None else message.partition,
                )
            self._producer.send_offsets_to_transaction(offsets, membership, _REQUEST_SECONDS)
            self._producer.commit_transaction(_REQUEST_SECONDS)
        except (KafkaException, BufferError):
            self._abort()
            raise

    def _abort(self) -> None:
        """End the transaction now, so that nobody waits for it; one that cannot be ended runs out."""
        try:
            self._producer.abort_transaction(_ABORT_SECONDS)
        except KafkaException:
            return

    def close(self) -> None:
        """Leave the group and the broker; what was not committed is read again by whoever comes next."""
        if not self._stuck:
            self._producer.purge()
            self._producer.flush(0.0)
        self._consumer.close()


def _words(error: Exception) -> str:
    found = error.args[0] if error.args else error
    return found.str() if isinstance(found, KafkaError) else str(found)
