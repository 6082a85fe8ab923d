"""The outbox of a stage: messages that it has made and that no flush has sent yet (a transactional outbox, in memory).

Rules:
1. A stage changes its state and its outbox in one step, without awaiting in between. An outbox awaits nothing.
2. What a checkpoint took out does not come back. If the flush fails, the lane drops the stage and reads again.
3. There is no checkpoint while nothing waits and the durable offset is the one of the checkpoint before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sized

from streams.engine.checkpoint import Checkpoint
from streams.kafka import Outgoing


class Outbox:
    """Messages in the order in which they are to be sent; its length is the number of things that wait for a flush."""

    __slots__ = ("_beside", "_durable", "_messages")

    def __init__(self, durable: int, *beside: Sized) -> None:
        """Begin empty.

        Args:
            durable: offset that Kafka knows already; -1 if the first checkpoint is to report its offset in any case.
            beside: what else of the stage waits for a flush. Its length counts, and its owner empties it.
        """
        self._messages: list[Outgoing] = []
        self._durable = durable
        self._beside = beside

    def __len__(self) -> int:
        return len(self._messages) + sum(map(len, self._beside))

    def add(self, message: Outgoing) -> None:
        """Let a message be sent by the next flush."""
        self._messages.append(message)

    def extend(self, messages: Iterable[Outgoing]) -> None:
        """Let messages be sent by the next flush, in their order."""
        self._messages.extend(messages)

    def take(self) -> list[Outgoing]:
        """Return the messages, and keep none."""
        messages, self._messages = self._messages, []
        return messages

    def checkpoint(self, durable: int, complete: Callable[[], Awaitable[None]] | None = None) -> Checkpoint | None:
        """Return a checkpoint with all messages, None if rule 3 forbids one.

        Args:
            durable: offset from which a restart reads, once the messages are acknowledged.
            complete: stores the state of this moment, after the acknowledgements.
        """
        if not len(self) and durable == self._durable:
            return None
        self._durable = durable
        return Checkpoint(self.take(), durable, complete)
