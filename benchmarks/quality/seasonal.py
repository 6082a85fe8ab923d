"""Alarms and finds on real series with a daily and a weekly cycle, with changes put in at known times.

    python -m benchmarks.seasonal [--quick] [--answered] [--alarms] [--no-holidays] [--data DIR]

Rules:
1. Judged by the product alone: rows become windows, windows are judged, an alarm is an alert that opens an incident.
2. One setting for all series: windows of three hours, four weeks of reference, and the time zone and the public
   holidays (unless --no-holidays) of the country or state that the data are from. The rest is default. Each series is
   a model of its own, so each has the whole budget of a model.
3. The series as they are give the alarms per week. They hold holidays and real changes: an alarm there counts, whatever
   it was. Nobody answers it: there is no swap, so an incident is open until the series is back at its reference. With
   --answered every alarm is answered at once by a promoted swap, and four weeks from then on are the new reference.
4. At each onset the judge is copied and goes on with a changed future, so that every onset meets the judge as it was at
   that time. A change that comes while an incident is open or a reference is learned raises no alarm of its own, and
   counts as missed; a column of its own says the share found while an alarm could be raised.
5. Found by chance is what the unchanged series alarms about in the same days.

The last line is one JSON object: series, changes, floors and the two figures to reach.
"""

from __future__ import annotations

import argparse
import copy
import csv
import gzip
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.machine import run, show_table
from benchmarks.quality.scoring import found_share, random_share, regular_share
from detectors.arrays import Floats
from detectors.errors import UnavailableError
from detectors.incidents.alert import Alert
from detectors.incidents.decision import Decision
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.local_time import DAY_SECONDS, WEEK_SECONDS
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.record import Mark, Window, WindowShape
from detectors.windows.row import Row
from detectors.windows.windows import Windows

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
WINDOW_SECONDS = 3 * 3600.0
REFERENCE_SECONDS = 28 * DAY_SECONDS
#: A change counts as found when an incident opens so soon.
WITHIN_SECONDS = 3 * DAY_SECONDS
#: Between onsets, in windows: over ten days, and over the years every hour of the week.
_ONSET_WINDOWS = 83
_FLOOR_SECONDS = WEEK_SECONDS
#: What is to be reached: alarms per week and series, and the share of +1 sd that is found.
MOST_ALARMS, LEAST_FOUND, HEADLINE = 0.10, 0.44, "level +1 sd"


@dataclass(frozen=True, slots=True)
class Source:
    """A column of a file: readings every `step_seconds` from `begin` on, epoch seconds, the rows before `skip` left out."""

    file: str
    column: str
    begin: float
    step_seconds: float
    timezone: str = "UTC"
    holidays: str = ""
    skip: int = 0


#: Power supply and taxi have the time of the place, with 24 hours on every day: their zone is UTC. The market's clock knows
#: no summer time, the people behind it do. Before row 17,424 the columns of Victoria are constant.
_ITALY = 788_918_400.0  # 1 January 1995, a Sunday as in the data
_NEW_YORK = 1_404_172_800.0  # 1 July 2014
_SYDNEY = 831_391_200.0  # 7 May 1996 at 00:00 +10:00
SOURCES = {
    "power main": Source("powersupply.csv.gz", "main", _ITALY, 3600, holidays="IT"),
    "power other": Source("powersupply.csv.gz", "other", _ITALY, 3600, holidays="IT"),
    "taxi": Source("nab/nyc_taxi.csv.gz", "value", _NEW_YORK, 1800, holidays="US-NY"),
    **{
        f"elec2 {name}": Source("elec2.csv.gz", name, _SYDNEY, 1800, "Australia/Sydney", holidays, skip)
        for name, holidays, skip in (
            ("nswdemand", "AU-NSW", 0),
            ("nswprice", "AU-NSW", 0),
            ("vicdemand", "AU-VIC", 17_424),
            ("vicprice", "AU-VIC", 17_424),
            ("transfer", "AU", 17_424),  # between the two states: what they have in common
        )
    },
}


@dataclass(frozen=True, slots=True)
class Series:
    """Readings, with their event times in epoch seconds, both of shape (n,)."""

    name: str
    times: Floats
    values: Floats
    timezone: str
    holidays: str = ""


