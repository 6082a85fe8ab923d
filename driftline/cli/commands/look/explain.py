"""`driftline explain`: how every threshold follows from the budget of false alarms; explain_join.py: what waits for labels.

Rules:
1. Read-only: the command reads the snapshot that the judge stored last, with workers running or stopped.
2. Numbers about monitors come from the snapshot. A note says where the configuration has changed since.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from driftline.cli.commands.look.explain_join import join
from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.explain.thresholds import ThresholdRow, explain
from driftline.references.stored import read_monitor
from driftline.text.tables import show_table
from driftline.text.wording import span
from streams.state.store import Store

_HEADINGS = (
    *("windows", "segment", "statistic", "monitors", "windows a week", "share of budget", "false alarms a week", "h"),
    *("fast path", "windows judged together", "season", "correlation", "reference windows"),
)


@click.group("explain")
def command() -> None:
    """Show how a model's thresholds follow from its budget, and what became of its predictions and labels."""


command.add_command(join)


@command.command("thresholds")
@click.option("--model", metavar="NAME", required=True, help="Model to explain.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def thresholds(invocation: Invocation, *, model: str, as_json: bool) -> None:
    """Print monitors, windows a week, share of the budget, threshold and season of a model.

    It reads the state that the judge stored last, from Redis. Workers may run or not, and nothing is written.
    """
    settings = invocation.settings(need_key=True)
    spec = known_model(invocation, settings, model)
    account = explain(spec, read_monitor(Store(settings.redis, settings.signing_key), model))
    if as_json:
        click.echo(json.dumps(asdict(account), ensure_ascii=False))
        return
    if account.rows:
        show_table(_HEADINGS, [_cells(row) for row in account.rows], title=f"thresholds of {model}")
        click.echo()
    for kind, until in account.judged_until.items():
        if until is not None:
            click.echo(f"{kind}: judged up to {until}.")
    if account.document is not None:
        click.echo(f"references: version {account.document} was taken over from a file.")
    for sentence in (*account.arithmetic, *account.learning, *account.notes):
        click.echo(sentence)


def _cells(row: ThresholdRow) -> list[str]:
    seasons = sorted(row.seasons.items())
    return [
        row.windows,
        row.segment or "-",
        row.statistic,
        f"{row.monitors:,}",
        f"{row.windows_per_week:,.10g}",
        "none" if row.share_of_budget is None else f"{100 * row.share_of_budget:.3g} %",
        f"{row.false_alarms_per_week:.3g}",
        row.detector if row.threshold is None else f"{row.threshold:.2f}",
        "-" if row.fast_limit is None else f"{row.fast_limit:.2f} ({row.fast_monitors:,})",
        span(*row.merged),
        seasons[0][0] if len(seasons) == 1 else ", ".join(f"{name} ({count:,})" for name, count in seasons),
        span(*row.correlation, ".2f"),
        span(*row.reference_windows),
    ]
