"""Change points that people annotated or that makers of data put in: which are found, how soon, and what is false.

    python -m benchmarks.points [--quick] [--data DIR]

Rules:
1. Judged by the product alone: rows become windows, windows are judged, an alarm is an alert that opens an incident.
2. One setting for all: the defaults, with the shortest reference there can be, 24 windows. These data have no time that means
   anything, so a window is a minute; how many rows it holds is what their length allows (1, 5 or 50).
3. The loop is closed: what drifted is answered by a promoted swap, and gets a new reference. Of series the swap comes at once. A
   classifier is trained on the first rows and served as it is; after an alarm the next one is trained on rows since the estimated
   change, and swapped in as soon as it has as many. Its errors are all that is judged then.
4. A change point is scored where the alarm dates it (`began_at`), within a margin; a delay ends where the alarm was raised.
5. Annotators count alike; what any of them marked is not false. Changes in the first rows, before anything can be judged, count.
6. River's series are always there. Others are left out where their files are absent; where --data names a directory they must be.

The last line is one JSON object: data set -> figures, each with its floors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from river import linear_model, naive_bayes, optim, preprocessing
from river.drift import datasets

from benchmarks.machine import run, show_table
from benchmarks.quality.paced_monitor import REFERENCE_WINDOWS, Alarm, PacedMonitor
from benchmarks.quality.scoring import at_random, covering, delays, every, f1, matched
from benchmarks.quality.seasonal import DATA, read_columns
from detectors.errors import UnavailableError
from detectors.incidents.alert import Alert
from detectors.spec import ModelSpec
from detectors.windows.row import ERROR

#: The floor `every N` alarms after so many windows: twice the reference, so that it has about the chances of the product.
_EVERY_WINDOWS = 2 * REFERENCE_WINDOWS
#: Draws of alarms at random, of which the mean is shown.
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class PointSeries:
    """A data set.

    Args:
        rows: features of each row.
        annotators: rows at which something changed, by each annotator; those who made the data are one.
        margin: rows by which the place of an alarm may be off.
        per_window: rows of a window.
        labels: of each row, where a classifier is watched.
        make: returns an untrained classifier; `training` rows make one that is served.
    """

    name: str
    rows: list[dict[str, float]]
    annotators: list[list[int]]
    margin: int
    per_window: int
    labels: list[int] = field(default_factory=list)
    make: Callable[[], Any] | None = None
    training: int = 0


#: Margin of the Turing change point benchmark for annotated series, in rows.
_TURING_MARGIN = 5
#: River's series; its Apple, Brent and Bitcoin annotations are indexed on another grid than their series, and left out.
SERIES = {
    "coal": datasets.UKCoalEmploy(),
    "airline": datasets.AirlinePassengers(),
    "run log": datasets.RunLog(),
    "occupancy": datasets.Occupancy(),
}


def _logistic() -> Any:
    """Return an untrained classifier, that of the example."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.05))


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file with labels, and changes every `regime` rows; the margin is a tenth of that."""

    file: str
    regime: int
    per_window: int
    make: Callable[[], Any]
    training: int


LABELLED = {
    "sea": Labelled("sea_50k.csv.gz", 12_500, 50, naive_bayes.GaussianNB, 300),
    "usenet": Labelled("usenet1.csv.gz", 300, 5, _logistic, 100),
}


def annotated(name: str) -> PointSeries:
    """Return one of River's series."""
    found = SERIES[name]
    rows = [y if isinstance(y, dict) else {"value": float(y)} for _, y in found]
    return PointSeries(name, rows, [sorted(changes) for changes in found.annotations.values()], _TURING_MARGIN, per_window=1)


def labelled(name: str, home: Path) -> PointSeries:
    """Return a stream with labels.

    Raises:
        UnavailableError: its file is not there.
    """
    source = LABELLED[name]
    columns = read_columns(home, source.file)
    labels = [int(label) for label in columns.pop("label")]
    values = np.array(list(columns.values()), dtype=np.float64).T.tolist()
    rows = [dict(zip(columns, row, strict=True)) for row in values]
    changes = list(range(source.regime, len(rows), source.regime))
    return PointSeries(
        name, rows, [changes], source.regime // 10, source.per_window, labels=labels, make=source.make, training=source.training
    )


def alarms_of(stream: PointSeries, budget: float) -> list[Alarm]:
    """Return the alarms that a stream raises, in order."""
    return _of_errors(stream, budget) if stream.make else _of_features(stream, budget)


def _of_features(stream: PointSeries, budget: float) -> list[Alarm]:
    watched = PacedMonitor("features", stream.per_window, budget)
    alarms: list[Alarm] = []
    for number, values in enumerate([*stream.rows, None]):
        for alarm, alert in watched.add(number, values):
            alarms.append(alarm)
            watched.swap(alert)
    return alarms


