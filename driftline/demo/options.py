"""What the demo is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command's options; `kafka` and `redis` empty: servers of its own."""

    json: bool
    keep: bool
    kafka: str
    redis: str
    #: Kind of the broker of its own: `embedded` or `kafka`.
    broker: str
    #: Rows sent at most; 0 sends all.
    rows: int
    log_level: str
