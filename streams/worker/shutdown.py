"""Stopping in time: five seconds after a signal the process has ended.

Rules:
1. SIGTERM and SIGINT mean the same, and a second one changes nothing: flush, commit, leave the group.
2. The time runs from the signal itself, not from when the event loop comes to see it.
3. There is no waiting for Redis or Kafka. When the time is up the process ends at once, with status 0: what
   was not made durable is read again, as after a crash, whose recovery is tested.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_LOG = logging.getLogger("driftline.worker")

#: Leaves the rest of five seconds to a slow machine.
STOP_SECONDS = 4.5


class Stopping:
    """Passes the signal on once, and ends the process if the stop takes too long."""

    def __init__(self, *, seconds: float = STOP_SECONDS) -> None:
        """`seconds` run from the signal."""
        self._seconds = seconds
        self._signalled = False

    def listen(self, stop: Callable[[], None]) -> None:
        """From now on call `stop` at the first signal, between any two steps of the main thread."""

        def signalled(_number: int, _frame: FrameType | None) -> None:
            if self._signalled:
                return
            self._signalled = True
            timer = threading.Timer(self._seconds, self._end)
            timer.daemon = True
            timer.start()
            stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signalled)

    def _end(self) -> None:
        _LOG.warning("told to stop %g s ago and not done: what is not durable yet will be read again", self._seconds)
        logging.shutdown()
        os._exit(0)
