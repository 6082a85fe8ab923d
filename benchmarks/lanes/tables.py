"""The table of each full form, in Markdown, from what its parts printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.lanes.lane import Printed
from benchmarks.speed.join.report import FIGURES
from driftline.text.tables import markdown


def _cell(value: Any) -> str:
    """Return a figure as it stands in a table: shares with two digits, counts with none, nothing as a dash.

    >>> _cell(0.456), _cell(3902.0), _cell(None), _cell("daily")
    ('0.46', '3,902', '-', 'daily')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _rows(rows: Iterable[Sequence[Any]]) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in rows]


def _merged(printed: Sequence[Printed], name: str) -> dict[str, Any]:
    """Return one object of the parts' objects of that name."""
    return {key: value for part in printed for key, value in part[name].items()}


def budget(printed: Sequence[Printed]) -> str:
    """Return incidents by kind of stream, delays by change, and what one incident is to on-call."""
    opened, medians, floors = (_merged(printed, name) for name in ("false_alarms", "median_delay_s", "floors"))
    size = f"{_cell(printed[0]['features'])} features, {printed[0]['weeks']:g} weeks"
    allowed = printed[0]["budget_per_week"] * printed[0]["weeks"]
    incidents = markdown(
        ["incidents on streams in which nothing changes", *opened, "allowed"], _rows([[size, *opened.values(), allowed]])
    )
    changes = list(next(iter(medians.values())))
    rows = [[kind, *found.values()] for kind, found in medians.items()]
    rows += [[f"floor: {name}", *[floor["median_s"]] * len(changes)] for name, floor in next(iter(floors.values())).items()]
    delays = markdown(["median seconds to the alert", *changes], _rows(rows))
    notifications = max(part["notifications_of_one_incident"] or 0 for part in printed)
    speed = max(part["feature_windows_per_second"] or 0 for part in printed)
    return (
        f"{incidents}\n\n{delays}\n\nOne incident that touches many features is {notifications} notification at most.\n"
        f"One core judges {_cell(speed)} windows of single features a second."
    )


def seasonal(printed: Sequence[Printed]) -> str:
    """Return alarms and finds of all series, of each change and of each series."""
    (result,) = printed
    aim = result["aim"]
    rows = [["Driftline", result["alarms_per_week"], result["found"][aim["change"]], result["onsets_watched"]]]
    rows += [[f"floor: {name}", floor["alarms_per_week"], floor["found"], ""] for name, floor in result["floors"].items()]
    rows.append(["**wanted**", f"at most {aim['alarms_per_week']}", f"at least {aim['found']}", ""])
    total = markdown(["", "alarms per week and series", f"{aim['change']} found", "watched"], _rows(rows))
    named = {"found": "found", "found_where_watched": "where watched", "median_hours": "median hours"}
    by_change = markdown(["", *result["found"]], _rows([[words, *result[name].values()] for name, words in named.items()]))
    change = aim["change"]
    of_series = [
        [name, one["alarms_per_week"], one["onsets_watched"], one["found"][change], one["found_where_watched"][change]]
        for name, one in result["series"].items()
    ]
    by_series = markdown(["series", "alarms a week", "watched", f"{change} found", "where watched"], _rows(of_series))
    return f"{total}\n\n{by_change}\n\n{by_series}"


def points(printed: Sequence[Printed]) -> str:
    """Return the figures of each data set and of its floors."""
    names = {"alarms": "alarms", "f1": "F1", "covering": "covering", "false_alarms": "false", "delay_rows": "delay in rows"}
    rows = [
        [f"{data}, {found['rows']:,} rows, margin {found['margin']:,}", who, *(one[name] for name in (*names, "missed"))]
        for data, found in printed[0]["data"].items()
        for who, one in found.items()
        if isinstance(one, Mapping)
    ]
    return markdown(["data", "alarms of", *names.values(), "missed"], _rows(rows))


def injected(printed: Sequence[Printed]) -> str:
    """Return the figures of each watcher, abrupt / gradual, then F1 by kind of drift, then the first table with settled swaps."""
    result, settled = printed
    return "\n\n".join([_watchers(result), _by_kind(result), "With `--settled`:", _watchers(settled)])


_OF_WATCHERS = {
    "f1": "F1",
    "f1_but_for_repeats": "but for repeats",
    "precision": "precision",
    "recall": "recall",
    "recall_where_errors_rise": "where errors rise",
    "delay_rows": "delay in rows",
    "false_per_100k": "false in 100,000 rows",
}


def _watchers(result: Printed) -> str:
    abrupt, gradual = result["abrupt"]["watchers"], result["gradual"]["watchers"]
    rows = [
        [name, *(f"{_cell(abrupt[name][figure])} / {_cell(gradual[name][figure])}" for figure in _OF_WATCHERS)] for name in abrupt
    ]
    return markdown(["alarms of", *_OF_WATCHERS.values()], rows)


