"""`driftline reference`: references made from files, and what the stored ones contain."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from detectors.model.model_monitor import ModelMonitor
from driftline.cli.commands.decide.incident import acceptance_options, write_acceptance
from driftline.cli.file_options import form_of, mapped, model_of, require_apart
from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.readers.options import Options
from driftline.references import show
from driftline.references.build import build as learned
from driftline.references.stored import read_monitor
from driftline.references.write import write
from driftline.text.moments import Rfc3339Time
from driftline.text.tables import show_table
from streams.records.times import rfc3339
from streams.state.references import References
from streams.state.store import Store


@click.group("reference")
def command() -> None:
    """Learn from a file what is normal, or show what was learned."""


@command.command("build")
@mapped
@click.option(
    "--from", "since", metavar="TIME", type=Rfc3339Time(), help='Only windows from then on, such as "2026-11-21T07:30:00Z".'
)
@click.option("--to", "until", metavar="TIME", type=Rfc3339Time(), help="Only windows that end by then.")
@click.option("--output", "-o", "written", metavar="OUT", help="File to write [default: NAME.reference.json].")
@configured
def build(invocation: Invocation, /, **given: Any) -> None:
    """Learn a model's references from a time when all was well, and write them to a file.

    FILE has rows or events, as for `driftline replay`, or windows with --windows; --windows without FILE takes those in
    Kafka. Name the written file in `[models.NAME.reference] file`: workers judge by it from the first window on.
    """
    settings = invocation.settings(references=False)
    form, delimiter = form_of(given)
    known = [model.name for model in settings.models]
    name = model_of(invocation, settings, given, form) or (known[0] if len(known) == 1 else None)
    if name is None:
        raise click.UsageError(f"{invocation.config} has several models: say with --model which one; {', '.join(known)}")
    spec = known_model(invocation, settings, name)
    written = given["written"] or f"{name}.reference.json"
    require_apart(given["file"], written, "--output")
    since = -math.inf if given["since"] is None else given["since"]
    until = math.inf if given["until"] is None else given["until"]
    if since >= until:
        raise click.UsageError("--from is not before --to: no window lies between them")
    options = Options.of(given, form=form, delimiter=delimiter, model=spec.name)
    write(learned(settings, options, spec, since=since, until=until), Path(written))


@command.command("accept", hidden=True)
@acceptance_options
@configured
def accept(invocation: Invocation, *, model: str, incident: str | None, features: tuple[str, ...]) -> None:
    """Old name of `driftline incident accept`."""
    click.echo(
        "driftline: `reference accept` is `driftline incident accept` now; the next version does not have the old one", err=True
    )
    write_acceptance(invocation, model=model, incident=incident, features=features)


@command.command("show")
@click.argument("name", metavar="FILE|VERSION")
@click.option("--model", metavar="NAME", help="Model of the references [default: the one that has that version].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def show_contents(invocation: Invocation, *, name: str, model: str | None, as_json: bool) -> None:
    """Print what references contain: for each feature what is normal, and which statistics are watched.

    Name a file that `driftline reference build` wrote, or a version that `driftline reference list` prints. A version is read
    from Redis; a file needs no configuration. Nothing is written.
    """
    if show.is_version(name):
        settings = invocation.settings(need_key=True, references=False)
        models = [each.name for each in settings.models]
        if model is not None:
            known_model(invocation, settings, model)
        found = show.in_store(Store(settings.redis, settings.signing_key), models, name, model)
    else:
        found = show.in_file(Path(name), model)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False))
        return
    show_table(["what", "value"], list(show.head(found)))
    click.echo()
    show_table(show.SEGMENT_HEADINGS, [show.segment_row(segment) for segment in found.segments])
    click.echo()
    features = [show.feature_row(segment, feature) for segment in found.segments for feature in segment.features]
    show_table(show.FEATURE_HEADINGS, features)


@command.command("list")
@click.option("--model", metavar="NAME", required=True, help="Model whose references are listed.")
@configured
def list_(invocation: Invocation, *, model: str) -> None:
    """Print the versions of a model's references: those from files, and those that the judge learned for each segment.

    It reads the state that the judge stored last. Nothing is written.
    """
    settings = invocation.settings(need_key=True)
    name = known_model(invocation, settings, model).name
    store = Store(settings.redis, settings.signing_key)
    references, monitor = References(store), read_monitor(store, name)
    rows = [*_of_files(references, monitor), *_of_segments(references, monitor)]
    if not rows:
        rows.append(["none", "", "", "", "", "learning" if monitor.learning else ""])
    show_table(["version", "from", "segment", "features", "learned", "state"], rows)


def _of_files(references: References, monitor: ModelMonitor) -> Iterator[list[str]]:
    for version in references.versions(monitor.model):
        reference_set = references.reference_set(monitor.model, version)
        if reference_set is not None:
            segments = reference_set.segments["features"]
            features = {feature for found in segments.values() for feature in found.learned}
            learned = f"{rfc3339(reference_set.since)} to {rfc3339(reference_set.until)}"
            state = "taken over last" if version == monitor.reference_set else ""
            yield [version, "a file", f"{len(segments):,} in all", f"{len(features):,}", learned, state]


def _of_segments(references: References, monitor: ModelMonitor) -> Iterator[list[str]]:
    for segment, judge in sorted(monitor.channels["features"].judges.items()):
        anew = f"; learned anew: {', '.join(sorted(judge.renewing))}" if judge.renewing else ""
        for version, found, now in references.published(monitor.model, segment):
            since = f"held from {rfc3339(found.at)}" if found.at > 0 else "held when the judge began"
            yield [version, "the judge", segment or "-", f"{len(found.features):,}", since, f"in force{anew}" if now else ""]
