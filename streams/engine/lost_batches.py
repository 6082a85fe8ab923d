"""Arrivals: which batches have come to the agents, and so which will not come any more.

Faust drops batches around a rebalance: what a fetch begun before it brought, what waits in a queue that
is cleared, what is handed over while the flow stands still. The next batch shows the hole. One that nothing
follows, the end of a log say, leaves none, and what it held would wait for the next event.

Rules:
1. Batches of all partitions pass one queue for each agent and topic, in the order of their numbers. So one
   with a smaller number than the newest that has come is lost, if it has not come.
2. While an agent is at a batch others may wait behind it. When none is, and nothing was fetched or came for
   `QUIET_SECONDS`, nothing is on its way: what was fetched and has not come is lost.
3. Reading again what was not lost after all does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.engine.transport import Reach
from streams.kafka.batch import Batch

#: Longer than any batch is on its way, in wall time.
QUIET_SECONDS = 2.0


class Arrivals:
    """What has come to the agents of a worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has come yet."""
        self._clock = clock
        #: (agent, topic) -> number of the newest batch that has come.
        self._newest: dict[tuple[str, str], int] = {}
        self._at_work = 0
        self._done_at = clock()

    @contextmanager
    def at_work(self, agent: str, batch: Batch) -> Iterator[None]:
        """Note that a batch has come to an agent, which is at it inside."""
        place = agent, batch.tp.topic
        self._newest[place] = max(batch.number, self._newest.get(place, 0))
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._done_at = self._clock()

    def all_came(self, agent: str, topic: str, reach: Reach) -> bool:
        """Tell whether everything that was fetched of a partition of the topic has come to the agent or never will."""
        if self._newest.get((agent, topic), 0) > reach.number:
            return True
        return not self._at_work and self._clock() - max(self._done_at, reach.at) > QUIET_SECONDS
