"""`driftline models`: the stored versions, and which one is served."""

from __future__ import annotations

import click

from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.cli.readiness import require_redis
from driftline.text.tables import show_table
from serving.registry.versions import Registry
from streams.records.times import rfc3339
from streams.settings import Settings
from streams.state.store import Store


@click.group("models")
def command() -> None:
    """List the stored versions of a model, or promote one."""


@command.command("list")
@click.argument("model", required=False)
@configured
def list_(invocation: Invocation, model: str | None) -> None:
    """Print the stored versions of MODEL, or of every configured model, and which one is served."""
    settings = invocation.settings(need_key=True)
    names = [each.name for each in settings.models] if model is None else [known_model(invocation, settings, model).name]
    registry = _registry(settings)
    rows: list[list[str]] = []
    for name in names:
        pointer = registry.current(name)
        for version in registry.versions(name):
            served = pointer is not None and pointer.version == version
            since = rfc3339(pointer.moved_at) if pointer and served else ""
            by = f"generation {pointer.generation}, {pointer.by}" if pointer and served else ""
            rows.append([name, str(version), "served" if served else "", since, by])
        if not rows or rows[-1][0] != name:
            rows.append([name, "none", "", "", ""])
    show_table(["model", "version", "state", "since", "by"], rows)


@command.command("promote")
@click.argument("model")
@click.argument("version", type=click.IntRange(1))
@configured
def promote(invocation: Invocation, model: str, version: int) -> None:
    """Serve VERSION of MODEL from now on; an older one is a rollback.

    The command loads the version first, and refuses one that was altered or that does not fit this River or Python.
    """
    settings = invocation.settings(need_key=True)
    known_model(invocation, settings, model)
    registry = _registry(settings)
    registry.load(model, version)
    pointer = registry.rollback(model, version, by="driftline models promote")
    click.echo(f"model {model}: version {pointer.version} is served now (generation {pointer.generation})")


def _registry(settings: Settings) -> Registry:
    require_redis(settings)
    return Registry(Store(settings.redis, settings.signing_key))
