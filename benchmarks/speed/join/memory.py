"""Memory of what waits: the growth of this process while columns are fed to the core, with a bound that holds all of them.

Run by `benchmarks.join` in a process of its own; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np

from benchmarks.machine import usage
from benchmarks.speed.join.columns import ColumnFeed, roomy
from benchmarks.speed.join.stream import FETCH, MODEL, only_predictions
from driftline.cli.processor import advise_numpy

#: Predictions fed before, so that code and tables of the first calls do not count.
_WARM = 20_000


def main() -> None:
    """Feed predictions that all wait, and print the growth of this process for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.join.memory")
    parser.add_argument("--predictions", type=int, required=True)
    parser.add_argument("--end", type=float, required=True)
    parser.add_argument("--answers", choices=["classes", "numbers"], default="classes")
    arguments = parser.parse_args()
    advise_numpy()
    warm = ColumnFeed(only_predictions(_WARM, arguments.end), roomy(_WARM), arguments.answers)
    for fetched in warm.columns():
        warm.take(*fetched)
    stream = only_predictions(arguments.predictions, arguments.end)
    partition = roomy(arguments.predictions)
    feed = ColumnFeed(stream, partition, arguments.answers)
    before = usage(os.getpid()).resident_bytes
    for halves, clock, end in feed.columns():
        feed.take(halves, clock, end)
        partition.stored(end - FETCH, end)  # as a flush does: what is in the log is not kept twice
    used = usage(os.getpid())
    pairs = partition.models[MODEL]
    result = {
        "predictions": int(np.count_nonzero(pairs.waiting.taken() >= 0)),
        "bytes": (used.resident_bytes - before) / arguments.predictions,
        "bytes_at_most": (used.peak_bytes - before) / arguments.predictions,
        "level": pairs.bounds.level,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
