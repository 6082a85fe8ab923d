"""The webhook: a signed POST of each alert."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from typing import Any

import aiohttp

from detectors.errors import UnavailableError
from streams.metrics import Metrics
from streams.patience import LogLimit
from streams.records import cloudevents
from streams.settings import WebhookSettings

_LOG = logging.getLogger("driftline.notify")

#: A receiver that refuses an event (4xx) or redirects it (3xx) will do so again: no second try.
_REFUSED_FROM, _REFUSED_TO = 300, 500


class Webhook:
    """A signed POST of each alert.

    The header `Driftline-Signature: t=SECONDS,v1=HEX` has HMAC-SHA256 over `SECONDS.BODY` with the
    shared secret. `Driftline-Event-Id` has the id, by which a receiver drops repeats.
    """

    def __init__(self, settings: WebhookSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log_limit = LogLimit()

    async def deliver(self, event: dict[str, Any], value: bytes) -> None:
        """POST an alert; other events are not sent.

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
        if self._log_limit.due():
            _LOG.error("webhook refused alert %s with status %d: mend [webhook] url or its receiver", event["id"], status)


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 over `stamp.body`.

    >>> signature(b"secret", "1700000000", b"{}")[:16]
    'b8569b78799ff9e3'
    """
    return hmac.digest(secret, stamp.encode() + b"." + body, hashlib.sha256).hex()
