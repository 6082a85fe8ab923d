"""A sink: who gets alerts and swaps from the notify agent."""

from __future__ import annotations

from typing import Any, Protocol


class Sink(Protocol):
    """A receiver of alert and swap events: the webhook, or Grafana's annotations."""

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """Hand over one event; a repeat with the same id must do no harm.

        Args:
            event: the CloudEvent, decoded.
            value: its bytes on the topic.

        Raises:
            UnavailableError: the receiver is away; the caller tries again.
        """