#: (readings after the onset, mean and standard deviation of the reference, dice) -> what they become.
Change = Callable[[Floats, float, float, np.random.Generator], Floats]
CHANGES: dict[str, Change] = {
    "level +0.5 sd": lambda values, _mean, sd, _draw: values + 0.5 * sd,
    HEADLINE: lambda values, _mean, sd, _draw: values + sd,
    "level -1 sd": lambda values, _mean, sd, _draw: values - sd,
    "level +2 sd": lambda values, _mean, sd, _draw: values + 2 * sd,
    "amplitude x0.5": lambda values, mean, _sd, _draw: mean + 0.5 * (values - mean),
    "amplitude x1.5": lambda values, mean, _sd, _draw: mean + 1.5 * (values - mean),
    "noise 0.5 sd": lambda values, _mean, sd, draw: values + draw.normal(0.0, 0.5 * sd, len(values)),
    "noise 1 sd": lambda values, _mean, sd, draw: values + draw.normal(0.0, sd, len(values)),
}


def read_columns(home: Path, file: str) -> dict[str, list[str]]:
    """Return the columns of a data set, as text.

    Raises:
        UnavailableError: there is no such file.
    """
    path = home / file
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as lines:
            names, *rows = csv.reader(lines)
    except OSError as error:
        why = error.strerror or str(error)
        raise UnavailableError(f"{path}: {why}; name the directory of the data sets with --data DIR") from None
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def read(home: Path, names: Sequence[str], *, weeks: float | None = None, holidays: bool = True) -> list[Series]:
    """Return series by name, only their first weeks if so many are named, with or without their holidays."""
    files: dict[str, dict[str, list[str]]] = {}
    found = []
    for name in names:
        source = SOURCES[name]
        columns = files.setdefault(source.file, {}) or read_columns(home, source.file)
        files[source.file] = columns
        values = np.array(columns[source.column], dtype=np.float64)
        times = source.begin + source.step_seconds * np.arange(len(values), dtype=np.float64)
        until = len(values) if weeks is None else source.skip + int(weeks * WEEK_SECONDS / source.step_seconds)
        calendar = source.holidays if holidays else ""
        found.append(Series(name, times[source.skip : until], values[source.skip : until], source.timezone, calendar))
    return found


class JudgedSeries:
    """A series as the product judges it; `opened` are its alarms, in order."""

    def __init__(self, spec: ModelSpec, monitor: ModelMonitor, *, answered: bool = False) -> None:
        self._spec = spec
        self._answered = answered
        self.monitor = monitor
        shape = WindowShape(spec.window_seconds, spec.lateness_seconds)
        self._windows = Windows("features", source=0, sources=1, shapes={spec.name: shape})
        self._rows = 0
        self.opened: list[Alert] = []

    def add(self, times: Floats, values: Floats) -> None:
        """Take readings; a window is judged when the first reading behind it comes."""
        rows = [
            Row(self._rows + place, self._spec.name, at, "", {"value": value})
            for place, (at, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True))
        ]
        self._rows += len(rows)
        self._judge(self._windows.add_rows(rows).records)

    def end(self, at: float) -> None:
        """Judge what ends at or before `at`."""
        self._judge(self._windows.add_rows([Row(self._rows, self._spec.name, at, "", None)]).records)
        self._rows += 1

    def _judge(self, records: Sequence[Window | Mark]) -> None:
        for record in records:
            for found in self.monitor.add(record):
                if isinstance(found, Alert) and found.status == "opened":
                    self.opened.append(found)
                    if self._answered:
                        self.monitor.add(promoted(found))

    @property
    def watching(self) -> bool:
        """Whether no incident is open and no reference is being learned, so that an alarm can be raised."""
        judges = self.monitor.channels["features"].judges.values()
        return not (self.monitor.learning or self.monitor.open_incidents or any(judge.renewing for judge in judges))


def promoted(alert: Alert) -> Decision:
    """Return the answer to an alarm that makes what comes from then on the new reference of what drifted."""
    features = [verdict.feature for verdict in alert.features]
    return Decision(alert.id, alert.model, alert.id, "promoted", 2, features, requested_at=alert.raised_at)


@dataclass(slots=True)
class SeriesResult:
    """What became of a series.

    Args:
        weeks: judged, those of the reference apart.
        alarms: on the series as it is.
        onsets: of changes, epoch seconds.
        watched: whether each of them came while an alarm could be raised.
        delays: change -> for each onset seconds until it was found, None if not in time.
    """

    name: str
    weeks: float
    alarms: list[Alert] = field(default_factory=list)
    onsets: list[float] = field(default_factory=list)
    watched: list[bool] = field(default_factory=list)
    delays: dict[str, list[float | None]] = field(default_factory=lambda: {name: [] for name in CHANGES})

    @property
    def chance(self) -> float:
        """Share of onsets after which the unchanged series alarms in time."""
        return found_share(self.onsets, [alert.raised_at for alert in self.alarms], WITHIN_SECONDS)


