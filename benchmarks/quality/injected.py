"""Drifts put into real streams, abrupt and gradual: how many are found, how soon, and what is false.

    python -m benchmarks.injected [--quick] [--settled] [--data DIR]

Rules:
1. Streams are those of benchmarks/quality/drifting.py, so what drifts and where is known. A drift has an interval to be found in.
2. Driftline is the product alone (benchmarks/quality/paced_monitor.py) with one setting for all: 50 rows to a window, as of a
   model that has 50 labels an hour, the shortest reference there can be (24 windows), and else the defaults.
   It sees the outcomes; a line of its own shows the product that sees the columns.
3. River's detectors see the same outcomes, one by one, with River's defaults.
4. The loop is closed for everybody alike: an alarm is answered at once by a swap to the model of the regime. A drift that was not
   found by the end of its interval is known by then, so the swap comes without an alarm, and a miss counts once. At a swap
   Driftline takes a new reference, and River's detectors begin anew. With --settled a swap waits for the end of the transition.
5. An alarm's place is how many rows had been read. Figures are over all drifts and rows of the streams together.
6. River's data sets are always there. Others are left out where their files are absent; a directory that --data names must
   have them.

The last line is one JSON object: for abrupt and for gradual drifts the figures of every watcher, parts of them, and the marks.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import statistics
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from river import drift

from benchmarks.machine import run, show_table, whole_number
from benchmarks.quality.drifting import (
    BUNDLED,
    FILES,
    KINDS,
    MAX_DELAY,
    TRANSITION,
    DriftingRows,
    LabelledData,
    bundled,
    from_file,
    stream_of,
)
from benchmarks.quality.paced_monitor import REFERENCE_WINDOWS, PacedMonitor
from benchmarks.quality.scoring import Episodes, at_random, episodes, every
from benchmarks.quality.seasonal import DATA
from detectors.errors import UnavailableError
from detectors.incidents.alert import Alert
from detectors.judging.detectors import Armed, Arming, arm
from detectors.spec import ModelSpec
from detectors.windows.record import Kind
from detectors.windows.row import ERROR

PER_WINDOW = 50
WINDOW_SECONDS = 3600.0
#: Width of the transition by what it is called.
SPEEDS = {"abrupt": 0, "gradual": TRANSITION}
#: What is to be reached, at so many false alarms in 100,000 rows at most: speed -> (at least, aim).
MOST_FALSE = 2.0
MARKS = {"abrupt": (0.72, 0.78), "gradual": (0.55, 0.60)}
#: The floor `every N` alarms after so many windows: twice the reference, so that it has about the chances of the product.
_EVERY = 2 * REFERENCE_WINDOWS * PER_WINDOW
#: Draws of alarms at random, of which the mean is shown.
_DRAWS = 20
#: A drift that raises the error by less hardly shows in outcomes.
_RISE = 0.05


class Watcher(Protocol):
    """Somebody who sees a stream row by row."""

    def add(self, row: int, *, wrong: bool) -> Sequence[int]:
        """Take a row, of which the served model was wrong or right, and return the places of the alarms that follow."""

    def swap(self, row: int) -> None:
        """Take a swap after that row, which answers the alarms since the last one, if there are any."""


class Product:
    """Driftline's judge of outcomes, or of the columns."""

    def __init__(self, stream: DriftingRows, budget: float, *, columns: bool) -> None:
        self._rows = (dict(zip(stream.columns, row, strict=True)) for row in stream.values.tolist()) if columns else None
        kind: Kind = "features" if columns else "outcomes"
        self._watched = PacedMonitor(kind, PER_WINDOW, budget, window_seconds=WINDOW_SECONDS)
        self._open: list[Alert] = []

    def add(self, row: int, *, wrong: bool) -> Sequence[int]:
        """Take a row and return the places of its alarms."""
        values = {ERROR: float(wrong)} if self._rows is None else next(self._rows)
        found = list(self._watched.add(row, values))
        self._open.extend(alert for _, alert in found)
        return [alarm.raised for alarm, _ in found]

    def swap(self, row: int) -> None:
        """Take a new reference: for what drifted, or for everything if no alarm was raised."""
        for alert in self._open:
            self._watched.swap(alert)
        if not self._open:
            self._watched.renew(row)
        self._open = []


