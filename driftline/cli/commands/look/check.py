"""`driftline check`: whether the configuration is right, and what it means."""

from __future__ import annotations

from collections.abc import Iterator

import click
import numpy as np

from detectors.errors import ConfigError
from detectors.reference.local_time import WEEK_SECONDS
from detectors.reference.season import OF_WEEK, choose
from detectors.spec import ModelSpec, width
from detectors.windows.record import Kind
from driftline.cli.invocation import Invocation, configured
from driftline.explain.join_room import connected_notes, room_note
from driftline.explain.unbudgeted import stock_notes
from driftline.text.durations import format_duration, format_rate
from driftline.text.tables import show_table
from retrainer.candidate import load_factory
from streams.records.times import rfc3339
from streams.settings import Settings


@click.command("check")
@click.option("--connect", is_flag=True, help="Look at the topics too: their settings, and whether what waits for labels fits.")
@configured
def command(invocation: Invocation, *, connect: bool) -> None:
    """Validate the configuration, and print what it means.

    It imports the model factories, and without --connect it connects to nothing. With faults, it prints each on a line, and the
    exit status is 2.
    """
    settings = invocation.settings(log_notes=False)
    _import_factories(invocation, settings)
    show_table(["setting", "value"], _settings_rows(settings), title=str(invocation.config))
    click.echo()
    headings = ["model", "window", "false alarms", "time zone", "features", "detector", "outcomes by", "retrained from"]
    show_table(headings, [_model_row(model) for model in settings.models])
    for note in _notes(settings):
        click.echo(f"note: {note}")
    if connect:
        for note in connected_notes(settings):
            click.echo(f"note: {note}")


def _import_factories(invocation: Invocation, settings: Settings) -> None:
    """Import every factory, and collect what goes wrong."""
    lines: list[str] = []
    for model in settings.models:
        try:
            if model.factory is not None:
                load_factory(model.factory)
        except ConfigError as error:
            lines.append(f"{invocation.config}: models.{model.name}.{' '.join(str(error).split())}")
    if lines:
        raise ConfigError("\n".join(lines))


def _settings_rows(settings: Settings) -> list[list[str]]:
    return [
        ["Kafka", f"{settings.kafka.bootstrap}, topics {settings.kafka.prefix}.*"],
        ["Redis", f"{_without_password(settings.redis.url)}, keys {settings.redis.prefix}:*"],
        ["HTTP service", f"{settings.serve.host}:{settings.serve.port}"],
        ["worker /metrics", f"{settings.metrics_host}:{settings.worker_metrics_port}"],
        ["retrainer /metrics", f"{settings.metrics_host}:{settings.retrainer_metrics_port}"],
        ["signing key", "set" if settings.signing_key else "none yet: worker, retrainer and serve need one"],
        ["webhook", "signed, set" if settings.webhook.url else "none"],
        ["Grafana annotations", "set" if settings.grafana.url and settings.grafana.token else "none"],
    ]


def _model_row(model: ModelSpec) -> list[str]:
    return [
        model.name,
        format_duration(model.window_seconds),
        format_rate(model.false_alarms_per_week),
        f"{model.timezone}, public holidays of {model.holidays}" if model.holidays else model.timezone,
        ", ".join(model.features) or f"all, {model.max_features} at most",
        model.detector,
        f"{model.outcomes.detector}, windows of {format_duration(model.outcome_window_seconds)}",
        model.factory if model.factory and model.retrain.enabled else "not retrained",
    ]


def _notes(settings: Settings) -> list[str]:
    notes = list(settings.notes)
    for model in settings.models:
        notes += [*stock_notes(model), *_season_notes(model), *_reference_notes(model)]
    notes.append(room_note(settings))
    if settings.grafana.url and not settings.grafana.token:
        notes.append("[grafana] url without a token: no annotations are sent")
    return notes


def _season_notes(model: ModelSpec) -> Iterator[str]:
    """Say so where no season knows the days of the week; a calendar of holidays changes nothing there."""
    features, outcomes = _unweekly(model, "features"), _unweekly(model, "outcomes")
    takes = 'a reference.duration of "2w", or of "4w" with windows of "30m" to "1d"'
    # What holds for features and for outcomes is said once.
    place, windows, length = f"models.{model.name}", "", features
    if features is None:
        place, windows, length = f"{place}.outcomes", " for outcomes", outcomes
    if length is None:
        return
    if model.holidays:
        both = features is not None and outcomes is not None
        yield (
            f'models.{model.name}.holidays "{model.holidays}" changes nothing{"" if both else windows or " for features"}: only '
            f"seasons of the week know a Sunday from other days, and they take {takes}"
        )
    else:
        yield (
            f"{place} judges a Saturday like a working day, for a reference of {format_duration(length)} "
            f"knows no week: where weekends differ, they are reported as drift. Seasons of the week take {takes}; `driftline "
            "reference build --windows` makes such a reference from the history of a model that is running"
        )


def _unweekly(model: ModelSpec, kind: Kind) -> float | None:
    """Return the length of the reference of that kind of windows, in seconds; None if its seasons know the days of the week."""
    seconds = width(model, kind)
    length = max(model.reference.seconds, model.reference.min_windows * seconds)
    reference_set = model.reference.reference_set
    if reference_set is not None and reference_set.segments.get(kind):
        length = reference_set.until - reference_set.since
    weekly = choose(seconds, length, np.arange(0.0, WEEK_SECONDS, seconds)) in OF_WEEK
    return None if weekly else length


def _reference_notes(model: ModelSpec) -> Iterator[str]:
    """Say which references the file contains that the configuration names."""
    reference_set = model.reference.reference_set
    if reference_set is not None:
        segments = ", ".join(f"{len(found):,} of {kind}" for kind, found in reference_set.segments.items())
        yield (
            f"models.{model.name} is judged from the first window on by references {reference_set.version}, learned from "
            f"{rfc3339(reference_set.since)} to {rfc3339(reference_set.until)}; segments: {segments}"
        )


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".partition("?")[0]
