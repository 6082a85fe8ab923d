"""A stage: what one agent does with the records of one partition."""

from __future__ import annotations

from typing import Protocol

from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.kafka.batch import Batch


class Stage(Protocol):
    """State and outbox of one agent in one partition."""

    @property
    def start(self) -> int:
        """Offset from which the partition has to be read."""

    @property
    def outbox(self) -> Outbox:
        """Messages that wait for a flush; a record that cannot be fed goes here as a dead letter."""

    async def feed(self, batch: Batch, position: int) -> None:
        """Read the records at `position` and after; state and outbox change together or not at all."""

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return what was produced since the last checkpoint, None when there is nothing to do.

        Args:
            position: next offset that would be fed.
            final: the partition is about to go: store the state now, not when it suits.
        """