class Stock:
    """A detector of River that sees outcomes."""

    def __init__(self, make: Callable[[], Armed]) -> None:
        self._make = make
        self._armed = make()

    def add(self, row: int, *, wrong: bool) -> Sequence[int]:
        """Take a row and return its place if it raised an alarm."""
        return [row + 1] if self._armed.update(int(wrong)) else []

    def swap(self, row: int) -> None:
        """Begin anew."""
        del row
        self._armed = self._make()


def _named(name: str) -> Callable[[], Armed]:
    return lambda: arm(name, Arming(name, 0.0, 0, "up"))


#: As River has them; `fhddm` is turned round by the product, which knows that it wants 1 for a right answer.
STOCK: Mapping[str, Callable[[], Armed]] = {
    "ADWIN": _named("adwin"),
    "Page-Hinkley": lambda: Armed(drift.PageHinkley()),
    "DDM": _named("ddm"),
    "EDDM": _named("eddm"),
    "HDDM_A": _named("hddm_a"),
    "HDDM_W": _named("hddm_w"),
    "FHDDM": _named("fhddm"),
}
ERRORS, COLUMNS = "Driftline, errors", "Driftline, columns"
QUICK = ("bananas", "phishing")


def alarms_of(stream: DriftingRows, watcher: Watcher, *, settled: bool = False) -> list[int]:
    """Return the places of the alarms that a watcher raises while the loop is closed (rule 4).

    With `settled` a swap waits for the end of the transition, as it does where a new model needs rows of the new regime alone.
    """
    alarms: list[int] = []
    begins, ends = zip(*stream.drifts, strict=True)
    newest = served = answer = 0
    due: int | None = None
    for row, (fresh, stale) in enumerate(zip(stream.fresh.tolist(), stream.stale.tolist(), strict=True)):
        newest += newest < len(begins) and row == begins[newest]
        raised = watcher.add(row, wrong=stale if served < newest else fresh)
        if raised:
            alarms.extend(raised)
            answer = bisect_left(begins, raised[-1])  # a window that ended before the drift has seen nothing of it
            due = max(row, ends[answer - 1] - MAX_DELAY - 1) if settled and answer else row
        elif due is None and served < newest and row + 1 == ends[newest - 1]:
            answer, due = newest, row
        if due is not None and row >= due:
            served, due = answer, None
            watcher.swap(row)
    return alarms


@dataclass(frozen=True, slots=True)
class AlarmScore:
    """What became of the alarms of one watcher; two of them add up.

    Args:
        met: how they met the intervals.
        rises: by how much each drift raised the error.
        draws: how often the drifts were gone through: alarms at random are drawn several times.
    """

    met: Episodes
    rises: list[float]
    draws: int = 1

    def __add__(self, other: AlarmScore) -> AlarmScore:
        return AlarmScore(self.met + other.met, self.rises + other.rises, self.draws)


@dataclass(frozen=True, slots=True)
class WatcherScore:
    """What became of streams, by watcher; two of them add up."""

    scores: dict[str, AlarmScore]
    rows: int

    def __add__(self, other: WatcherScore) -> WatcherScore:
        return WatcherScore({name: one + other.scores[name] for name, one in self.scores.items()}, self.rows + other.rows)


