"""The end of the demo, in words and as one JSON object."""

from __future__ import annotations

import csv
import json
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from detectors.reference.local_time import DAY_SECONDS
from driftline.demo.example import FIRST_ROWS, MODEL, first_model, module
from driftline.demo.story import Story

_MOST_LISTED = 12


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right predictions; None where there were no rows."""

    before: float | None
    frozen: float | None
    driftline: float | None


def accuracy(answers: Path) -> Accuracy:
    """Compare the answers that were served with those of the first model, which is trained no further.

    `before` leaves out the rows that the first model was trained on; the split is where the market
    is known to have changed.
    """
    with answers.open(newline="") as file:
        served = {int(number): predicted == truth for number, _, predicted, truth in csv.reader(file)}
    split = module("rows").JOINED_VICTORIA
    frozen = first_model()
    shadow = {
        row.number: frozen.predict_one(row.features) == row.up
        for row in module("rows").read_rows()
        if row.number >= split and row.number in served
    }
    return Accuracy(
        before=_share([right for number, right in served.items() if FIRST_ROWS <= number < split]),
        frozen=_share(list(shadow.values())),
        driftline=_share([right for number, right in served.items() if number >= split]),
    )


def _share(right: list[bool]) -> float | None:
    return round(sum(right) / len(right), 4) if right else None


def swaps_seen(url: str) -> list[dict[str, Any]]:
    """Return version and seconds of each swap, as the service measured them: pointer moved to first answer."""
    with urllib.request.urlopen(f"{url}/v1/models/{MODEL}", timeout=5) as response:  # noqa: S310 - our own child's address
        body = json.load(response)
    return [{"version": swap["version"], "seconds": round(swap["seconds"], 3)} for swap in body["swaps"]]


def windows_judged(metrics_url: str) -> int:
    """Return how many windows the worker judged."""
    with urllib.request.urlopen(metrics_url, timeout=5) as response:  # noqa: S310 - our own child's address
        lines = response.read().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("driftline_windows_judged_total{"))


def result(*, story: Story, sent: dict[str, Any], answers: Path, url: str, metrics_url: str, seconds: float) -> dict[str, Any]:
    """Return the JSON object."""
    swaps = swaps_seen(url)
    measured = accuracy(answers)
    versions = {swap["version"] for swap in swaps}
    closed = any(str(decision["version"]) in versions for _, _, decision in story.closed())
    return {
        "rows": sent["sent"],
        "windows": windows_judged(metrics_url),
        "alerts": [
            {
                "id": alert["id"],
                "model": alert["model"],
                "features": [verdict["feature"] for verdict in alert["features"]],
                "began_at": _time(alert["began_at"]),
                "raised_at": _time(alert["raised_at"]),
            }
            for alert in story.opened()
        ],
        "retrains": len(story.retrains),
        "swaps": swaps,
        "accuracy": {"before": measured.before, "frozen": measured.frozen, "driftline": measured.driftline},
        "requests": sent["sent"],
        "failed_requests": sent["failed"],
        "dead_letters": story.dead_letters(),
        "seconds": round(seconds, 1),
        "closed": closed and sent["failed"] == 0,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %b %Y")


def print_report(console: Console, story: Story, summary: dict[str, Any]) -> None:
    """Print what happened, for a person."""
    seconds = {swap["version"]: swap["seconds"] for swap in summary["swaps"]}
    closed = story.closed()
    console.print()
    for alert, request, decision in closed[:_MOST_LISTED]:
        _print_loop(console, alert, request, decision, seconds.get(str(decision["version"])))
    if len(closed) > _MOST_LISTED:
        console.print(f"... and {len(closed) - _MOST_LISTED} more loops like these.\n")
    if not closed:
        console.print("[bold red]The loop did not close:[/] no alert led to a swap.\n")
    kept = [decision for decision in story.decisions.values() if decision["decision"] != "promoted"]
    if kept:
        console.print(f"{len(kept)} other retrain(s) changed nothing, the last because: {kept[-1]['reason']}")
    figures = summary["accuracy"]
    table = Table(title="Share of right predictions", title_justify="left")
    for name in ("before the market changed", "after, first model frozen", "after, with Driftline"):
        table.add_column(name, justify="right")
    table.add_row(*("-" if value is None else f"{100 * value:.1f} %" for value in figures.values()))
    console.print(table)
    console.print(
        f"{summary['requests']:,} requests, {summary['failed_requests']} failed; {summary['windows']:,} windows judged; "
        f"{len(summary['alerts'])} incidents, {summary['retrains']} retrains, {len(summary['swaps'])} swaps; "
        f"{summary['dead_letters']} dead letters; {summary['seconds']:.0f} s."
    )


def _print_loop(
    console: Console, alert: dict[str, Any], request: dict[str, Any], decision: dict[str, Any], seconds: float | None
) -> None:
    delay = (alert["raised_at"] - alert["began_at"]) / DAY_SECONDS
    names = ", ".join(verdict["feature"] for verdict in alert["features"])
    console.print(
        f"[bold]{_day(alert['began_at'])}[/]  {names} changed [dim](reported {delay:.0f} days after the estimated begin)[/]"
    )
    for verdict in alert["features"]:
        console.print(f"    {verdict['feature']}: {verdict['words']}")
    asked, drifted = _day(request["requested_at"]), ", ".join(request["features"])
    console.print(f"    retrain asked for on {asked}, because of {request['reason']} in {drifted}")
    console.print(f"    {decision['reason']}")
    took = "" if seconds is None else f", answering {seconds:.2f} s after the pointer moved"
    console.print(f"    version {decision['previous']} -> {decision['version']}{took}\n")