def _by_kind(result: Printed) -> str:
    abrupt, gradual = result["abrupt"]["kinds"], result["gradual"]["kinds"]
    rows = [
        [kind, " / ".join(f"{name} {_cell(one['f1'])}" for found in (abrupt, gradual) for name, one in found[kind].items())]
        for kind in abrupt
    ]
    return markdown(["kind of drift", "F1, abrupt and then gradual"], rows)


def stock(printed: Sequence[Printed]) -> str:
    """Return the rate of each detector on each stream."""
    rows = [
        [name, one["direction"], one["stream"], one["rate"], one["standard_error"]]
        for name, found in printed[0]["detectors"].items()
        for one in found
    ]
    return markdown(["detector", "direction", "stream", "false alarms in 1,000 windows", "+-"], _rows(rows))


def chaos(printed: Sequence[Printed]) -> str:
    """Return what each scenario left, by number of partitions."""
    counts = ("alerts", "retrains", "outcomes", "windows", "dead")
    rows = [
        [
            one["name"],
            one["partitions"],
            *(one[name] for name in counts),
            sum(one["repeats"].values()),
            "yes" if one["exact"] else "NO",
        ]
        for part in printed
        for one in part["scenarios"]
    ]
    return markdown(["scenario", "partitions", *counts, "repeats", "exact"], _rows(rows))


def soak(printed: Sequence[Printed]) -> str:
    """Return the trend of each measure."""
    rows = [
        [name, one["at_first"], one["growth"], one["allowed"], "flat" if one["flat"] else "grows"]
        for name, one in printed[0]["trends"].items()
    ]
    return markdown(["measure", "at first", "growth", "allowed", ""], _rows(rows))


def throughput(printed: Sequence[Printed]) -> str:
    """Return the ratios, a column for each data set."""
    data = _merged(printed, "data")
    ratios = {
        "events a second to those of a plain Faust agent with an ADWIN for each number": "ratio_to_plain_faust",
        "to those of a bare loop, by CPU time": "cpu_ratio_to_bare_loop",
        "to those of a bare loop, by the clock (it waits for its client)": "ratio_to_bare_loop",
    }
    rows = [[words, *(one[figure] for one in data.values())] for words, figure in ratios.items()]
    return markdown(["ratio", *data], _rows(rows))


def throughput_constants(printed: Sequence[Printed]) -> dict[str, float]:
    """Return the constants of docs/scaling.md that throughput measures; events are those of the numeric data set."""
    data = _merged(printed, "data")
    return {
        "worker_events_per_second": min(part["events_per_second"]["least"]["driftline"] for part in printed),
        "event_bytes": data["numeric"]["bytes_per_event"],
        "stored_event_bytes": data["numeric"]["stored_bytes_per_event"],
        "broker_write_microseconds": data["numeric"]["broker_microseconds_per_event_written"],
        "feature_window_bytes": data["numeric"]["bytes_per_feature_of_a_window"],
    }


def scale(printed: Sequence[Printed]) -> str:
    """Return how two workers compare with one."""
    rows = [["by the clock", printed[0]["ratio_by_clock"]], ["by CPU time", printed[0]["ratio_by_cpu"]]]
    return markdown(["two workers to one, with the broker on the same cores", "ratio"], _rows(rows))


def join(printed: Sequence[Printed]) -> str:
    """Return the figures of the join, with what each must be and what it was before; then the steps of a worker."""
    result = {key: value for part in printed for key, value in part.items()}
    rows = [figure.row(result) for figure in FIGURES if figure.value(result) is not None]
    figures = markdown(["figure", "measured", "must", "aim", "before, at 86be610"], rows)
    steps = markdown(["step of a worker", "CPU us of each"], _rows(result["steps"]["microseconds"].items()))
    return f"{figures}\n\n{steps}"


def join_constants(printed: Sequence[Printed]) -> dict[str, float]:
    """Return the constant of docs/scaling.md that the join measures."""
    return {"join_prediction_bytes": next(part["memory_bytes"]["classes"] for part in printed if "memory_bytes" in part)}


def latency(printed: Sequence[Printed]) -> str:
    """Return the delays of alerts."""
    names = ("alerts", "events_per_second", "p50_seconds", "p99_seconds", "max_seconds")
    return markdown([name.replace("_", " ") for name in names], _rows([[printed[0][name] for name in names]]))


def growth(printed: Sequence[Printed]) -> str:
    """Return the slopes of each size."""
    rows = [[one["axis"], one["size"], one["microseconds"], one["time_slope"], one["memory_slope"]] for one in printed[0]["rows"]]
    return markdown(["what grows", "size", "microseconds an event", "slope of time", "slope of memory"], _rows(rows))


def figures(*names: str) -> Any:
    """Return what makes a table of single figures of the one part."""
    return lambda printed: markdown(["figure", "value"], _rows([[name, printed[0][name]] for name in names]))