def judge(stream: DriftingRows, budget: float, seed: int, *, settled: bool = False) -> WatcherScore:
    """Return what each watcher makes of a stream."""
    length = len(stream.fresh)
    alarms: dict[str, list[int]] = {
        ERRORS: alarms_of(stream, Product(stream, budget, columns=False), settled=settled),
        COLUMNS: alarms_of(stream, Product(stream, budget, columns=True), settled=settled),
        **{name: alarms_of(stream, Stock(make), settled=settled) for name, make in STOCK.items()},
        "never": [],
        f"every {_EVERY:,}": every(_EVERY, begin=0, end=length),
    }
    scores = {name: AlarmScore(episodes(stream.drifts, places, length=length), stream.rises) for name, places in alarms.items()}
    draw, known = np.random.default_rng([seed, length]), REFERENCE_WINDOWS * PER_WINDOW
    drawn = [at_random(draw, len(alarms[ERRORS]), begin=known, end=length) for _ in range(_DRAWS)]
    random = reduce(operator.add, [episodes(stream.drifts, places, length=length) for places in drawn])
    return WatcherScore({**scores, "random": AlarmScore(random, stream.rises * _DRAWS, _DRAWS)}, length)


def figures(one: AlarmScore) -> dict[str, float | None]:
    """Return the figures of a watcher; those over nothing are None."""
    met = one.met
    took = [delay for delay in met.delays if delay is not None]
    shown = [delay is not None for delay, rise in zip(met.delays, one.rises, strict=True) if rise >= _RISE]
    found: dict[str, float | None] = {
        "alarms": met.alarms / one.draws,
        "repeats": met.repeats / one.draws,
        "precision": met.precision,
        "recall": met.recall,
        "recall_where_errors_rise": statistics.fmean(shown) if shown else None,
        "f1": met.f1,
        "f1_but_for_repeats": met.f1_but_for_repeats,
        "delay_rows": statistics.median(took) if took else None,
        "false_per_100k": met.false_per_100k,
    }
    return {name: None if figure is None else round(figure, 3) for name, figure in found.items()}


def summary(scores: Mapping[tuple[str, str, str], WatcherScore]) -> dict[str, Any]:
    """Return what is printed as JSON, of what became of (speed, data set, kind of drift)."""
    result: dict[str, Any] = {"benchmark": "injected"}
    for speed, (least, aim) in MARKS.items():
        mine = {(data, kind): score for (at, data, kind), score in scores.items() if at == speed}
        total = reduce(operator.add, mine.values())
        product, rises = total.scores[ERRORS].met, total.scores[ERRORS].rises
        quiet = product.false_per_100k <= MOST_FALSE
        best = _best_of_river(total)
        result[speed] = {
            "drifts": len(rises),
            "rows": total.rows,
            "errors_rise": round(sum(rise >= _RISE for rise in rises) / len(rises), 3),
            "watchers": {name: figures(one) for name, one in total.scores.items()},
            "data": {name: _part(score for (data, _), score in mine.items() if data == name) for name, _ in mine},
            "kinds": {name: _part(score for (_, kind), score in mine.items() if kind == name) for _, name in mine},
            "marks": {"f1": least, "aim": aim, "false_per_100k": MOST_FALSE},
            "best_of_river": best,
            "ahead_of_river": product.f1 > total.scores[best].met.f1,
            "reached": quiet and product.f1 >= least,
            "aim_reached": quiet and product.f1 >= aim,
        }
    return result


def _part(scores: Iterable[WatcherScore]) -> dict[str, Any]:
    """Return figures of both channels of the product, and of the detector of River that does best there."""
    total = reduce(operator.add, scores)
    best = _best_of_river(total)
    shown = {ERRORS: ERRORS, COLUMNS: COLUMNS, f"best of River: {best}": best}
    return {words: figures(total.scores[name]) for words, name in shown.items()}


def _best_of_river(score: WatcherScore) -> str:
    """Return the detector with the greatest F1, chosen when all is known: nobody could have chosen better."""
    return max(STOCK, key=lambda name: score.scores[name].met.f1)


