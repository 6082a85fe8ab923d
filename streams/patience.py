"""Patience with what is away: how often its failure is logged, and how long to wait before the next try.

Rules:
1. Nothing here sleeps or logs. The caller asks, then does so itself.
2. Each kind of message has a minute of its own. Kinds are few: no offset and no id is part of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds in which one message of a kind is logged.
LOG_EVERY_SECONDS = 60.0


class LogLimit:
    """A rate limit: one message of each kind in a minute."""

    def __init__(self, *, seconds: float = LOG_EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no message logged.

        Args:
            seconds: length of the interval that one message opens.
            clock: gives seconds, and never goes back.
        """
        self._seconds = seconds
        self._clock = clock
        #: Kind -> when it was logged last.
        self._logged: dict[str, float] = {}

    def due(self, kind: str = "") -> bool:
        """Return whether a message of the kind may be logged now; if so, the next interval begins.

        >>> limit = LogLimit(clock=iter([0.0, 59.0, 60.0]).__next__)
        >>> limit.due(), limit.due(), limit.due()
        (True, False, True)
        """
        now = self._clock()
        last = self._logged.get(kind)
        if last is not None and now - last < self._seconds:
            return False
        self._logged[kind] = now
        return True

    def reset(self, kind: str = "") -> None:
        """Let the next message of the kind be logged at once: the trouble is over, another one is news."""
        self._logged.pop(kind, None)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double (exponential back-off); both limits in seconds.

    Args:
        first: the shortest pause, the one before the second try.
        longest: the pause that is not exceeded.
    """

    first: float
    longest: float

    def after(self, pause: float) -> float:
        """Return the pause that follows one of `pause` seconds, which may be zero.

        >>> backoff = Backoff(0.25, 5.0)
        >>> backoff.after(0.0), backoff.after(0.25), backoff.after(4.0)
        (0.25, 0.5, 5.0)
        """
        return min(self.longest, max(self.first, 2 * pause))
