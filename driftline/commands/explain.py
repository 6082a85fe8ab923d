"""`driftline explain`: how every threshold follows from the budget of false alarms.

Rules:
1. Read-only: the judge's snapshot is looked at as it was stored last, with workers running or stopped.
2. What is told of monitors comes from the snapshot; where the configuration says something else by now, that is said.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click

from detectors import budget
from detectors.detector import DETECTORS, stock_rate
from detectors.errors import DriftlineError, StateError
from detectors.judge import Judge
from detectors.monitor import Monitor
from detectors.side import Side, width
from detectors.spec import ModelSpec
from detectors.watch import Watch
from detectors.window import Kind
from driftline.checks import nearest
from driftline.durations import format_duration, format_rate
from driftline.invocation import Invocation, configured
from driftline.tables import show_table
from streams import binding, snapshot
from streams.cloudevents import rfc3339
from streams.store import Store

_HEADINGS = (
    *("windows", "segment", "statistic", "monitors", "windows a week", "share of budget", "false alarms a week", "h"),
    *("season", "correlation", "reference windows"),
)
#: Thresholds that differ by less than this are the same.
_SAME = 1e-6
#: At most so many names in one sentence.
_MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """Monitors of one statistic of one segment.

    Args:
        windows: kind of windows.
        segment: its name; empty for what has none.
        statistic: which.
        detector: by name.
        monitors: how many.
        sides: 2, or 1 where falls wake nobody.
        windows_per_week: of each monitor, if the segment has one in every bucket.
        share_of_budget: from 0 to 1; None for a detector that keeps none.
        false_alarms_per_week: expected of all of them.
        threshold: in standard deviations; None for a detector that takes none.
        seasons: name -> how many monitors have it.
        correlation: of a window with the one before it, least and largest.
        reference_windows: that the baselines were learned from, least and most.
    """

    windows: Kind
    segment: str
    statistic: str
    detector: str
    monitors: int
    sides: int
    windows_per_week: float
    share_of_budget: float | None
    false_alarms_per_week: float
    threshold: float | None
    seasons: dict[str, int]
    correlation: tuple[float, float]
    reference_windows: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a model's thresholds.

    Args:
        model: its name.
        budget_per_week: false alarms a week that the configuration allows.
        judged_until: event time that all sources of a kind of windows have reached, as text; None before that.
        rows: the table.
        monitors: in all of it.
        false_alarms_per_week: expected of all of it.
        arithmetic: how the thresholds follow, a sentence each.
        learning: what has no threshold yet, a sentence each.
        notes: what else must be known.
    """

    model: str
    budget_per_week: float
    judged_until: dict[Kind, str | None]
    rows: list[Row]
    monitors: int
    false_alarms_per_week: float
    arithmetic: list[str]
    learning: list[str]
    notes: list[str]


@click.group("explain")
def command() -> None:
    """Show how a model's thresholds follow from its budget of false alarms."""


