"""Incidents on streams in which nothing changes, against the budget of one a week.

    python -m benchmarks.stationary [--quick]

Six features, ten-minute windows of 50 rows, through the product's own window, judge and incidents. The
last line is one JSON object: stream -> incidents, weeks and budget.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.machine import run, show_table
from detectors.alert import Alert
from detectors.columns import Feature
from detectors.sample import summarise
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.watch import Watch
from detectors.window import Mark, Window

WIDTH = 600.0
BEGIN = 1_700_000_400.0
FEATURES, ROWS = 6, 50
WINDOWS_PER_WEEK = int(7 * 86_400 / WIDTH)

Level = Callable[[np.random.Generator, int, float], float]

#: Name -> (level of a feature in a window from the one before, days of reference).
STREAMS: dict[str, tuple[Level, float]] = {
    "gaussian, 3 days": (lambda _draw, _index, _last: 0.0, 3),
    "daily cycle, 3 days": (lambda _draw, index, _last: 2 * float(np.sin(2 * np.pi * index / 144)), 3),
    "AR(1) 0.9 level, 3 days": (lambda draw, _index, last: 0.9 * last + 0.3 * float(draw.normal()), 3),
    "AR(1) 0.9 level, 14 days": (lambda draw, _index, last: 0.9 * last + 0.3 * float(draw.normal()), 14),
}


def incidents(level: Level, days: float, weeks: float, seed: int) -> int:
    """Return how many incidents were opened in so many weeks after the reference."""
    draw = np.random.default_rng(seed)
    spec = replace(ModelSpec("m", window_seconds=WIDTH), reference=ReferenceSpec(seconds=days * 86_400.0))
    watch = Watch.begin(spec)
    levels = np.zeros(FEATURES)
    opened = 0
    for index in range(int(days * 86_400 / WIDTH) + int(weeks * WINDOWS_PER_WEEK)):
        start = BEGIN + index * WIDTH
        features = {}
        for number in range(FEATURES):
            levels[number] = level(draw, index, levels[number])
            features[f"f{number}"] = Feature(missing=0, numeric=summarise(draw.normal(levels[number], size=ROWS)))
        watch.add(spec, Window("m", "", "features", 0, start, WIDTH, index, index, ROWS, features))
        for found in watch.add(spec, Mark("m", "features", 0, 1, start + WIDTH)):
            opened += isinstance(found, Alert) and found.status == "opened"
    return opened


def counts(weeks: float, seed: int) -> dict[str, Any]:
    """Print a table of every stream, and return what is printed as JSON."""
    found = {name: incidents(level, days, weeks, seed) for name, (level, days) in STREAMS.items()}
    rows = [[name, str(opened), f"{weeks:g}", f"{weeks:g}"] for name, opened in found.items()]
    show_table(["stream", "incidents", "weeks", "budget"], rows)
    streams = {name: {"incidents": opened, "weeks": weeks, "budget": weeks} for name, opened in found.items()}
    return {"benchmark": "stationary", "streams": streams}


def main() -> None:
    """Print the table and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stationary")
    parser.add_argument("--quick", action="store_true", help="two weeks instead of six")
    parser.add_argument("--seed", type=int, default=21)
    arguments = parser.parse_args()
    run(lambda: (counts(2.0 if arguments.quick else 6.0, arguments.seed), 0))


if __name__ == "__main__":
    main()
