"""A moment that a user names on the command line."""

from __future__ import annotations

from typing import Any

import click

from streams.records.times import seconds_of


class Rfc3339Time(click.ParamType):
    """An RFC 3339 time with its zone; gives epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail with the form that was expected."""
        if isinstance(value, float):
            return value
        try:
            seconds = seconds_of(value)
        except ValueError:
            seconds = None
        if seconds is None or not any(zone in value[10:] for zone in ("Z", "z", "+", "-")):
            self.fail(f'expected a time with its zone such as "2026-11-21T07:30:00Z", got "{value}"', param, ctx)
        return seconds
