"""How far a replay has come: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time

import click

#: The line is drawn so often at most.
_EVERY_SECONDS = 0.2
_ERASE = "\r\x1b[K"


class ProgressLine:
    """The line at the bottom of a terminal; it makes room for what is printed."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn_at = -_EVERY_SECONDS
        self._shown = False

    def draw(self, share: float | None, rows: int) -> None:
        """Show which share of the file was read, 0 to 1, and how many rows."""
        now = time.monotonic()
        if not self._terminal or now - self._drawn_at < _EVERY_SECONDS:
            return
        self._drawn_at = now
        self._shown = True
        done = "" if share is None else f"{100 * share:3.0f} %, "
        click.echo(f"{_ERASE}{done}{rows:,} read", nl=False, err=True)

    def erase(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            click.echo(_ERASE, nl=False, err=True)