@command.command("thresholds")
@click.option("--model", metavar="NAME", required=True, help="Model to explain.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def thresholds(invocation: Invocation, *, model: str, as_json: bool) -> None:
    """Print monitors, windows a week, share of the budget, threshold and season of a model.

    The judge's state is read from Redis as it was stored last; workers may run or not, and nothing is written.
    """
    settings = invocation.settings(need_key=True)
    spec = settings.model(model)
    if spec is None:
        known = [each.name for each in settings.models]
        raise click.UsageError(
            f"no model {model} in {invocation.config}; {nearest(model, known) or 'known: ' + ', '.join(known)}"
        )
    account = explain(spec, read_watch(Store(settings.redis, settings.signing_key), model))
    if as_json:
        click.echo(json.dumps(asdict(account), ensure_ascii=False))
        return
    if account.rows:
        show_table(_HEADINGS, [_cells(row) for row in account.rows], title=f"thresholds of {model}")
        click.echo()
    for kind, until in account.judged_until.items():
        if until is not None:
            click.echo(f"{kind}: judged up to {until}.")
    for sentence in (*account.arithmetic, *account.learning, *account.notes):
        click.echo(sentence)


def read_watch(store: Store, model: str) -> Watch:
    """Return the stored state of a model; its windows, keyed by it, are all judged in one partition.

    Raises:
        DriftlineError: there is none yet.
        StateError: it was altered, is of another make, or is being made again.
        UnavailableError: Redis is away.
    """
    bound = binding.recorded(store)
    if bound is not None and bound.rebuilding is not None:
        raise StateError(f"`driftline rebuild --from {bound.rebuilding}` has not finished: wait for it, or run it again")
    topic = None if bound is None else bound.topics.get("windows")
    for partition in range(topic.partitions if topic else 0):
        name = snapshot.name_of(partition)
        stored = store.load_snapshot(name)
        watch = None if stored is None else snapshot.load(name, stored[1]).get(model)
        if watch is not None:
            return watch
    raise DriftlineError(
        f"no state of model {model} under {store.prefix}:* in Redis yet: start `driftline worker` and send events; thresholds "
        "are there once a reference has been learned"
    )


def explain(spec: ModelSpec, watch: Watch) -> Account:
    """Return how the thresholds of a model came to be what they are in its state."""
    rows = [row for side in watch.sides.values() for row in _rows(side)]
    return Account(
        model=spec.name,
        budget_per_week=spec.false_alarms_per_week,
        judged_until={kind: _reached(side) for kind, side in watch.sides.items()},
        rows=rows,
        monitors=sum(row.monitors for row in rows),
        false_alarms_per_week=sum(row.false_alarms_per_week for row in rows),
        arithmetic=[*(line for side in watch.sides.values() for line in _arithmetic(spec, side, rows)), *_total(spec, rows)],
        learning=[line for side in watch.sides.values() for line in _learning(spec, side)],
        notes=[line for side in watch.sides.values() for line in _changes(spec, side)],
    )


def _reached(side: Side) -> str | None:
    complete = side.stream.complete()
    return rfc3339(complete) if complete > 0 else None


def _rows(side: Side) -> Iterator[Row]:
    total = sum(len(judge.monitors) for judge in side.judges.values())
    for _, judge in sorted(side.judges.items()):
        groups: dict[tuple[str, str], list[Monitor]] = {}
        for monitor in judge.monitors.values():
            groups.setdefault((monitor.statistic, monitor.detector), []).append(monitor)
        for (statistic, detector), monitors in groups.items():
            yield _row(judge, statistic, detector, monitors, of=total)


def _row(judge: Judge, statistic: str, detector: str, monitors: list[Monitor], *, of: int) -> Row:
    """Return the row of monitors of one statistic, of so many that share the budget."""
    count = len(monitors)
    sides = 2 if monitors[0].direction == "both" else 1
    baselines = [monitor.baseline for monitor in monitors]
    per_week = budget.windows_per_week(judge.seconds)
    if DETECTORS[detector].budgeted:
        limit: float | None = monitors[0].threshold
        share: float | None = budget.SHARE * budget.SHARES[judge.kind] * count / of
        alarms = budget.false_alarms_per_week(
            threshold=monitors[0].threshold, window_seconds=judge.seconds, monitors=count, sides=sides
        )
    else:
        limit = share = None
        alarms = stock_rate(detector, monitors[0].direction).per_1000_windows * count * per_week / 1000
    return Row(
        windows=judge.kind,
        segment=judge.segment,
        statistic=statistic,
        detector=detector,
        monitors=count,
        sides=sides,
        windows_per_week=per_week,
        share_of_budget=share,
        false_alarms_per_week=alarms,
        threshold=limit,
        seasons=dict(Counter(baseline.season.name for baseline in baselines)),
        correlation=(min(one.correlation for one in baselines), max(one.correlation for one in baselines)),
        reference_windows=(min(one.windows for one in baselines), max(one.windows for one in baselines)),
    )


def _arithmetic(spec: ModelSpec, side: Side, rows: Sequence[Row]) -> Iterator[str]:
    """Say how the threshold of one kind of windows follows from the budget that the configuration has."""
    mine = [row for row in rows if row.windows == side.kind and row.threshold is not None]
    if not mine:
        return
    monitors = sum(row.monitors for row in mine)
    share = budget.SHARES[side.kind]
    allowed = budget.SHARE * share * spec.false_alarms_per_week
    seconds = next(iter(side.judges.values())).seconds
    per_week = budget.windows_per_week(seconds)
    h = _threshold(spec, side)
    sides = 2 * monitors
    falls = "" if mine[0].sides == 2 else "; only rises are told, so half of it is expected"
    yield (
        f"{side.kind}: {spec.false_alarms_per_week:g} a week x {budget.SHARE:g} (the rest is kept for a fast path) x {share:g} "
        f"(windows of {side.kind}) = {allowed:g} false alarms a week, for {monitors:,} monitors with two sides each and "
        f"{per_week:,.10g} windows a week: one in {sides:,} x {per_week:,.10g} / {allowed:g} = {sides * per_week / allowed:,.0f} "
        f"windows for each side, for which Siegmund's approximation gives h = {h:.2f}{falls}."
    )


def _total(spec: ModelSpec, rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        monitors, alarms = sum(row.monitors for row in rows), sum(row.false_alarms_per_week for row in rows)
        yield (
            f"total: {monitors:,} monitors, {alarms:.3g} false alarms a week expected of a budget of "
            f"{format_rate(spec.false_alarms_per_week)}, if every segment has a window in every stretch of time."
        )


def _threshold(spec: ModelSpec, side: Side) -> float:
    """Return the threshold that the configuration gives the monitors of a side."""
    return budget.threshold(
        false_alarms_per_week=budget.SHARES[side.kind] * spec.false_alarms_per_week,
        window_seconds=next(iter(side.judges.values())).seconds,
        monitors=sum(len(judge.monitors) for judge in side.judges.values()),
    )


def _learning(spec: ModelSpec, side: Side) -> Iterator[str]:
    """Say what has no threshold yet, or is not judged at the moment."""
    if not side.judges:
        yield f"{side.kind}: no window has been judged yet; a share of {budget.SHARES[side.kind]:g} of the budget waits for them."
    wanted = f"{format_duration(spec.reference.seconds)} and {spec.reference.min_windows} windows"
    for segment, judge in sorted(side.judges.items()):
        where = f"{side.kind}{_of(segment)}"
        if judge.learner is not None:
            seen = judge.learner.until - (judge.learner.since or 0.0) if judge.learner.since is not None else 0.0
            yield (
                f"{where}: still learning, {judge.learner.seen:,} windows over {format_duration(seen)} of {wanted}; "
                f"its monitors will raise the thresholds of all {side.kind} a little."
            )
        if judge.renewing:
            yield (
                f"{where}: not judged while a reference is learned: {_names(list(judge.renewing))}; "
                "monitors that they had keep their share."
            )


def _changes(spec: ModelSpec, side: Side) -> Iterator[str]:
    """Say where the configuration is not what the state was made with, and what keeps no budget."""
    seconds = width(spec, side.kind)
    for segment, judge in sorted(side.judges.items()):
        if judge.seconds != seconds:
            yield (
                f"note: windows of {side.kind}{_of(segment)} were {format_duration(judge.seconds)} wide, the configuration says "
                f"{format_duration(seconds)}: a worker that starts with it learns a new reference."
            )
    monitors = [monitor for judge in side.judges.values() for monitor in judge.monitors.values()]
    kept = [monitor.threshold for monitor in monitors if DETECTORS[monitor.detector].budgeted]
    if kept and abs(kept[0] - (h := _threshold(spec, side))) > _SAME:
        yield (
            f"note: {side.kind} are judged with h = {kept[0]:.2f}, the configuration gives {h:.2f}: it has changed since the "
            "workers were started; start them again."
        )
    name = spec.detector if side.kind == "features" else spec.errors.detector
    for other in sorted({monitor.detector for monitor in monitors} - {name}):
        yield f"note: {side.kind} are judged by {other}, the configuration says {name}: start the workers again."
    for stock in sorted({monitor.detector for monitor in monitors if not DETECTORS[monitor.detector].budgeted}):
        rate = stock_rate(stock, monitors[0].direction)
        yield f"note: {stock} keeps no budget and takes no threshold; false alarms of a monitor: {rate}."


def _cells(row: Row) -> list[str]:
    seasons = sorted(row.seasons.items())
    low, high = row.correlation
    least, most = row.reference_windows
    return [
        row.windows,
        row.segment or "-",
        row.statistic,
        f"{row.monitors:,}",
        f"{row.windows_per_week:,.10g}",
        "none" if row.share_of_budget is None else f"{100 * row.share_of_budget:.3g} %",
        f"{row.false_alarms_per_week:.3g}",
        row.detector if row.threshold is None else f"{row.threshold:.2f}",
        seasons[0][0] if len(seasons) == 1 else ", ".join(f"{name} ({count:,})" for name, count in seasons),
        f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}",
        f"{least:,}" if least == most else f"{least:,} to {most:,}",
    ]


def _of(segment: str) -> str:
    return f" of segment {segment}" if segment else ""


def _names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
