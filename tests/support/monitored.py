"""Monitors whose scores are what they are fed: one statistic of one or more columns, standard normal while nothing changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from detectors.judging.detectors import DETECTORS, Direction
from detectors.judging.judge import Judge
from detectors.judging.monitors import Monitors, Raised
from detectors.judging.scores import Moment
from detectors.measure.measure import Measures
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.baseline import Baseline
from detectors.reference.season import Season
from detectors.spec import ModelSpec
from detectors.statistics import STATISTICS, StatisticName, place_of
from streams.state import snapshot

SECONDS = 60.0
#: Outcomes in a window, for detectors that are fed these.
OUTCOMES = 50
PLACE = place_of("location")


def monitors(
    detector: str = "page_hinkley",
    direction: Direction = "both",
    *,
    columns: int = 1,
    threshold: float = 12.0,
    limit: float = math.inf,
    fast: bool = False,
    windows: int = 200,
    correlation: float = 0.0,
    spread: float = 1.0,
    up: bool = False,
    statistic: StatisticName = "location",
) -> Monitors:
    """Return monitors of one statistic of so many features, armed with a threshold and the limit of the fast path.

    Args:
        detector: name of the detector.
        direction: of all monitors.
        columns: how many features.
        threshold: of Page and Hinkley's test.
        limit: of the fast path.
        fast: whether the baselines arm it.
        windows: reference windows that stand behind the baselines.
        correlation: of a window with the one before it.
        spread: of the whitened statistic.
        up: whether the statistic alarms on rises only.
        statistic: which one.
    """
    baseline = Baseline(Season("constant", SECONDS, [0.0]), 1.0, 0.0, 0.0, correlation, spread, windows, 0.0, -SECONDS, fast=fast)
    found = Monitors.empty(detector, direction, SECONDS)
    found.widen(columns)
    for column in range(columns):
        found.set((place_of(statistic), column), baseline, up=up)
    found.threshold, found.limit = threshold, limit
    return found


def measured(values: Sequence[float], statistic: StatisticName = "location") -> Measures:
    """Return what a window measured: that statistic of every column, and nothing else."""
    found = Measures(*(np.full((len(STATISTICS), len(values)), filler) for filler in (np.nan, 0.0, 1.0)))
    found.value[place_of(statistic)] = values
    return found


def weigh(
    found: Monitors, values: Iterable[float | Sequence[float]], *, begin: int = 0, statistic: StatisticName = "location"
) -> list[tuple[int, Raised]]:
    """Return (number of the window, alarm) of each alarm; the first window has the number `begin`.

    Args:
        found: the monitors.
        values: of each window the statistic of every column, a number where there is but one. Detectors of outcomes are fed as
            many errors among `OUTCOMES` as a value says, as a share.
        begin: number of the first window.
        statistic: which one.
    """
    told: list[tuple[int, Raised]] = []
    for number, value in enumerate(values, begin):
        row = [value] if isinstance(value, int | float) else list(value)
        start = SECONDS * number
        window, expected = measured(row, statistic), found.scores.expected(start)
        scores = found.scores.score(Moment(start, start, SECONDS), window, expected, np.ones(expected.shape, dtype=np.bool_))
        errors = None
        if DETECTORS[found.detector].feed == "outcomes":
            errors = [(round(max(0.0, min(1.0, share)) * OUTCOMES), OUTCOMES) for share in row]
        told.extend((number, raised) for raised in found.weigh(start, scores, errors))
    return told


def stored(found: Monitors) -> bytes:
    """Return what a judge's snapshot holds of monitors, with some bytes around it that are always the same."""
    spec = ModelSpec("m")
    monitor = ModelMonitor.begin(spec)
    judge = Judge.begin(spec, "features", "", SECONDS)
    judge.monitors = found
    monitor.channels["features"].judges[""] = judge
    return snapshot.dump({"m": monitor})


def loaded(payload: bytes) -> Monitors:
    """Return the monitors in such a snapshot."""
    return snapshot.load("judge/0", payload)["m"].channels["features"].judges[""].monitors


def has_fired(found: Monitors, column: int = 0) -> bool:
    """Tell whether the monitor of a column has raised an alarm that lasts."""
    return bool(found.recovery.fired[PLACE, column])


def has_recovered(found: Monitors, column: int = 0) -> bool:
    """Tell whether the monitor of a column fired and is back at its baseline."""
    return bool(found.recovery.over[PLACE, column])
