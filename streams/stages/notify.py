"""The notify stage: alerts and swaps -> people, by sinks that other parts bring.

An event counts as delivered when every sink took it; only then does the offset move, so an alert
survives a crash of the worker or a receiver that is away. Receivers see repeats with the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from detectors.errors import EventError, UnavailableError
from streams.engine.stage import Checkpoint
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from streams.patience import Backoff
from streams.records import cloudevents
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings

_LOG = logging.getLogger("driftline.notify")

#: Pauses between attempts at a receiver that is away, in seconds.
_PAUSES = Backoff(0.5, 30.0)


class Sink(Protocol):
    """Somewhere that alert and swap events are told."""

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """Tell one event; repeats with the same id must do no harm.

        Raises:
            UnavailableError: not now; it will be tried again.
        """


class Notify:
    """Events of one partition of alerts or swaps, on their way to the sinks."""

    def __init__(self, *, kafka: KafkaSettings, sinks: Sequence[Sink], start: int) -> None:
        self._kafka = kafka
        self._sinks = sinks
        self._waiting: list[tuple[dict[str, Any], bytes]] = []
        self._letters: list[Outgoing] = []
        self._reported = start
        self.start = start

    @property
    def outbox_size(self) -> int:
        """Events that wait to be told."""
        return len(self._waiting)

    async def feed(self, batch: Batch, position: int) -> None:
        """Take the events of a batch from `position` on."""
        for record in batch.records(position):
            value = record.value or b""
            try:
                event = cloudevents.decode(value, cloudevents.ALERT, cloudevents.SWAP)
            except EventError as error:
                self._letters.append(dead_letter(self._kafka, batch.tp, record, error))
                continue
            self._waiting.append((event, value))

    def step_over(self, letter: Outgoing) -> None:
        """Send a record that cannot be fed to the dead letters instead."""
        self._letters.append(letter)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:  # noqa: ARG002 - nothing is stored
        """Return what tells the waiting events, after which the offset may move."""
        if position == self._reported:
            return None
        waiting, self._waiting = self._waiting, []
        letters, self._letters = self._letters, []
        self._reported = position

        async def tell() -> None:
            for event, value in waiting:
                for sink in self._sinks:
                    await _deliver(sink, event, value)

        return Checkpoint(letters, position, tell)


async def _deliver(sink: Sink, event: dict[str, Any], value: bytes) -> None:
    """Tell one sink, again and again until it takes the event; a receiver that is away holds up nobody else."""
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
