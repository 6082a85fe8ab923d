"""The notify stage: alerts and swaps -> people, by sinks that other parts bring.

An event counts as delivered when every sink took it; only then does the offset move, so an alert
survives a crash of the worker or a receiver that is away. Receivers see repeats with the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

import aiohttp

from detectors.errors import EventError, UnavailableError
from streams.engine.stage import Cut
from streams.engine.transport import Batch
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.records import cloudevents
from streams.records.dead_letters import dead_letter
from streams.settings import KafkaSettings, WebhookSettings

_LOG = logging.getLogger("driftline.notify")

#: A receiver that refuses an event (4xx), or sends it elsewhere (3xx), will do so again: it is counted and left.
_REFUSED_FROM, _REFUSED_TO = 300, 500
_LOG_EVERY_SECONDS = 60.0
#: Pauses between attempts at a receiver that is away, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Sink(Protocol):
    """Somewhere that alert and swap events are told."""

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """Tell one event; repeats with the same id must do no harm.

        Raises:
            UnavailableError: not now; it will be tried again.
        """


class Webhook:
    """A signed POST of each alert.

    The header `Driftline-Signature: t=SECONDS,v1=HEX` holds HMAC-SHA256 over `SECONDS.BODY` with the
    shared secret; `Driftline-Event-Id` holds the id, by which a receiver drops repeats.
    """

    def __init__(self, settings: WebhookSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._said_at = float("-inf")

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """POST an alert; other events are not for people.

        Raises:
            UnavailableError: the receiver is away, or answers 5xx or 429.
        """
        if event["type"] != cloudevents.ALERT:
            return
        stamp = str(int(time.time()))
        headers = {
            "content-type": "application/cloudevents+json",
            "driftline-event-id": event["id"],
            "driftline-signature": f"t={stamp},v1={signature(self._settings.secret.reveal(), stamp, value)}",
        }
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._settings.url, data=value, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
        except (TimeoutError, aiohttp.ClientError) as error:
            self._metrics.count("driftline_webhook_deliveries_total", result="failed")
            raise UnavailableError(f"webhook does not answer ({type(error).__name__}); the alert will be sent again") from None
        if status < 300:
            self._metrics.count("driftline_webhook_deliveries_total", result="ok")
            return
        self._metrics.count("driftline_webhook_deliveries_total", result="failed")
        if status == 429 or not _REFUSED_FROM <= status < _REFUSED_TO:
            raise UnavailableError(f"webhook answers {status}; the alert will be sent again")
        if time.monotonic() - self._said_at >= _LOG_EVERY_SECONDS:
            self._said_at = time.monotonic()
            _LOG.error("webhook refused alert %s with status %d: mend [webhook] url or its receiver", event["id"], status)


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 over `stamp.body`.

    >>> signature(b"secret", "1700000000", b"{}")[:16]
    'b8569b78799ff9e3'
    """
    return hmac.digest(secret, stamp.encode() + b"." + body, hashlib.sha256).hex()


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

    def cut(self, position: int, *, final: bool) -> Cut | None:  # noqa: ARG002 - nothing is stored
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

        return Cut(letters, position, tell)


async def _deliver(sink: Sink, event: dict[str, Any], value: bytes) -> None:
    """Tell one sink, again and again until it takes the event; a receiver that is away holds up nobody else."""
    pause = _FIRST_PAUSE
    while True:
        try:
            await sink.deliver(event, value)
        except UnavailableError as error:
            if pause == _FIRST_PAUSE:
                _LOG.warning("%s", error)
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        else:
            return
