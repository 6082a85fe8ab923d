"""`driftline retrainer`: the process that answers retrain requests."""

from __future__ import annotations

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.readiness import require_kafka, require_own_prefix, require_port, require_redis


@click.command("retrainer")
@configured
def command(invocation: Invocation) -> None:
    """Answer retrain requests: train, compare, swap.

    /metrics is on [retrainer] metrics_port.
    """
    settings = invocation.settings(need_key=True)
    require_kafka(settings)
    require_redis(settings)
    require_own_prefix(settings)
    require_port(settings.metrics_host, settings.retrainer_metrics_port, "[retrainer] metrics_port")
    from retrainer.worker import run_retrainer  # noqa: PLC0415 - river takes a second; --help and a missing broker do not wait

    run_retrainer(settings)