def _of_errors(stream: PointSeries, budget: float) -> list[Alarm]:
    watched = PacedMonitor("outcomes", stream.per_window, budget)
    served = _trained(stream, 0, stream.training)
    alarms: list[Alarm] = []
    waiting: tuple[Alarm, Alert] | None = None
    for number in range(stream.training, len(stream.rows)):
        wrong = served.predict_one(stream.rows[number]) != stream.labels[number]
        for alarm, alert in watched.add(number, {ERROR: float(wrong)}):
            alarms.append(alarm)
            waiting = waiting or (alarm, alert)
        if waiting and number + 1 - waiting[0].dated >= stream.training:
            served = _trained(stream, waiting[0].dated, number + 1)
            watched.swap(waiting[1])
            waiting = None
    alarms.extend(alarm for alarm, _ in watched.add(len(stream.rows), None))
    return alarms


def _trained(stream: PointSeries, begin: int, end: int) -> Any:
    assert stream.make is not None
    made = stream.make()
    for number in range(begin, end):
        made.learn_one(stream.rows[number], stream.labels[number])
    return made


def scores(stream: PointSeries, alarms: Sequence[Alarm]) -> dict[str, float | None]:
    """Return the figures of some alarms; those over no alarm or no change are None."""
    length, dated, raised = len(stream.rows), [alarm.dated for alarm in alarms], [alarm.raised for alarm in alarms]
    marked = sorted({change for changes in stream.annotators for change in changes})
    false = len(dated) - matched(marked, dated, stream.margin)
    took = [delay for changes in stream.annotators for delay in delays(changes, raised, end=length)]
    found = [delay for delay in took if delay is not None]
    return {
        "alarms": len(alarms),
        "f1": f1(stream.annotators, dated, stream.margin),
        "covering": covering(stream.annotators, dated, length),
        "false_alarms": false,
        "rows_between_false_alarms": length / false if false else None,
        "delay_rows": statistics.median(found) if found else None,
        "missed": 1 - len(found) / len(took) if took else None,
    }


def floors(stream: PointSeries, count: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Return the figures of alarms that know nothing: never, every N rows, and `count` of them at random."""
    length = len(stream.rows)
    known = stream.training + REFERENCE_WINDOWS * stream.per_window
    regular = every(_EVERY_WINDOWS * stream.per_window, begin=0, end=length)
    draw = np.random.default_rng(seed)
    drawn = [scores(stream, _blind(at_random(draw, count, begin=known, end=length))) for _ in range(_DRAWS)]
    return {
        "never": scores(stream, []),
        f"every {_EVERY_WINDOWS * stream.per_window}": scores(stream, _blind(regular)),
        "random": {name: _mean([one[name] for one in drawn]) for name in drawn[0]},
    }


def _blind(rows: Sequence[int]) -> list[Alarm]:
    return [Alarm(row, row) for row in rows]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def result_of(stream: PointSeries, budget: float, seed: int) -> dict[str, Any]:
    """Return the figures of a stream, the product's and those of the floors."""
    alarms = alarms_of(stream, budget)
    figures = {"driftline": scores(stream, alarms), **floors(stream, len(alarms), seed)}
    return {
        "rows": len(stream.rows),
        "rows_of_a_window": stream.per_window,
        "margin": stream.margin,
        "annotators": len(stream.annotators),
        **{name: {key: None if one is None else round(one, 3) for key, one in mine.items()} for name, mine in figures.items()},
    }


def show(result: Mapping[str, Any]) -> None:
    """Print one table with every data set and its floors."""
    rows = []
    for name, found in result.items():
        about = f"{name} ({found['rows']} rows, margin {found['margin']})"
        for who, one in found.items():
            if isinstance(one, dict):
                rows.append([about, who, *_cells(one)])
                about = ""
    headings = ["data", "alarms of", "alarms", "F1", "covering", "false", "rows between false", "delay in rows", "missed"]
    show_table(headings, rows)


def _cells(one: Mapping[str, float | None]) -> list[str]:
    shares = {"f1", "covering", "missed"}
    return ["-" if value is None else f"{value:.2f}" if name in shares else f"{value:.0f}" for name, value in one.items()]


def main() -> None:
    """Print the table and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.points")
    parser.add_argument("--quick", action="store_true", help="only what River brings along: no data set is needed")
    parser.add_argument("--data", type=Path, help="directory of the data sets (default: ../shared/data, if they are there)")
    parser.add_argument("--false-alarms", type=float, default=ModelSpec("m").false_alarms_per_week, help="budget of a week")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()

    def benchmark() -> tuple[dict[str, Any], int]:
        streams = [annotated(name) for name in SERIES]
        for name in () if arguments.quick else LABELLED:
            try:
                streams.append(labelled(name, arguments.data or DATA))
            except UnavailableError as error:
                if arguments.data is not None:
                    raise
                sys.stderr.write(f"{name} is left out: {error}\n")
        result = {stream.name: result_of(stream, arguments.false_alarms, arguments.seed) for stream in streams}
        show(result)
        return {"benchmark": "points", "data": result}, 0

    run(benchmark)


if __name__ == "__main__":
    main()