def show(result: Mapping[str, Any]) -> None:
    """Print the tables."""
    headings = ["alarms of", "alarms", "repeats", "precision", "recall", "where errors rise", "F1", "but for repeats"]
    headings += ["delay in rows", "false in 100,000 rows"]
    for speed in MARKS:
        found = result[speed]
        share = f"the error rises by {_RISE:g} or more in {found['errors_rise']:.2f} of them"
        print(f"{speed}: {found['drifts']} drifts in {found['rows']:,} rows; {share}\n")
        show_table(headings, [[name, *_cells(one)] for name, one in found["watchers"].items()])
        print()
        parts = [*found["data"].items(), *found["kinds"].items()]
        rows = [[part, name, *_cells(one)] for part, mine in parts for name, one in mine.items()]
        show_table(["part", *headings], rows)
        marks, one = found["marks"], found["watchers"][ERRORS]
        verdict = "reached" if found["reached"] else "not reached"
        print(f"\n{verdict}: F1 of at least {marks['f1']} (it is {one['f1']:.2f}; {marks['aim']} is the aim)")
        print(f"with at most {marks['false_per_100k']:g} false alarms in 100,000 rows (it is {one['false_per_100k']:.2f})")
        river = found["watchers"][found["best_of_river"]]
        place = "ahead of" if found["ahead_of_river"] else "not ahead of"
        print(f"{place} the best of River: {found['best_of_river']} has F1 {river['f1']:.2f}\n")


def _cells(one: Mapping[str, float | None]) -> list[str]:
    whole = {"alarms", "repeats", "delay_rows"}
    return ["-" if value is None else f"{value:.0f}" if name in whole else f"{value:.2f}" for name, value in one.items()]


def tables(home: Path | None, *, quick: bool) -> list[LabelledData]:
    """Return the data sets that are there.

    Raises:
        UnavailableError: a directory was named that lacks one.
    """
    if quick:
        return [bundled(name) for name in QUICK]
    found = [bundled(name) for name in BUNDLED]
    for name in FILES:
        try:
            found.append(from_file(name, home or DATA))
        except UnavailableError as error:
            if home is not None:
                raise
            sys.stderr.write(f"{name} is left out: {error}\n")
    return found


def scored(
    data: Iterable[LabelledData],
    *,
    streams: int,
    drifts: int,
    budget: float,
    seed: int,
    settled: bool = False,
    kinds: Iterable[str] = tuple(KINDS),
) -> dict[tuple[str, str, str], WatcherScore]:
    """Return what became of streams of each data set, by (speed, data set, kind of drift).

    Args:
        data: the data sets.
        streams: of each kind and speed.
        drifts: in each.
        budget: false alarms a week.
        seed: another one gives other streams.
        settled: whether swaps wait for the end of a transition.
        kinds: of drift.
    """
    found: dict[tuple[str, str, str], WatcherScore] = {}
    for table, kind, (speed, transition) in itertools.product(data, kinds, SPEEDS.items()):
        numbers = range(streams * seed, streams * (seed + 1))
        made = (stream_of(table, kind, transition=transition, drifts=drifts, number=number) for number in numbers)
        found[speed, table.name, kind] = reduce(operator.add, (judge(stream, budget, seed, settled=settled) for stream in made))
    return found


def main() -> None:
    """Print the tables and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.injected")
    parser.add_argument("--quick", action="store_true", help="two data sets that River brings along, two drifts in each stream")
    parser.add_argument("--data", type=Path, help="directory of the data sets (default: ../shared/data, if they are there)")
    parser.add_argument("--settled", action="store_true", help="swaps wait for the end of the transition of a gradual drift")
    parser.add_argument("--streams", type=whole_number(1), help="of each data set, kind and speed (default: 3, with --quick 1)")
    parser.add_argument("--false-alarms", type=float, default=ModelSpec("m").false_alarms_per_week, help="budget of a week")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()

    def benchmark() -> tuple[dict[str, Any], int]:
        data = tables(arguments.data, quick=arguments.quick)
        streams, drifts = arguments.streams or (1 if arguments.quick else 3), 2 if arguments.quick else 8
        budget, seed = arguments.false_alarms, arguments.seed
        scores = scored(data, streams=streams, drifts=drifts, budget=budget, seed=seed, settled=arguments.settled)
        result = summary(scores)
        show(result)
        return result, 0

    run(benchmark)


if __name__ == "__main__":
    main()
