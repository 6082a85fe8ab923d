"""Dead letters: events that could not be used, unchanged, with the reason in their headers."""

from __future__ import annotations

from typing import Protocol

from detectors.errors import EventError
from streams.kafka import Outgoing
from streams.settings import KafkaSettings
from streams.topics import DEAD, topic_name

REASON, PATH, DETAIL, SOURCE = "driftline-reason", "driftline-path", "driftline-detail", "driftline-source"


class Located(Protocol):
    """A record that knows where it came from, of whichever client library."""

    @property
    def topic(self) -> str:
        """Name of its topic."""

    @property
    def partition(self) -> int:
        """Number of its partition."""

    @property
    def offset(self) -> int:
        """Place in the partition."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its bytes."""


def dead_letter(settings: KafkaSettings, record: Located, error: EventError) -> Outgoing:
    """Return the message for the dead letters: key and value as they came."""
    headers = (
        (REASON, error.reason.encode()),
        (PATH, error.path.encode()),
        (DETAIL, error.detail[:500].encode()),
        (SOURCE, f"{record.topic}/{record.partition}/{record.offset}".encode()),
    )
    return Outgoing(topic_name(settings.prefix, DEAD), record.key, record.value, headers)
