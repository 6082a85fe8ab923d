"""How every threshold of a model follows from its budget of false alarms, read from the judge's state.

Every number about monitors comes from the state. A note says where the configuration has changed since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detectors.arrays import Floats
from detectors.judging import budget
from detectors.judging.detectors import DETECTORS
from detectors.judging.judge import Judge
from detectors.judging.kinds import KIND_RULES
from detectors.judging.shares import sides_of
from detectors.judging.stock_rates import stock_rate
from detectors.model.channel import Channel
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.season import SEASON_NAMES
from detectors.spec import ModelSpec, width
from detectors.statistics import STATISTICS, StatisticName, place_of
from detectors.windows.record import Kind
from driftline.text import wording
from driftline.text.durations import format_duration, format_rate
from streams.records.times import rfc3339

__all__ = ["Account", "ThresholdRow", "explain"]

#: Thresholds that differ by less than this are the same.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """Monitors of one statistic of one segment.

    Args:
        windows: kind of windows.
        segment: its name; empty for rows without one.
        statistic: its name.
        detector: its name.
        monitors: how many.
        sides: 2, or 1 where only rises raise an alarm.
        windows_per_week: of each monitor, if the segment has one in every bucket.
        share_of_budget: from 0 to 1; None for a detector without a budget.
        false_alarms_per_week: expected of all of them.
        threshold: in standard deviations; None for a detector without one.
        fast_monitors: how many also have a fast path.
        fast_limit: two windows in a row above it raise an alarm on the fast path, in standard deviations; None without one.
        merged: how many windows are judged together, least and most.
        seasons: name of the season, with its calendar of public holidays -> number of monitors.
        correlation: of neighbouring windows, least and largest.
        reference_windows: how many windows the baselines were learned from, least and most.
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
    fast_monitors: int
    fast_limit: float | None
    merged: tuple[int, int]
    seasons: dict[str, int]
    correlation: tuple[float, float]
    reference_windows: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Account:
    """The thresholds of a model, and where they come from.

    Args:
        model: its name.
        budget_per_week: false alarms a week that the configuration allows.
        document: version of the reference set that was taken over last; None if none ever was.
        judged_until: event time that all sources of a kind of windows have reached, as text; None before that.
        rows: a row for each statistic of each segment.
        monitors: number of monitors of all rows.
        false_alarms_per_week: expected of all rows.
        arithmetic: how the thresholds follow, a sentence each.
        learning: what has no threshold yet, a sentence each.
        notes: what the user should know besides, a sentence each.
    """

    model: str
    budget_per_week: float
    document: str | None
    judged_until: dict[Kind, str | None]
    rows: list[ThresholdRow]
    monitors: int
    false_alarms_per_week: float
    arithmetic: list[str]
    learning: list[str]
    notes: list[str]


def explain(spec: ModelSpec, monitor: ModelMonitor) -> Account:
    """Return the thresholds in the state of a model, and how they follow from its budget."""
    rows = [row for channel in monitor.channels.values() for row in _rows(spec, channel)]
    return Account(
        model=spec.name,
        budget_per_week=spec.false_alarms_per_week,
        document=monitor.reference_set,
        judged_until={kind: _reached(channel) for kind, channel in monitor.channels.items()},
        rows=rows,
        monitors=sum(row.monitors for row in rows),
        false_alarms_per_week=sum(row.false_alarms_per_week for row in rows),
        arithmetic=[
            *(line for channel in monitor.channels.values() for line in _arithmetic(spec, channel, rows)),
            *_total(spec, rows),
        ],
        learning=[line for channel in monitor.channels.values() for line in _learning(spec, channel)],
        notes=[*_documents(spec, monitor), *(line for channel in monitor.channels.values() for line in _changes(spec, channel))],
    )


def _reached(channel: Channel) -> str | None:
    complete = channel.aligner.complete()
    return rfc3339(complete) if complete > 0 else None


def _rows(spec: ModelSpec, channel: Channel) -> Iterator[ThresholdRow]:
    every, fast = sides_of(channel.judges.values())
    for _, judge in sorted(channel.judges.items()):
        for place, statistic in enumerate(STATISTICS):
            if judge.monitors.watched[place].any():
                yield _row(spec, judge, statistic, every=every, fast=fast)


