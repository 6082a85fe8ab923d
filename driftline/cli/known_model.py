"""A model named on the command line: whether the configuration has it."""

from __future__ import annotations

import click

from detectors.spec import ModelSpec
from driftline.cli.invocation import Invocation
from driftline.text.nearest import nearest
from streams.settings import Settings


def known_model(invocation: Invocation, settings: Settings, name: str) -> ModelSpec:
    """Return what the configuration asks of the model of that name.

    Raises:
        click.UsageError: there is none; the message names the nearest model, or all.
    """
    spec = settings.model(name)
    if spec is None:
        known = [each.name for each in settings.models]
        raise click.UsageError(f"no model {name} in {invocation.config}; {nearest(name, known) or 'known: ' + ', '.join(known)}")
    return spec