def judge(series: Series, budget: float, seed: int, *, answered: bool = False) -> SeriesResult:
    """Judge a series as it is and, from each onset on, with each change."""
    spec = ModelSpec(
        "m",
        false_alarms_per_week=budget,
        window_seconds=WINDOW_SECONDS,
        timezone=series.timezone,
        holidays=series.holidays,
        reference=ReferenceSpec(seconds=REFERENCE_SECONDS),
    )
    bucket = np.floor(series.times / WINDOW_SECONDS)
    known = series.times < series.times[0] + REFERENCE_SECONDS
    mean, sd = float(series.values[known].mean()), float(series.values[known].std())
    plain = JudgedSeries(spec, ModelMonitor.begin(spec), answered=answered)
    begin = series.times[0] + REFERENCE_SECONDS
    found = SeriesResult(series.name, weeks=float(series.times[-1] - begin) / WEEK_SECONDS)
    cuts = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(bucket)]
    draw = np.random.default_rng(seed)
    first = round(REFERENCE_SECONDS / WINDOW_SECONDS) + _ONSET_WINDOWS // 2
    for number, (low, high) in enumerate(pairwise(cuts)):
        plain.add(series.times[low:high], series.values[low:high])
        onset = low + int(draw.integers(high - low))
        ahead = series.times <= series.times[onset] + WITHIN_SECONDS
        if number < first or (number - first) % _ONSET_WINDOWS or ahead[-1]:
            continue
        found.onsets.append(float(series.times[onset]))
        found.watched.append(plain.watching)
        until = int(np.flatnonzero(ahead)[-1]) + 1
        for name, change in CHANGES.items():
            values = series.values[low:until].copy()
            values[onset - low :] = change(values[onset - low :], mean, sd, draw)
            found.delays[name].append(_delay(spec, plain.monitor, series.times[low:until], values, onset - low))
    plain.end(float(series.times[-1]) + WINDOW_SECONDS)
    found.alarms = plain.opened
    return found


def _delay(spec: ModelSpec, monitor: ModelMonitor, times: Floats, values: Floats, onset: int) -> float | None:
    """Return how soon after its onset a change is found by a copy of the judge, in seconds, or None."""
    changed = JudgedSeries(spec, copy.deepcopy(monitor))
    changed.add(times, values)
    changed.end(float(times[onset]) + WITHIN_SECONDS)
    delays = [alert.raised_at - float(times[onset]) for alert in changed.opened]
    return next((delay for delay in delays if 0 < delay <= WITHIN_SECONDS), None)


def summary(outcomes: Sequence[SeriesResult]) -> dict[str, Any]:
    """Return what is printed as JSON: every onset and every week count alike, whatever the series."""
    total = _figures(outcomes)
    rate = total["alarms"] / sum(outcome.weeks for outcome in outcomes)
    return {
        "benchmark": "seasonal",
        **total,
        "median_hours": {name: _median_hours([delay for one in outcomes for delay in one.delays[name]]) for name in CHANGES},
        "floors": {
            "never": {"alarms_per_week": 0.0, "found": 0.0},
            "every week": {
                "alarms_per_week": round(WEEK_SECONDS / _FLOOR_SECONDS, 3),
                "found": round(regular_share(_FLOOR_SECONDS, WITHIN_SECONDS), 3),
            },
            "random": {"alarms_per_week": round(rate, 3), "found": round(random_share(rate / WEEK_SECONDS, WITHIN_SECONDS), 3)},
        },
        "series": {outcome.name: _figures([outcome]) for outcome in outcomes},
        "aim": {"alarms_per_week": MOST_ALARMS, "found": LEAST_FOUND, "change": HEADLINE},
        "reached": rate <= MOST_ALARMS and total["found"][HEADLINE] >= LEAST_FOUND,
    }


def _figures(outcomes: Sequence[SeriesResult]) -> dict[str, Any]:
    weeks = sum(outcome.weeks for outcome in outcomes)
    alarms = sum(len(outcome.alarms) for outcome in outcomes)
    onsets = sum(len(outcome.onsets) for outcome in outcomes)
    watched = [one for outcome in outcomes for one in outcome.watched]
    hits = {name: [delay is not None for outcome in outcomes for delay in outcome.delays[name]] for name in CHANGES}
    seen = {name: [hit for hit, flag in zip(mine, watched, strict=True) if flag] for name, mine in hits.items()}
    return {
        "weeks": round(weeks, 1),
        "alarms": alarms,
        "alarms_per_week": round(alarms / weeks, 3),
        "onsets": onsets,
        "onsets_watched": _share(watched),
        "found": {name: _share(mine) for name, mine in hits.items()},
        "found_where_watched": {name: _share(mine) for name, mine in seen.items()},
        "found_by_chance": round(sum(outcome.chance * len(outcome.onsets) for outcome in outcomes) / max(1, onsets), 3),
    }


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(1, len(flags)), 3)


