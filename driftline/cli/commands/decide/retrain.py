"""`driftline retrain`: a request by hand, on the same topic as the requests of the judge."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from detectors.identity import identity
from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.cli.readiness import require_kafka
from driftline.text.moments import Rfc3339Time
from streams.kafka import Outgoing, Sender
from streams.records.cloudevents import RETRAIN, encode
from streams.topics import RETRAINS, topic_name


@click.command("retrain")
@click.argument("model")
@click.option(
    "--since", metavar="TIME", type=Rfc3339Time(), help='Train on rows from this event time on, such as "2026-11-21T07:30:00Z".'
)
@configured
def command(invocation: Invocation, model: str, since: float | None) -> None:
    """Ask for a retrain of MODEL now.

    The retrainer decides as after drift: it swaps in a better model only.
    """
    settings = invocation.settings()
    if known_model(invocation, settings, model).factory is None:
        raise click.UsageError(f"model {model} has no factory in {invocation.config}, so nothing can be trained; add one")
    began_at = 0.0 if since is None else since  # 0: from the oldest row kept
    now = time.time()
    data: dict[str, Any] = {
        "model": model,
        "reason": "on_demand",
        "alert": None,
        "began_at": began_at,
        "requested_at": now,
        "features": [],
        "segment": "",
    }
    name = identity("retrain", model, "on_demand", began_at, now)
    require_kafka(settings)
    sender = Sender(settings.kafka, "retrain-command")
    message = Outgoing(topic_name(settings.kafka.prefix, RETRAINS), model.encode(), encode(RETRAIN, name, model, now, data))
    asyncio.run(sender.send_all([message]))
    click.echo(f"{name} written to {message.topic}: the retrainer answers on {settings.kafka.prefix}.swaps")
