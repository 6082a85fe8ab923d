"""Arrivals: which batches have come to the agents, and which are lost.

Faust drops batches around a rebalance: those of a fetch that began before it, those in a queue that is
cleared, and those handed over while the flow is stopped. The next batch shows the hole. The last batch of
a log has no next one: its records would wait until somebody sends another event.

Rules:
1. Batches of all partitions pass one queue for each agent and topic, in the order of their numbers. So a
   batch that has not come is lost once a batch with a greater number has come.
2. While an agent works on a batch, others may wait behind it. When no agent works, and nothing was fetched
   or came for `QUIET_SECONDS`, no batch is on its way: what was fetched and has not come is lost.
3. To read again what was not lost does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.engine.transport import Reach
from streams.kafka.batch import Batch

#: No batch takes so long from the fetch to its agent, in wall time.
QUIET_SECONDS = 2.0


class Arrivals:
    """The batches that have come to the agents of a worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has come yet."""
        self._clock = clock
        #: (agent, topic) -> number of the newest batch that has come.
        self._newest: dict[tuple[str, str], int] = {}
        self._at_work = 0
        self._done_at = clock()

    @contextmanager
    def at_work(self, agent: str, batch: Batch) -> Iterator[None]:
        """Note that a batch has come to an agent, which works on it inside the context."""
        queue = agent, batch.tp.topic
        self._newest[queue] = max(batch.number, self._newest.get(queue, 0))
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._done_at = self._clock()

    def all_came(self, agent: str, topic: str, reach: Reach) -> bool:
        """Return whether each batch fetched of a partition has come to the agent or is lost."""
        if self._newest.get((agent, topic), 0) > reach.number:
            return True
        return not self._at_work and self._clock() - max(self._done_at, reach.at) > QUIET_SECONDS