def _row(spec: ModelSpec, judge: Judge, statistic: StatisticName, *, every: float, fast: float) -> ThresholdRow:
    """Return the row of one statistic; `every` sides share half of the budget, and `fast` sides the other half."""
    monitors, place = judge.monitors, place_of(statistic)
    here = monitors.watched[place]
    up = bool(monitors.up[place][here].all())
    sides = ((2.0 - monitors.up[place]) / judge.rollup.rollup_widths)[here]
    armed = here & (monitors.fast[place] > 0)
    fast_sides = float(((2.0 - monitors.up[place]) / judge.rollup.rollup_widths)[armed].sum())
    per_week = budget.windows_per_week(judge.seconds)
    limit = fast_limit = share = None
    if DETECTORS[monitors.detector].budgeted:
        limit = monitors.threshold
        share = budget.SHARE * KIND_RULES[judge.kind].share * float(sides.sum()) / every
        alarms = budget.false_alarms_per_week(threshold=limit, window_seconds=judge.seconds, sides=float(sides.sum()))
        if fast_sides:
            fast_limit = monitors.limit
            share += (1 - budget.SHARE) * KIND_RULES[judge.kind].share * fast_sides / fast
            alarms += budget.fast_alarms_per_week(limit=fast_limit, window_seconds=judge.seconds, sides=fast_sides)
    else:
        rate = stock_rate(monitors.detector, "up" if up else "both")
        alarms = rate.per_1000_windows * int(here.sum()) * per_week / 1000
    return ThresholdRow(
        windows=judge.kind,
        segment=judge.segment,
        statistic=statistic,
        detector=monitors.detector,
        monitors=int(here.sum()),
        sides=1 if up else 2,
        windows_per_week=per_week,
        share_of_budget=share,
        false_alarms_per_week=alarms,
        threshold=limit,
        fast_monitors=int(armed.sum()) if fast_limit is not None else 0,
        fast_limit=fast_limit,
        merged=_span(judge.rollup.rollup_widths[here]),
        seasons=dict(
            Counter(
                wording.season(SEASON_NAMES[int(name)], spec.holidays)
                for name in monitors.scores.seasons.names[place][here].tolist()
            )
        ),
        correlation=(
            float(monitors.scores.correlation[place][here].min()),
            float(monitors.scores.correlation[place][here].max()),
        ),
        reference_windows=_span(monitors.scores.windows[place][here]),
    )


def _span(values: Floats) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _arithmetic(spec: ModelSpec, channel: Channel, rows: Sequence[ThresholdRow]) -> Iterator[str]:
    """Say how the threshold of one kind of windows follows from the budget that the configuration has."""
    budgeted = [row for row in rows if row.windows == channel.kind and row.threshold is not None]
    if not budgeted:
        return
    every, fast = sides_of(channel.judges.values())
    share = KIND_RULES[channel.kind].share
    allowed = budget.SHARE * share * spec.false_alarms_per_week
    per_week = budget.windows_per_week(next(iter(channel.judges.values())).seconds)
    h, limit = _limits(spec, channel)
    kind = channel.kind
    yield (
        f"{kind}: {spec.false_alarms_per_week:g} a week x {budget.SHARE:g} (the other half is the fast path's) x {share:g} "
        f"(windows of {kind}) = {allowed:g} false alarms a week, for {sum(row.monitors for row in budgeted):,} monitors with "
        f"{every:,.10g} sides and {per_week:,.10g} windows a week: one in {every:,.10g} x {per_week:,.10g} / {allowed:g} = "
        f"{every * per_week / allowed:,.0f} windows for each side, for which Siegmund's approximation gives h = {h:.2f}."
    )
    if fast:
        yield (
            f"{kind}, fast path: as many again, for {fast:,.10g} sides whose scores have the tails for it: two windows in a "
            f"row beyond {limit:.2f} standard deviations on one side."
        )
    if any(row.merged[1] > 1 for row in budgeted):
        yield (
            f"{kind}: features whose windows are much alike, or hold few values, are judged over several windows together; "
            "a side of theirs counts as the share of a window that it has."
        )


