"""The command line: a table of commands, each loaded when it is called, and the function that turns errors into words.

Rules:
1. `driftline --help` imports click and nothing else: what a command needs is imported by its file.
2. An error that a user can mend is one line on stderr, without a traceback. The exit status is that of
   its kind (detectors/errors.py). DRIFTLINE_DEBUG=1 shows the traceback of every other error.
3. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from driftline.cli.packages import ShadowedError, check_packages
from driftline.cli.processor import advise_numpy

__all__ = ["COMMANDS", "HELP_SECTIONS", "main", "run"]

#: Folder in driftline/cli/commands/ -> its title in --help, and its commands with a line each. A folder is a reader: who runs
#: the processes, who looks, who decides, who looks after models. The command itself is `command` in FOLDER/NAME.py.
HELP_SECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "run": (
        "Run Driftline",
        {
            "demo": "Watch the loop close on 45,312 real rows, on this machine alone.",
            "topics": "Create or list the Kafka topics.",
            "worker": "Join, summarise and judge: the monitoring process.",
            "retrainer": "Answer retrain requests: train, compare, swap.",
            "serve": "Answer predictions over HTTP and swap models without a pause.",
            "rebuild": "Make derived data again, with the workers stopped.",
            "dashboards": "Write the Grafana dashboard and the Prometheus rules.",
        },
    ),
    "look": (
        "Look, and change nothing",
        {
            "check": "Validate the configuration, and print what it means.",
            "explain": "Show how a model's thresholds follow from its budget, and what became of its predictions and labels.",
            "replay": "Print the alerts that a file would have raised, without Kafka.",
        },
    ),
    "decide": (
        "Decide",
        {
            "incident": "Accept the change of an open incident as the new normal.",
            "retrain": "Ask for a retrain of MODEL now.",
        },
    ),
    "models": (
        "Models and references",
        {
            "models": "List the stored versions of a model, or promote one.",
            "reference": "Learn from a file what is normal, or show what was learned.",
        },
    ),
}
#: Command -> its line in --help.
COMMANDS: dict[str, str] = {name: line for _, commands in HELP_SECTIONS.values() for name, line in commands.items()}
_FOLDERS: dict[str, str] = {name: folder for folder, (_, commands) in HELP_SECTIONS.items() for name in commands}
INTERRUPTED = 130


class CommandTable(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"driftline.cli.commands.{_FOLDERS[cmd_name]}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first argument; without one of that name, fail and name the nearest."""
        if args and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            known = ", ".join(COMMANDS)
            ctx.fail(f'no command "{args[0]}"; {f"did you mean {near[0]}?" if near else f"known: {known}"}')
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, without importing any command."""
        longest = max(map(len, COMMANDS))
        for title, commands in HELP_SECTIONS.values():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(longest), line) for name, line in commands.items()])


@click.command(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="driftline", message="driftline %(version)s")
@click.option(
    "--config", "-c", type=click.Path(path_type=Path), help="Configuration [default: $DRIFTLINE_CONFIG or ./driftline.toml]."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="What is written to stderr.",
)
@click.pass_context
def cli(ctx: click.Context, config: Path | None, log_level: str) -> None:
    """Driftline: a streaming drift monitor that closes the loop.

    Exit status: 0 done, 1 failed, 2 wrong configuration or usage, 3 a service or port is not there, 4 stored state does not fit.
    """
    ctx.obj = {"config": config, "log_level": log_level.lower()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; no exception leaves here."""
    advise_numpy()
    try:
        check_packages()
        code = cli.main(args=None if arguments is None else list(arguments), prog_name="driftline", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place: an error that is not put into words here is a traceback for the user
        return _tell(error)
    return code if isinstance(code, int) else 0


def _tell(error: Exception) -> int:
    if isinstance(error, ShadowedError):
        _say(str(error))
        return 2
    from detectors.errors import ConfigError, DriftlineError  # noqa: PLC0415 - only after check_packages: it may be another's

    if isinstance(error, ConfigError):
        click.echo(str(error), err=True)  # every line names its file already
        return error.exit_code
    if isinstance(error, DriftlineError):
        _say(" ".join(str(error).split()))
        return error.exit_code
    if os.environ.get("DRIFTLINE_DEBUG") == "1":
        traceback.print_exception(error)
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        _say(
            f"unexpected {type(error).__name__} at {place}: {' '.join(str(error).split())}; DRIFTLINE_DEBUG=1 shows the traceback"
        )
    return 1


def _say(text: str) -> None:
    click.echo(f"driftline: {text}", err=True)
