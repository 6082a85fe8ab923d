"""The options of the demo, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of the command; with `kafka` or `redis` empty the demo starts its own server."""

    json: bool
    keep: bool
    kafka: str
    redis: str
    #: Which broker the demo starts: `embedded` or `kafka`.
    broker: str
    #: Rows sent at most; 0 sends all.
    rows: int
    log_level: str
