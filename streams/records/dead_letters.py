"""Dead letters: records that could not be used, unchanged, with the reason in their headers.

A record may be larger than any message that this process may send, because brokers measure it compressed.
Such a record must not stop its partition: its first bytes are kept, and a header has its size.
"""

from __future__ import annotations

from typing import Protocol

from detectors.errors import EventError
from streams.kafka import Outgoing
from streams.settings import KafkaSettings
from streams.topics import DEAD, topic_name

REASON, PATH, DETAIL, SOURCE = "driftline-reason", "driftline-path", "driftline-detail", "driftline-source"
#: Only on records that were cut: their size in bytes.
CUT = "driftline-cut-from-bytes"

#: Up to so many bytes together, key and value are kept whole; beyond, each is cut to `_KEPT_BYTES`.
MAX_LETTER_BYTES = 3 << 20
_KEPT_BYTES = 64 << 10
_MAX_PATH, _MAX_DETAIL = 200, 500


class Origin(Protocol):
    """The partition that a record came from."""

    @property
    def topic(self) -> str:
        """Name of the topic."""

    @property
    def partition(self) -> int:
        """Number of the partition."""


class Located(Protocol):
    """A record of any client library."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""


def dead_letter(settings: KafkaSettings, tp: Origin, record: Located, error: EventError) -> Outgoing:
    """Return the message for the dead letters, with key and value as they came unless they are too large for a message."""
    headers: tuple[tuple[str, bytes], ...] = (
        (REASON, error.reason.encode()),
        (PATH, error.path[:_MAX_PATH].encode(errors="replace")),
        (DETAIL, error.detail[:_MAX_DETAIL].encode(errors="replace")),
        (SOURCE, f"{tp.topic}/{tp.partition}/{record.offset}".encode()),
    )
    key, value = record.key, record.value
    size = len(key or b"") + len(value or b"")
    if size > MAX_LETTER_BYTES:
        headers = (*headers, (CUT, str(size).encode()))
        key, value = key and key[:_KEPT_BYTES], value and value[:_KEPT_BYTES]
    return Outgoing(topic_name(settings.prefix, DEAD), key, value, headers)
