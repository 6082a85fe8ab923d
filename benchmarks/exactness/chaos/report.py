"""The report: a table for people, the differences one by one, and a JSON object for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.exactness.chaos.round import Result

_COUNTS = ("alerts", "retrains", "outcomes", "windows", "late", "dead", "repeats")
#: Figures for the JSON object alone.
_LEFT_OUT = ("disturbed", "stops", "longest_stop_ms")
_COLUMNS = ("scenario", "partitions", "seconds", "disturbed", *_COUNTS)


def table(results: Sequence[Result]) -> Table:
    """Return a row for each run."""
    made = Table(title=None)
    for name in _COLUMNS:
        made.add_column(name, justify="left" if name == "scenario" else "right")
    made.add_column("exact")
    for result in results:
        repeats = sum((result.repeats or {}).values())
        cells = (result.alerts, result.retrains, result.outcomes, result.windows, result.late, result.dead, repeats)
        made.add_row(
            result.name,
            str(result.partitions),
            f"{result.seconds:.0f}",
            _disturbed(result),
            *(f"{cell:,}" for cell in cells),
            "[green]yes[/]" if result.exact else "[bold red]NO[/]",
        )
    return made


def _disturbed(result: Result) -> str:
    return (
        ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in result.figures.items() if count and name not in _LEFT_OUT
        )
        or "-"
    )


def print_faults(console: Console, result: Result) -> None:
    """Print what is wrong with one run, nothing if it is exact."""
    for trouble in (*map(str, result.differences), *result.faults):
        console.print(f"{result.name}, {result.partitions} partitions: {trouble}", style="red", markup=False, highlight=False)


def as_json(results: Sequence[Result], *, seed: int, quick: bool, broken: str = "") -> dict[str, Any]:
    """Return the object of the last line; `broken` says why it ended before its end."""
    return {
        "benchmark": "chaos",
        "seed": seed,
        "quick": quick,
        "exact": bool(results) and not broken and all(result.exact for result in results),
        "error": broken or None,
        "scenarios": [
            {
                "name": result.name,
                "partitions": result.partitions,
                "exact": result.exact,
                "seconds": round(result.seconds, 1),
                "disturbances": result.figures,
                "alerts": result.alerts,
                "retrains": result.retrains,
                "outcomes": result.outcomes,
                "windows": result.windows,
                "late": result.late,
                "dead": result.dead,
                "ticks": result.ticks,
                "repeats": dict(result.repeats or {}),
                "differences": [str(difference) for difference in result.differences],
                "faults": list(result.faults),
            }
            for result in results
        ],
    }
