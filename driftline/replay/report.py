"""The end of a replay, on stderr: a table of the models, and notes for a person."""

from __future__ import annotations

from collections.abc import Mapping

import click

from detectors.spec import ModelSpec
from driftline.readers.options import Options
from driftline.readers.stretch import LabelCount
from driftline.replay.replaying import ModelTally, Replaying
from driftline.text.durations import format_duration
from driftline.text.tables import show_table
from streams.records.times import rfc3339

_HEADINGS = ["model", "rows", "from", "to", "windows", "opened", "updated", "resolved", "retrains", "judged from"]


def report(replaying: Replaying, models: Mapping[str, ModelSpec], options: Options) -> None:
    """Print the table and the notes."""
    tallies = replaying.tallies()
    show_table(_HEADINGS, [_row(model, tally) for model, tally in tallies.items()], err=True)
    for note in [*_notes(tallies, models), *_label_notes(replaying.labels, models), *fault_notes(replaying, options)]:
        click.echo(f"note: {note}", err=True)


def _row(model: str, tally: ModelTally) -> list[str]:
    seen = tally.first <= tally.last
    return [
        model,
        f"{tally.rows:,}",
        rfc3339(tally.first) if seen else "-",
        rfc3339(tally.last) if seen else "-",
        f"{tally.judged:,}",
        *(f"{tally.alerts.get(status, 0):,}" for status in ("opened", "updated", "resolved")),
        f"{tally.requests:,}",
        "nothing" if tally.judged_from is None or not seen else rfc3339(max(tally.judged_from, tally.first)),
    ]


def _notes(tallies: Mapping[str, ModelTally], models: Mapping[str, ModelSpec]) -> list[str]:
    notes: list[str] = []
    for name, tally in tallies.items():
        spec = models[name]
        reference = format_duration(spec.reference.seconds)
        if tally.other_widths:
            widths = " and ".join(
                f"{count:,} windows of {format_duration(width)}" for width, count in sorted(tally.other_widths.items())
            )
            notes.append(
                f"{name}: {widths} were not judged: models.{name}.window is {format_duration(spec.window_seconds)} now; windows "
                "cannot be made narrower or wider, replay the rows"
            )
        if tally.judged and tally.judged_from is None:
            notes.append(
                f"{name}: nothing was judged: the first {reference} of event time, in {spec.reference.min_windows} windows at "
                f"least, are learned from, and there were no more; shorten models.{name}.reference.duration, or learn "
                "beforehand from another file (`driftline reference build`)"
            )
        elif tally.learning:
            notes.append(f"{name}: a segment, or the outcomes, still learned at the end: they need {reference} of event time")
        if tally.late:
            notes.append(
                f"{name}: {tally.late:,} rows came after their window was closed and are in none: sort the file by time, or "
                f"raise models.{name}.lateness, which is {format_duration(spec.lateness_seconds)}"
            )
        if tally.waiting:
            notes.append(f"{name}: {tally.waiting:,} windows were not judged: not all partitions have come as far")
    return notes


def _label_notes(labels: Mapping[str, LabelCount], models: Mapping[str, ModelSpec]) -> list[str]:
    """Return how many labels made no outcome, where some did not."""
    notes: list[str] = []
    for name, count in sorted(labels.items()):
        if count.without_prediction:
            notes.append(
                f"{name}: {count.without_prediction:,} of {count.labels:,} labels found no prediction in the file: is the id of "
                "a label that of its prediction?"
            )
        if count.too_late:
            within = format_duration(models[name].outcomes.label_within_seconds)
            notes.append(
                f"{name}: {count.too_late:,} of {count.labels:,} labels came too late: raise "
                f"models.{name}.outcomes.label_within, which is {within}"
            )
    return notes


def fault_notes(replaying: Replaying, options: Options) -> list[str]:
    """Return how many rows were unusable, and the first of them."""
    if not replaying.faults:
        return []
    counted = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(replaying.faults.items()))
    bad = sum(replaying.faults.values())
    return [
        f"{bad:,} of {replaying.rows:,} {'rows' if options.form else 'records'} could not be used ({counted})",
        *fault_lines(replaying, options),
    ]


def fault_lines(replaying: Replaying, options: Options) -> list[str]:
    """Return line and reason of the first unusable rows."""
    place = {"parquet": "row", None: "record"}.get(options.form, "line")
    return [f"{place} {fault.line:,}: {fault.detail}" for fault in replaying.first_faults]
