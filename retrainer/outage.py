"""An outage: one log line when it begins, one a minute while it lasts, one when it is over."""

from __future__ import annotations

import logging
from dataclasses import dataclass

_EVERY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class Outage:
    """Neighbours that are away; times are seconds on a clock that never goes back."""

    log: logging.Logger
    _since: float | None = None
    _told: float = 0.0
    _pause: float = _FIRST_PAUSE_SECONDS

    def lasts(self, reason: str, now: float) -> float:
        """Note a failure, and return how many seconds to wait before the next try."""
        if self._since is None:
            self._since = self._told = now
            self.log.warning("%s; trying on, nothing is lost", reason)
        elif now - self._told >= _EVERY_SECONDS:
            self._told = now
            self.log.warning("%s; for %d s now, trying on", reason, now - self._since)
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        return pause

    def over(self, now: float) -> None:
        """Note a success."""
        if self._since is not None:
            self.log.warning("all neighbours are back after %d s", now - self._since)
        self._since = None
        self._pause = _FIRST_PAUSE_SECONDS
