"""A stage: what one agent does with the records of one partition, and what it has to show for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from streams.kafka import Outgoing
from streams.kafka.batch import Batch


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a stage has produced up to one moment.

    Args:
        outgoing: to be sent and acknowledged, in order.
        durable: offset to start from after a crash, once the rest is done; None leaves it as it is.
        complete: stores the state of that moment, after the acknowledgements; None when there is none.
    """

    outgoing: list[Outgoing]
    durable: int | None
    complete: Callable[[], Awaitable[None]] | None = None


class Stage(Protocol):
    """State and outbox of one agent in one partition."""

    @property
    def start(self) -> int:
        """Offset from which the partition has to be read."""

    @property
    def outbox_size(self) -> int:
        """Messages that wait to be sent."""

    async def feed(self, batch: Batch, position: int) -> None:
        """Take the records at `position` and after; state and outbox change together or not at all."""

    def step_over(self, letter: Outgoing) -> None:
        """Send a record that cannot be fed to the dead letters instead."""

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Return what was produced since the last cut, None when there is nothing to do.

        Args:
            position: next offset that would be fed.
            final: the partition is about to go: store the state now, not when it suits.
        """
