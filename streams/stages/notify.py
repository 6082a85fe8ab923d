"""The notify stage: alerts and swaps -> sinks, which reach people.

Rules:
1. An event counts as delivered once every sink has taken it. Only then does the offset move, so an alert
   survives a crash of the worker and an outage of the receiver.
2. After a crash a receiver gets events again, with the same ids.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self

from detectors.errors import EventError, UnavailableError
from streams.engine.checkpoint import Checkpoint
from streams.engine.outbox import Outbox
from streams.engine.start_offsets import resumed
from streams.engine.transport import LogState
from streams.kafka.batch import Batch
from streams.patience import Backoff
from streams.records import cloudevents
from streams.records.dead_letters import dead_letter
from streams.stages.sink import Sink
from streams.stages.wiring import Wiring

_LOG = logging.getLogger("driftline.notify")

#: Pauses between attempts at a receiver that is away, in seconds.
_PAUSES = Backoff(0.5, 30.0)


class Notify:
    """Events of one partition of alerts or swaps that the sinks have to get."""

    def __init__(self, wiring: Wiring, *, start: int) -> None:
        self._kafka = wiring.kafka
        self._sinks = wiring.sinks
        #: Events that no flush has delivered yet, each with its bytes.
        self._waiting: list[tuple[dict[str, Any], bytes]] = []
        self.start = start
        self.outbox = Outbox(start, self._waiting)

    @classmethod
    async def open(cls, wiring: Wiring, _partition: int, log: LogState) -> Self:
        """Begin at the committed offset."""
        return cls(wiring, start=resumed(log))

    async def feed(self, batch: Batch, position: int) -> None:
        """Read the events of a batch from `position` on; the next flush delivers them."""
        for record in batch.records(position):
            value = record.value or b""
            try:
                event = cloudevents.decode(value, cloudevents.ALERT, cloudevents.SWAP)
            except EventError as error:
                self.outbox.add(dead_letter(self._kafka, batch.tp, record, error))
                continue
            self._waiting.append((event, value))

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return what delivers the waiting events, after which the offset may move."""
        waiting = list(self._waiting)

        async def deliver() -> None:
            for event, value in waiting:
                for sink in self._sinks:
                    await _deliver(sink, event, value)

        checkpoint = self.outbox.checkpoint(position, deliver)
        self._waiting.clear()
        return checkpoint


async def _deliver(sink: Sink, event: dict[str, Any], value: bytes) -> None:
    """Call a sink until it takes the event. Other partitions and agents go on meanwhile."""
    pause = _PAUSES.first
    while True:
        try:
            await sink.deliver(event, value)
        except UnavailableError as error:
            if pause == _PAUSES.first:
                _LOG.warning("%s", error)
            await asyncio.sleep(pause)
            pause = _PAUSES.after(pause)
        else:
            return
