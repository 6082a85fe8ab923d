"""Times as text: RFC 3339, as CloudEvents and reports have them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return an RFC 3339 UTC time with milliseconds.

    >>> rfc3339(0.5)
    '1970-01-01T00:00:00.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Return the epoch seconds of an RFC 3339 time.

    Raises:
        ValueError: the text is not such a time.
    """
    return datetime.fromisoformat(text).timestamp()
