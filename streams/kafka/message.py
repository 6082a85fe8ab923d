"""What goes to Kafka and what comes from it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import Message

#: Failures are raised or handed to callbacks; librdkafka would print each of 20 attempts a second as well.
QUIET = {"log_level": 2}


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


def record_of(message: Message) -> Record:
    """Return what librdkafka read as our noun."""
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
