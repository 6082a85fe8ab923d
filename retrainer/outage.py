"""An outage: one log line when it begins, one a minute while it lasts, one when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from streams.patience import Backoff, LogLimit

_BACKOFF = Backoff(first=0.25, longest=5.0)


class Outage:
    """A time in which Kafka or Redis is away; the caller notes each failure and the next success.

    >>> outage = Outage(logging.getLogger("example"))
    >>> outage.lasts("no Redis"), outage.lasts("no Redis"), outage.over(), outage.lasts("no Kafka")
    (0.25, 0.5, None, 0.25)
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without an outage; `clock` gives seconds and never goes back."""
        self._log = log
        self._clock = clock
        self._limit = LogLimit(clock=clock)
        self._since: float | None = None
        self._pause = 0.0

    def lasts(self, reason: str) -> float:
        """Note a failure, and return how many seconds to wait before the next try."""
        due = self._limit.due()
        if self._since is None:
            self._since = self._clock()
            self._log.warning("%s; trying on, nothing is lost", reason)
        elif due:
            self._log.warning("%s; for %d s now, trying on", reason, self._clock() - self._since)
        self._pause = _BACKOFF.after(self._pause)
        return self._pause

    def over(self) -> None:
        """Note a success."""
        if self._since is not None:
            self._log.warning("all neighbours are back after %d s", self._clock() - self._since)
            self._limit.reset()
        self._since = None
        self._pause = 0.0
