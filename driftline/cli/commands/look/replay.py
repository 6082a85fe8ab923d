"""`driftline replay`: the alerts that a file would have raised."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from driftline.cli.file_options import form_of, mapped, model_of, require_apart
from driftline.cli.invocation import Invocation, configured
from driftline.readers.options import Options

_PIPE_GONE = 141  # the exit status that a shell gives a program that SIGPIPE ended


@click.command("replay")
@mapped
@click.option("--write-windows", metavar="FILE", help="Write the windows to a file, to judge them again with --windows.")
@click.option("--all", "requests", is_flag=True, help="Print requests to retrain as well.")
@configured
def command(invocation: Invocation, /, **given: Any) -> int:
    """Print the alerts that a file would have raised, without Kafka.

    FILE is CSV, JSON Lines or Parquet, or - for stdin. Every column that no option names is a feature. JSON Lines without
    --time are events, as on the events topic. stdout gets one CloudEvent a line. The command needs no Redis and no signing
    key, and Kafka only for --windows without FILE.
    """
    settings = invocation.settings()
    form, delimiter = form_of(given)
    require_apart(given["file"], given["write_windows"], "--write-windows")
    options = Options.of(given, form=form, delimiter=delimiter, model=model_of(invocation, settings, given, form))
    from driftline.replay.run import replay  # noqa: PLC0415 - numpy and river take a second; a wrong option does not wait

    try:
        replay(settings, options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the pipe has ended; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_GONE
    return 0
