"""Logging of every process: stderr, one record a line, `2026-11-21T07:30:00.123Z level logger message`."""

from __future__ import annotations

import logging
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

#: Libraries that tell more than an operator wants; at --log-level debug they tell everything.
_CHATTY = ("faust", "mode", "aiokafka", "kafka", "aiohttp.access", "asyncio", "urllib3")


class LineFormatter(logging.Formatter):
    """One line a record, in UTC; a traceback is one clause, or all of it with DRIFTLINE_DEBUG=1."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = " | ".join(record.getMessage().splitlines())
        line = f"{time} {record.levelname.lower()} {record.name} {message}"
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return line
        if os.environ.get("DRIFTLINE_DEBUG") == "1":
            return f"{line}\n{''.join(traceback.format_exception(error)).rstrip()}"
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return f"{line}: {type(error).__name__}: {' | '.join(str(error).splitlines())}{place}"


def start_logging(level: str) -> None:
    """Send the logs of this process to stderr, from `level` (debug, info, warning, error) on."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
