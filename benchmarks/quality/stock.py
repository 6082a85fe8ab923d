"""False alarms of the detectors that keep no budget, on streams in which nothing changes.

    python -m benchmarks.stock [--quick] [--monitors N] [--windows N]

Each runs in the product's own monitors, a column for each stream. A monitor is silent from an alarm until its statistic is
back, and then begins anew. Scores are white and standard normal. Detectors of outcomes are fed errors with a constant
chance instead, spread evenly over a window as the product does, and their rate depends on that chance and on the outcomes
in a window: besides the stated ones, others are printed. The last line is one JSON object: detector -> rates by direction
and by stream.

`STOCK` in detectors/judging/stock_rates.py has the rates that a full run prints, and `driftline check` says them. `off` says by
how many standard deviations of a count the alarms of this run differ from the stated rate.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

from benchmarks.machine import run, show_table, whole_number
from detectors.judging.detectors import DETECTORS, Direction
from detectors.judging.monitors import Monitors
from detectors.judging.stock_rates import STOCK_CHANCE, STOCK_OUTCOMES, StockRate, stock_rate
from detectors.reference.baseline import Baseline
from detectors.reference.season import Season
from detectors.statistics import STATISTICS, place_of

WINDOW_SECONDS = 60.0
#: Of page_hinkley, which is not measured here; it caps the scores for all, at half of this and 1.
THRESHOLD = 14.0
REFERENCE_WINDOWS = 200
#: Of each monitor.
WINDOWS = 2000
_PLACE = place_of("location")
#: (chance of an error, outcomes in a window): the stated stream first.
STREAMS: tuple[tuple[float, int], ...] = (
    (STOCK_CHANCE, STOCK_OUTCOMES),
    (0.02, STOCK_OUTCOMES),
    (0.3, STOCK_OUTCOMES),
    (STOCK_CHANCE, 5),
    (STOCK_CHANCE, 200),
)


def alarms(name: str, direction: Direction, *, monitors: int, windows: int, chance: float, outcomes: int, seed: int) -> int:
    """Return how many alarms so many monitors raise in so many windows each.

    Args:
        name: of the detector.
        direction: of its monitors.
        monitors: that see independent streams.
        windows: of each.
        chance: of an error; only what is fed outcomes looks at it.
        outcomes: in a window, likewise.
        seed: of the streams.
    """
    draw = np.random.default_rng([seed, monitors, windows])
    shape = (monitors, windows)
    if DETECTORS[name].feed == "outcomes":
        wrong = draw.binomial(outcomes, chance, size=shape)
        scores = (wrong / outcomes - chance) / math.sqrt(chance * (1 - chance) / outcomes)
    else:
        wrong, scores = np.zeros(shape, dtype=np.int64), draw.normal(size=shape)
    watched = _monitors(name, direction, monitors)
    nothing = np.full((len(STATISTICS), monitors), np.nan)
    raised = 0
    for index in range(windows):
        here = nothing.copy()
        here[_PLACE] = scores[:, index]
        errors = [(one, outcomes) for one in wrong[:, index].tolist()]
        raised += len(watched.weigh(WINDOW_SECONDS * index, here, errors))
        recovered = watched.recovery.over
        if recovered.any():
            watched.rearm(recovered)
    return raised


def _monitors(name: str, direction: Direction, columns: int) -> Monitors:
    """Return armed monitors of the location of so many features; none has seen what another is fed."""
    baseline = Baseline(
        Season("constant", WINDOW_SECONDS, [0.0]), 1.0, 0.0, 0.0, 0.0, 1.0, REFERENCE_WINDOWS, 0.0, -WINDOW_SECONDS
    )
    found = Monitors.empty(name, direction, WINDOW_SECONDS)
    found.widen(columns)
    for column in range(columns):
        found.set((_PLACE, column), baseline)
    found.threshold = THRESHOLD
    return found


def cases() -> list[tuple[str, Direction, float, int]]:
    """Return (detector, direction, chance of an error, outcomes in a window) of every case."""
    found: list[tuple[str, Direction, float, int]] = []
    for name, kind in DETECTORS.items():
        if kind.budgeted:
            continue
        if kind.feed == "outcomes":
            found.extend((name, "up", chance, outcomes) for chance, outcomes in STREAMS)
        else:
            found.extend((name, direction, STOCK_CHANCE, STOCK_OUTCOMES) for direction in ("both", "up"))
    return found


def off(raised: int, stated: StockRate, thousands: float) -> float:
    """Return by how many standard deviations of a Poisson count the alarms differ from the stated rate.

    A rate that was never seen is stated as a limit, so fewer alarms do not differ from it.

    >>> off(12, StockRate(1.0), 8.0)
    1.3333333333333333
    """
    expected = stated.per_1000_windows * thousands
    differs = (raised - expected) / math.sqrt(expected + 1.0)
    return differs if stated.seen else max(0.0, differs)


def rates(monitors: int, windows: int, seed: int) -> dict[str, Any]:
    """Print a table of every case, and return what is printed as JSON."""
    result: dict[str, list[dict[str, float | str]]] = {}
    rows: list[list[str]] = []
    thousands = monitors * windows / 1000
    for name, direction, chance, outcomes in cases():
        raised = alarms(name, direction, monitors=monitors, windows=windows, chance=chance, outcomes=outcomes, seed=seed)
        rate, error = raised / thousands, math.sqrt(raised) / thousands
        stream = f"errors {chance:g}, {outcomes} a window" if DETECTORS[name].feed == "outcomes" else "white scores"
        found: dict[str, float | str] = {"direction": direction, "stream": stream, "rate": rate, "standard_error": error}
        if (chance, outcomes) == STREAMS[0]:
            found["off"] = round(off(raised, stock_rate(name, direction), thousands), 2)
        result.setdefault(name, []).append(found)
        rows.append([name, direction, stream, str(raised), f"{rate:.2f}", f"{error:.2f}"])
    show_table(["detector", "direction", "stream", "alarms", "per monitor and 1,000 windows", "+-"], rows)
    return {"benchmark": "stock", "windows": windows, "monitors": monitors, "detectors": result}


def main() -> None:
    """Print the table and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stock")
    parser.add_argument(
        "--quick", action="store_true", help="one monitor in each case instead of forty, and a fifth of the windows"
    )
    parser.add_argument("--monitors", type=whole_number(1), help="in each case (40, with --quick 1)")
    parser.add_argument("--windows", type=whole_number(1), help=f"of each monitor ({WINDOWS:,}, with --quick {WINDOWS // 5})")
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()
    monitors = arguments.monitors or (1 if arguments.quick else 40)
    windows = arguments.windows or (WINDOWS // 5 if arguments.quick else WINDOWS)
    run(lambda: (rates(monitors, windows, arguments.seed), 0))


if __name__ == "__main__":
    main()
