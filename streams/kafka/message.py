"""A message to send and a record that was read, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import Message

#: We raise failures or pass them to callbacks; librdkafka would also print each of 20 attempts a second.
QUIET = {"log_level": 2}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send; without a `partition` the hash of the key chooses it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record that was read; `timestamp_seconds` is that of Kafka, epoch seconds."""

    topic: str
    partition: int
    offset: int
    timestamp_seconds: float
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def record_of(message: Message) -> Record:
    """Return a message of librdkafka as a record."""
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
