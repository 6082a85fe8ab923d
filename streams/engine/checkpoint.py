"""A checkpoint: what a flush makes durable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from streams.kafka import Outgoing


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a stage has produced up to one moment.

    Args:
        outgoing: messages to be sent and acknowledged, in order.
        durable: offset to start from after a crash, once the rest is done; None leaves it as it is.
        state: messages that hold the state of that moment; they are sent once `outgoing` is acknowledged.
        complete: stores the state of that moment, after the acknowledgements; None when there is none to store.
    """

    outgoing: list[Outgoing]
    durable: int | None
    complete: Callable[[], Awaitable[None]] | None = None
    state: list[Outgoing] = field(default_factory=list)
