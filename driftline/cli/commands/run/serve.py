"""`driftline serve`: the HTTP service."""

from __future__ import annotations

from dataclasses import replace

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.readiness import require_kafka, require_own_prefix, require_port, require_redis


@click.command("serve")
@click.option("--host", help="Address to listen on [default: [serve] host].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any [default: [serve] port].")
@configured
def command(invocation: Invocation, host: str | None, port: int | None) -> None:
    """Answer predictions over HTTP and swap models without a pause."""
    settings = invocation.settings(need_key=True)
    http = settings.serve
    http = replace(http, host=http.host if host is None else host, port=http.port if port is None else port)
    settings = replace(settings, serve=http)
    require_kafka(settings)
    require_redis(settings)
    require_own_prefix(settings)
    require_port(http.host, http.port, "[serve] port")
    from serving.http.run import serve  # noqa: PLC0415 - river and aiohttp take a second; --help and a missing broker do not wait

    serve(settings)
