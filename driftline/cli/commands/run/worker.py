"""`driftline worker`: the monitoring process."""

from __future__ import annotations

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.readiness import require_kafka, require_port, require_redis


@click.command("worker")
@configured
def command(invocation: Invocation) -> int:
    """Join, summarise and judge: the monitoring process.

    Several workers share the partitions. /metrics is on [worker] metrics_port.
    """
    settings = invocation.settings(need_key=True)
    require_kafka(settings)
    require_redis(settings)
    require_port(settings.metrics_host, settings.worker_metrics_port, "[worker] metrics_port")
    # Faust takes half a second; --help and a missing broker do not wait for it.
    from driftline.annotating import AnnotationSink  # noqa: PLC0415 - see above
    from streams.metrics import Metrics  # noqa: PLC0415 - see above
    from streams.worker.app import run_worker  # noqa: PLC0415 - see above

    metrics = Metrics()
    if not (settings.grafana.url and settings.grafana.token):
        return run_worker(settings, metrics=metrics)
    sink = AnnotationSink(settings.grafana, metrics)
    try:
        return run_worker(settings, metrics=metrics, sinks=[sink])
    finally:
        sink.close()
