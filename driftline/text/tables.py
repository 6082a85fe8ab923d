"""One table in three forms: drawn on a terminal, columns in a pipe, Markdown for documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

Rows = Sequence[Sequence[str]]


def show_table(headings: Sequence[str], rows: Rows, title: str = "", *, err: bool = False) -> None:
    """Print rows to stdout, or stderr with `err`: a drawn table when that is a terminal, else columns two spaces apart."""
    if not (sys.stderr if err else sys.stdout).isatty():
        click.echo(columns(headings, rows), err=err)
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe does not wait for rich
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(stderr=err).print(table)


def columns(headings: Sequence[str], rows: Rows) -> str:
    """Return lines of columns.

    >>> print(columns(["name", "n"], [["a", "1"], ["long", "2"]]))
    name  n
    a     1
    long  2
    """
    lines = [headings, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(headings))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(headings: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table, without a newline at its end."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)
