"""`driftline rebuild`: derived data, made again from the log."""

from __future__ import annotations

import sys
from typing import cast

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.readiness import require_kafka, require_redis
from streams.state.binding import Source


@click.command("rebuild")
@click.option(
    "--from",
    "source",
    type=click.Choice(["windows", "events"]),
    required=True,
    help="windows: judge the history again. events: make outcomes and windows again as well.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow-loss", is_flag=True, help="Go on even if data are lost that cannot be made again.")
@configured
def command(invocation: Invocation, *, source: str, yes: bool, allow_loss: bool) -> None:
    """Make derived data again, with the workers stopped.

    Alerts come again with the ids they had. Events, models, alerts and decisions on retrains stay. Running it twice does no
    harm; after an interruption run it again.
    """
    settings = invocation.settings(need_key=True)
    require_kafka(settings)
    require_redis(settings)
    from streams.state.rebuild import Rebuild  # noqa: PLC0415 - numpy and river take a second; --help and a missing broker do not wait

    with Rebuild(settings) as rebuild:
        plan = rebuild.plan(cast("Source", source), allow_loss=allow_loss)
        for sentence in plan.sentences():
            click.echo(f"- {sentence}")
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("nobody is there to ask: add --yes")
            click.confirm("Go on?", abort=True)
        for done in rebuild.carry_out(plan):
            click.echo(done)
    click.echo("done: start the workers")
