"""A model named on the command line: whether the configuration has it."""

from __future__ import annotations

import click

from driftline.cli.invocation import Invocation
from driftline.text.nearest import nearest


def known_model(invocation: Invocation, known: list[str], name: str) -> str:
    """Return the name of a model if the configuration has it.

    Raises:
        click.UsageError: it has not.
    """
    if name not in known:
        raise click.UsageError(f"no model {name} in {invocation.config}; {nearest(name, known) or 'known: ' + ', '.join(known)}")
    return name
