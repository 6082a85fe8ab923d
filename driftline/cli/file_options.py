"""The options that describe a file: one set for every command that reads rows, events or windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from driftline.cli.invocation import Invocation
from driftline.cli.known_model import known_model
from driftline.readers.options import FORMS, Form
from streams.settings import Settings

_STDIN = "-"
_NO_FILE = "name a FILE of rows, or --windows for those in Kafka"

_OPTIONS: Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]] = (
    click.argument("file", required=False),
    click.option("--model", metavar="NAME", help="Model of the rows; needed if the configuration has several."),
    click.option("--time", metavar="COLUMN", help="Event time: RFC 3339, or seconds or milliseconds since 1970."),
    click.option("--label", metavar="COLUMN", help="The true answer."),
    click.option("--prediction", metavar="COLUMN", help="What the model answered."),
    click.option("--segment", metavar="COLUMN", help="Part of the traffic; each is judged by itself."),
    click.option("--ignore", metavar="COLUMN", multiple=True, help="A column that is no feature; may be given several times."),
    click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Form of FILE [default: by its name]."),
    click.option("--delimiter", metavar="CHAR", help="Between the cells of a CSV file [default: a comma; in .tsv a tab]."),
    click.option("--windows", is_flag=True, help="Judge windows: those in FILE, or without FILE those in Kafka."),
)


def mapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument FILE and the options that describe it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def form_of(given: dict[str, Any]) -> tuple[Form | None, str]:
    """Return the form of the file and the delimiter of its cells, after checking that the options agree.

    Raises:
        click.UsageError: two options contradict each other, or one is missing.
    """
    named = [f"--{name}" for name in ("time", "label", "prediction", "segment", "ignore") if given[name]]
    if given["windows"]:
        stray = [*named, *(option for option, name in (("--format", "form"), ("--delimiter", "delimiter")) if given[name])]
        if stray:
            raise click.UsageError(f"{stray[0]} is for rows, and --windows judges windows: leave out one of the two")
        return None, ""
    if given["file"] is None:
        raise click.UsageError(_NO_FILE)
    suffix = Path(given["file"]).suffix.lower()
    form, delimiter = FORMS.get(suffix, (None, ""))
    form = given["form"] or form
    if form is None:
        what = "stdin" if given["file"] == _STDIN else f'a name that ends in "{suffix}"'
        raise click.UsageError(f"{what} does not say what the rows are: add --format csv, jsonl or parquet")
    if form == "parquet" and given["file"] == _STDIN:
        raise click.UsageError("Parquet is read from its end, which stdin has not: name a file")
    if given["delimiter"] is not None:
        if form != "csv" or len(given["delimiter"]) != 1:
            raise click.BadParameter("expected one character, for a CSV file", param_hint="--delimiter")
        delimiter = given["delimiter"]
    if given["label"] and not given["prediction"]:
        raise click.UsageError(
            "--label is compared with --prediction: name that column too, or leave the label out with --ignore"
        )
    if form == "jsonl" and named and not given["time"]:
        raise click.UsageError(
            f"{named[0]} is for rows, and JSON Lines without --time are events: name the column of the time too"
        )
    return form, delimiter or ","


def require_apart(read: str | None, written: str | None, option: str) -> None:
    """Return if the file to write is not the file to read, which would be overwritten.

    Raises:
        click.BadParameter: both are one file.
    """
    if (
        read is not None
        and written is not None
        and Path(written).exists()
        and Path(read).exists()
        and Path(read).samefile(written)
    ):
        raise click.BadParameter(f"{written} is the file that is read: name another", param_hint=option)


def model_of(invocation: Invocation, settings: Settings, given: dict[str, Any], form: Form | None) -> str | None:
    """Return the name of the one model that the file is about; None where each record names its model.

    Raises:
        click.UsageError: no model has that name, or there are several and none is named.
    """
    name: str | None = given["model"]
    if name is not None:
        return known_model(invocation, settings, name).name
    if form is None or (form == "jsonl" and not given["time"]):
        return None
    known = [model.name for model in settings.models]
    if len(known) > 1:
        raise click.UsageError(
            f"{invocation.config} has several models: say with --model whose rows these are; {', '.join(known)}"
        )
    return known[0]
