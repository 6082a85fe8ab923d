"""`driftline reference`: what is normal, learned beforehand from a file, or accepted afterwards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from driftline.invocation import Invocation, configured
from driftline.moments import Moment
from driftline.replay.mapping import form_of, known_model, mapped, model_of, require_apart
from driftline.replay.options import Options


@click.group("reference")
def command() -> None:
    """Learn what is normal from a file, or accept a change as the new normal."""


@command.command("build")
@mapped
@click.option("--from", "since", metavar="TIME", type=Moment(), help='Only windows from then on, such as "2026-11-21T07:30:00Z".')
@click.option("--to", "until", metavar="TIME", type=Moment(), help="Only windows that end by then.")
@click.option("--output", "-o", "written", metavar="OUT", help="File to write [default: NAME.reference.json].")
@configured
def build(invocation: Invocation, /, **given: Any) -> None:
    """Learn a model's references from a time when all was well, and write them to a file.

    FILE holds rows or events as for `driftline replay`; with --windows it holds windows, and without FILE those in Kafka are
    taken. `[models.NAME.reference] file` names what was written, and workers judge by it from the first window on.
    """
    settings = invocation.settings(references=False)
    form, delimiter = form_of(given)
    known = [model.name for model in settings.models]
    name = model_of(invocation, known, given, form) or (known[0] if len(known) == 1 else None)
    if name is None:
        raise click.UsageError(f"{invocation.config} has several models: say with --model which one; {', '.join(known)}")
    spec = settings.model(known_model(invocation, known, name))
    assert spec is not None  # the name is one of them
    written = given["written"] or f"{name}.reference.json"
    require_apart(given["file"], written, "--output")
    since = -math.inf if given["since"] is None else given["since"]
    until = math.inf if given["until"] is None else given["until"]
    if since >= until:
        raise click.UsageError("--from is not before --to: no window lies between them")
    from driftline.replay.building import build as learn  # noqa: PLC0415 - numpy and river take a second; a wrong option waits not
    from driftline.replay.written import write  # noqa: PLC0415 - as above

    options = Options(
        file=given["file"],
        form=form,
        delimiter=delimiter,
        model=name,
        time=given["time"],
        label=given["label"],
        prediction=given["prediction"],
        segment=given["segment"],
        ignore=given["ignore"],
    )
    built = learn(settings, options, spec, since=since, until=until)
    write(built, Path(written))
