"""`driftline incident`: what a person decides about an open incident."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.cli.readiness import require_kafka, require_own_prefix
from driftline.references.accept import accept as accepted
from driftline.references.stored import read_monitor
from driftline.text.durations import format_duration
from streams.kafka import Sender
from streams.records.window_records import outgoing
from streams.state.store import Store

_ACCEPT_OPTIONS: Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]] = (
    click.option("--model", metavar="NAME", required=True, help="Model whose change is all right."),
    click.option("--incident", metavar="ID", help="The open incident; needed if there are several."),
    click.option("--feature", "features", metavar="NAME", multiple=True, help="Only this feature; may be given several times."),
)


@click.group("incident")
def command() -> None:
    """Accept the change of an open incident as the new normal."""


def acceptance_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which change is meant."""
    for option in reversed(_ACCEPT_OPTIONS):
        function = option(function)
    return function


@command.command("accept")
@acceptance_options
@configured
def accept(invocation: Invocation, *, model: str, incident: str | None, features: tuple[str, ...]) -> None:
    """Say that a change is all right: the data since the alarm are the new normal.

    The incident ends. Its features get a new reference, which is learned from the data since the alarm. The other features
    are judged as before. The command writes one record to the windows topic; writing it twice does no harm.
    """
    write_acceptance(invocation, model=model, incident=incident, features=features)


def write_acceptance(invocation: Invocation, *, model: str, incident: str | None, features: tuple[str, ...]) -> None:
    """Write the acceptance of the open incident that is meant to the windows topic, and print what it says.

    Raises:
        click.UsageError: the configuration has no such model.
        DriftlineError: no such incident is open, or more than one may be meant.
        UnavailableError: Kafka or Redis is away.
    """
    settings = invocation.settings(need_key=True)
    spec = known_model(invocation, settings, model)
    require_own_prefix(settings)
    monitor = read_monitor(Store(settings.redis, settings.signing_key), spec.name)
    acceptance = accepted(monitor, incident=incident, features=features)
    require_kafka(settings)
    message = outgoing(settings.kafka, acceptance)
    asyncio.run(Sender(settings.kafka, "incident-command").send_all([message]))
    for change in acceptance.changes:
        where = f" of segment {change.segment}" if change.segment else ""
        click.echo(f"accepted: {change.feature}{where}")
    click.echo(
        f"{acceptance.id} written to {message.topic}: the judge learns anew from the alarm on, and judges again once it has "
        f"{format_duration(spec.reference.seconds)} of it"
    )