def _median_hours(delays: Sequence[float | None]) -> float | None:
    times = [delay for delay in delays if delay is not None]
    return round(statistics.median(times) / 3600, 1) if times else None


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    days = WITHIN_SECONDS / DAY_SECONDS
    print(f"Found: an incident opened within {days:g} days. sd: of the readings of the reference.\n")
    floors: dict[str, dict[str, float]] = result["floors"]
    rows = [_row(name, one) for name, one in [*result["series"].items(), ("all", result)]]
    for name, floor in floors.items():
        rows.append([f"floor: {name}", "", "", f"{floor['alarms_per_week']:.2f}", "", "", f"{floor['found']:.2f}", "", ""])
    found = f"{HEADLINE} found"
    show_table(["series", "weeks", "alarms", "a week", "onsets", "watched", found, "where watched", "by chance"], rows)
    print()
    rows = []
    for name, share in result["found"].items():
        hours = result["median_hours"][name]
        seen, chance = result["found_where_watched"][name], result["found_by_chance"]
        figures = [share, seen, chance, *(floor["found"] for floor in floors.values())]
        rows.append([name, *(f"{figure:.2f}" for figure in figures), "-" if hours is None else f"{hours:g}"])
    show_table(["change", "found", "where watched", "by chance", *(f"floor: {name}" for name in floors), "median hours"], rows)
    verdict = "reached" if result["reached"] else "not reached"
    print(f"\n{verdict}: at most {MOST_ALARMS} alarms per week and series (it is {result['alarms_per_week']}),")
    print(f"at least {LEAST_FOUND} of {HEADLINE} found (it is {result['found'][HEADLINE]})")


def show_alarms(series: Sequence[Series], outcomes: Sequence[SeriesResult]) -> None:
    """Print when the change began that each alarm on the unchanged series dates, in their own time."""
    rows = []
    for one, outcome in zip(series, outcomes, strict=True):
        for alert in outcome.alarms:
            began = datetime.fromtimestamp(alert.began_at, ZoneInfo(one.timezone))
            rows.append([one.name, began.strftime("%a %Y-%m-%d %H:%M"), alert.features[0].words])
    print()
    show_table(["series", "began", "what changed"], rows)


def _row(name: str, one: dict[str, Any]) -> list[str]:
    shares = [one["onsets_watched"], one["found"][HEADLINE]]
    shares += [one["found_where_watched"][HEADLINE], one["found_by_chance"]]
    counts = [f"{one['weeks']:.0f}", str(one["alarms"]), f"{one['alarms_per_week']:.2f}", str(one["onsets"])]
    return [name, *counts, *(f"{share:.2f}" for share in shares)]


def main() -> None:
    """Print the tables and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seasonal")
    parser.add_argument("--quick", action="store_true", help="the first 16 weeks of three series")
    parser.add_argument("--data", type=Path, default=DATA, help="directory of the data sets (default: ../shared/data)")
    parser.add_argument("--false-alarms", type=float, default=ModelSpec("m").false_alarms_per_week, help="budget of a week")
    parser.add_argument("--answered", action="store_true", help="answer every alarm by a swap, and learn a new reference")
    parser.add_argument("--alarms", action="store_true", help="also list what was raised on the series as they are")
    parser.add_argument("--no-holidays", action="store_true", help="without the calendars of public holidays")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()

    def benchmark() -> tuple[dict[str, Any], int]:
        names = ["power main", "taxi", "elec2 nswdemand"] if arguments.quick else list(SOURCES)
        chosen = read(arguments.data, names, weeks=16.0 if arguments.quick else None, holidays=not arguments.no_holidays)
        budget, seed = arguments.false_alarms, arguments.seed
        outcomes = [judge(series, budget, seed, answered=arguments.answered) for series in chosen]
        result = summary(outcomes)
        show(result)
        if arguments.alarms:
            show_alarms(chosen, outcomes)
        return result, 0

    run(benchmark)


if __name__ == "__main__":
    main()
