"""How far a replay has come: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
import time

import click

#: Least time between two drawings of the line.
_EVERY_SECONDS = 0.2
_ERASE = "\r\x1b[K"


class ProgressLine:
    """The line at the bottom of a terminal; erase it before printing anything else."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._drawn_at = -_EVERY_SECONDS
        self._shown = False

    def draw(self, share: float | None, rows: int) -> None:
        """Show the share of the file that was read, 0 to 1, and the number of rows."""
        now = time.monotonic()
        if not self._terminal or now - self._drawn_at < _EVERY_SECONDS:
            return
        self._drawn_at = now
        self._shown = True
        done = "" if share is None else f"{100 * share:3.0f} %, "
        click.echo(f"{_ERASE}{done}{rows:,} read", nl=False, err=True)

    def erase(self) -> None:
        """Erase the line."""
        if self._shown:
            self._shown = False
            click.echo(_ERASE, nl=False, err=True)
