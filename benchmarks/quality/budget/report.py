"""What is printed: a line for each kind of stream as it is done, tables of delays with their floors, and the JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.machine import show_table
from benchmarks.quality.budget.delays import Delays
from benchmarks.quality.budget.false_alarms import Quiet
from benchmarks.quality.budget.notifications import Notifications
from benchmarks.quality.budget.speed import AIM_PER_SECOND, LEAST_PER_SECOND, Speed
from benchmarks.quality.budget.trial import Size
from detectors.reference.local_time import WEEK_SECONDS


@dataclass(slots=True)
class Results:
    """Everything that was measured; what was not asked for is empty."""

    size: Size
    seed: int
    quiet: Sequence[Quiet] = ()
    delays: list[Delays] = field(default_factory=list)
    notifications: list[Notifications] = field(default_factory=list)
    speed: Speed | None = None


def print_quiet(one: Quiet, size: Size) -> None:
    """Print the incidents of one kind of stream against its budget."""
    allowed = size.spec.false_alarms_per_week * size.weeks
    verdict = "within" if one.opened <= allowed else "OVER"
    counts = f"{one.opened:4d} incidents opened, {one.alerted:4d} features with an alert in {size.weeks:g} weeks"
    print(f"{one.kind:20} {counts}: {verdict} the budget of {allowed:g}", flush=True)


def print_delays(one: Delays) -> None:
    """Print how soon changes raised alarms on one kind of stream, and the floors."""
    features_a_week = one.alerted / one.weeks
    rows = [
        [change, str(len(found)), _seconds(one.median(change)), f"{one.missed(change):.2f}", ""]
        for change, found in one.found.items()
    ]
    rows.append(["alerted in all", "", "", "", f"{features_a_week:.0f}"])
    for name, floor in one.floors.items():
        rows.append([f"floor: {name}", "", _seconds(floor.median_s), f"{floor.missed:.2f}", f"{floor.alerted_per_week:.0f}"])
    print()
    show_table([one.kind, "changes", "median seconds", "missed", "features alerted a week"], rows)
    print(f"{one.elsewhere} verdicts on features that were not changed at that time", flush=True)


def _seconds(delay: float | None) -> str:
    return "-" if delay is None else f"{delay:.0f}"


def print_notifications(one: Notifications, features: int) -> None:
    """Print how one incident was notified."""
    what = f"{one.touched} of {features} features change at once, {one.sort}, seed {one.seed}"
    print(f"{what}: {one.alerted} in alerts, {one.count} notifications", flush=True)


def print_speed(one: Speed) -> None:
    """Print how fast windows are judged."""
    reached = "reached" if one.per_second >= LEAST_PER_SECOND else "NOT reached"
    aims = f"at least {LEAST_PER_SECOND:,.0f} {reached}, aim {AIM_PER_SECOND:,.0f}"
    print(f"\n{one.per_second:,.0f} windows of single features judged a second and core ({one.features} features): {aims}")


def as_json(results: Results) -> dict[str, Any]:
    """Return the object of the last line."""
    size = results.size
    found: dict[str, Any] = {
        "features": size.features,
        "weeks": size.weeks,
        "reference_days": size.reference_seconds / WEEK_SECONDS * 7,
        "budget_per_week": size.spec.false_alarms_per_week,
        "seed": results.seed,
        "false_alarms": {one.kind: one.opened for one in results.quiet},
        "features_alerted": {one.kind: one.alerted for one in results.quiet},
        "floors": {
            one.kind: {name: _rounded(dataclasses.asdict(floor)) for name, floor in one.floors.items()} for one in results.delays
        },
        "median_delay_s": {one.kind: {change: one.median(change) for change in one.found} for one in results.delays},
        "missed": {one.kind: {change: round(one.missed(change), 3) for change in one.found} for one in results.delays},
        "alerted_elsewhere": {one.kind: one.elsewhere for one in results.delays},
        # The worst round: one incident has to be one notification every time.
        "notifications_of_one_incident": max(
            (one.count for one in results.notifications), key=lambda count: abs(count - 1), default=None
        ),
        "notifications": [dataclasses.asdict(one) for one in results.notifications],
        "feature_windows_per_second": None if results.speed is None else round(results.speed.per_second),
    }
    return found


def _rounded(floor: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in floor.items()}
