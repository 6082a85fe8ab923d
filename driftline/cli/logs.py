"""Logging of every process: stderr, one record a line, `2026-11-21T07:30:00.123Z level logger message`."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

#: Libraries that log more than an operator wants; at --log-level debug they log everything.
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "aiohttp.access", "asyncio", "urllib3")
_QUIET_SECONDS = 60.0
#: Kinds remembered at most; beyond that all are forgotten, and each may be logged once more.
_MOST_KINDS = 1000


class LineFormatter(logging.Formatter):
    """One line a record, in UTC; an exception is one clause of it, or a whole traceback with DRIFTLINE_DEBUG=1."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = " | ".join(record.getMessage().splitlines())
        line = f"{moment} {record.levelname.lower()} {record.name} {message}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if os.environ.get("DRIFTLINE_DEBUG") == "1":
            return f"{line}\n{''.join(traceback.format_exception(error)).rstrip()}"
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return f"{line}: {type(error).__name__}: {' | '.join(str(error).splitlines())}{place}"


class OncePerMinute(logging.Filter):
    """Lets one record a minute of each kind through, from libraries that repeat themselves while a server is away.

    A kind is a logger and the template of its message. The next record says how many were dropped. Records of Driftline's
    own loggers always pass: those do not repeat themselves.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        if record.name.partition(".")[0] not in _CHATTY:
            return True
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        kind = (record.name, str(record.msg)[:200])
        now = self._clock()
        said_at, held_back = self._kinds.get(kind, (float("-inf"), 0))
        if now - said_at < _QUIET_SECONDS:
            self._kinds[kind] = (said_at, held_back + 1)
            return False
        self._kinds[kind] = (now, 0)
        if held_back:
            record.msg = f"{record.getMessage()} (and {held_back} more like it before)"
            record.args = ()
        return True


def start_logging(level: str) -> None:
    """Send the logs of this process to stderr, from `level` (debug, info, warning, error) on."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    if level != "debug":
        handler.addFilter(OncePerMinute())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
