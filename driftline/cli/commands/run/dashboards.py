"""`driftline dashboards`: files for Grafana and Prometheus, made from the metric catalogue."""

from __future__ import annotations

from pathlib import Path

import click

from dashboards.build import write


@click.group("dashboards")
def command() -> None:
    """Write the Grafana dashboard and the Prometheus rules."""


@command.command("build")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def build(directory: Path) -> None:
    """Write them into DIRECTORY; files of an earlier run are replaced."""
    for path in write(directory):
        click.echo(path)
