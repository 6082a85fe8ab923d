"""The options that every command has, and the settings that they lead to."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from driftline.cli.logs import start_logging
from driftline.config.load import config_path, load_settings
from streams.settings import Settings

_log = logging.getLogger("driftline.config")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of the command line."""

    config: Path
    log_level: str

    def settings(self, *, need_key: bool = False, references: bool = True, log_notes: bool = True) -> Settings:
        """Start the log, read the configuration, and let factories beside it be imported.

        The directory of the file goes to the *end* of the import path: `factory = "shop.models:make"`
        works beside the file and can hide nothing that is installed. Without `references` files of those are not read.
        Old keys in the file are a warning each, unless `log_notes` says that the command prints them itself.

        Raises:
            ConfigError: the configuration has faults; all of them are in the message.
        """
        start_logging(self.log_level)
        settings = load_settings(self.config, os.environ, need_key=need_key, references=references)
        for note in settings.notes if log_notes else ():
            _log.warning("%s: %s", self.config, note)
        home = str(self.config.resolve().parent)
        if home not in sys.path:
            sys.path.append(home)
        return settings


def configured(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --config and, as its first argument, the `Invocation`."""

    @click.option(
        "--config", "-c", type=click.Path(path_type=Path), help="Configuration [default: $DRIFTLINE_CONFIG or ./driftline.toml]."
    )
    @click.pass_context
    @wraps(function)
    def command(ctx: click.Context, /, *args: Any, config: Path | None, **kwargs: Any) -> Any:
        given = ctx.find_root().obj
        path = config_path(config or given["config"], os.environ)
        return function(Invocation(path, given["log_level"]), *args, **kwargs)

    return command