def _total(spec: ModelSpec, rows: Sequence[ThresholdRow]) -> Iterator[str]:
    if rows:
        monitors, alarms = sum(row.monitors for row in rows), sum(row.false_alarms_per_week for row in rows)
        yield (
            f"total: {monitors:,} monitors, {alarms:.3g} false alarms a week expected of a budget of "
            f"{format_rate(spec.false_alarms_per_week)}, if every segment has a window in every stretch of time."
        )


def _limits(spec: ModelSpec, channel: Channel) -> tuple[float, float]:
    """Return the threshold and the limit of the fast path that the configuration gives the monitors of a side."""
    every, fast = sides_of(channel.judges.values())
    allowed = KIND_RULES[channel.kind].share * spec.false_alarms_per_week
    seconds = next(iter(channel.judges.values())).seconds
    return (
        budget.threshold(false_alarms_per_week=allowed, window_seconds=seconds, sides=every),
        budget.fast_limit(false_alarms_per_week=allowed, window_seconds=seconds, sides=fast),
    )


def _learning(spec: ModelSpec, channel: Channel) -> Iterator[str]:
    """Say which segments have no threshold yet, and which features are not judged at the moment."""
    if not channel.judges:
        share = KIND_RULES[channel.kind].share
        yield f"{channel.kind}: no window has been judged yet; a share of {share:g} of the budget waits for them."
    wanted = f"{format_duration(spec.reference.seconds)} and {spec.reference.min_windows} windows"
    for segment, judge in sorted(channel.judges.items()):
        where = f"{channel.kind}{_of(segment)}"
        if judge.learner is not None:
            seen = judge.learner.until - (judge.learner.since or 0.0) if judge.learner.since is not None else 0.0
            yield (
                f"{where}: still learning, {judge.learner.seen:,} windows over {format_duration(seen)} of {wanted}; "
                f"its monitors will raise the thresholds of all {channel.kind} a little."
            )
        if judge.renewing:
            yield (
                f"{where}: not judged while a reference is learned: {wording.listed(list(judge.renewing))}; "
                "monitors that they had keep their share."
            )


def _documents(spec: ModelSpec, monitor: ModelMonitor) -> Iterator[str]:
    """Say so if the configuration names another reference set than the one that was taken over last."""
    reference_set = spec.reference.reference_set
    if reference_set is not None and reference_set.version != monitor.reference_set:
        taken = (
            "none was taken over yet" if monitor.reference_set is None else f"version {monitor.reference_set} was taken over last"
        )
        yield f"note: the configuration names references of version {reference_set.version}, {taken}: start the workers again."


def _changes(spec: ModelSpec, channel: Channel) -> Iterator[str]:
    """Say where the configuration has changed since the state was made, and which detectors have no budget."""
    seconds = width(spec, channel.kind)
    for segment, judge in sorted(channel.judges.items()):
        if judge.seconds != seconds:
            yield (
                f"note: windows of {channel.kind}{_of(segment)} were {format_duration(judge.seconds)} wide, the configuration "
                f"says {format_duration(seconds)}: a worker that starts with it learns a new reference."
            )
    judges = [judge for judge in channel.judges.values() if judge.monitors.watched.any()]
    kept = [judge.monitors.threshold for judge in judges if DETECTORS[judge.monitors.detector].budgeted]
    if kept and abs(kept[0] - (h := _limits(spec, channel)[0])) > _SAME:
        yield (
            f"note: {channel.kind} are judged with h = {kept[0]:.2f}, the configuration gives {h:.2f}: it has changed since the "
            "workers were started; start them again."
        )
    name = KIND_RULES[channel.kind].detector(spec)
    here = sorted({judge.monitors.detector for judge in judges})
    for other in here:
        if other != name:
            yield f"note: {channel.kind} are judged by {other}, the configuration says {name}: start the workers again."
    for stock in here:
        if not DETECTORS[stock].budgeted:
            rate = stock_rate(stock, KIND_RULES[channel.kind].direction)
            yield f"note: {stock} keeps no budget and takes no threshold; false alarms of a monitor: {rate}."


def _of(segment: str) -> str:
    return f" of segment {segment}" if segment else ""
