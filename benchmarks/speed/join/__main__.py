"""Predictions with labels beside predictions without ids: rate, memory, disk, Redis, load after kill -9, a plain Faust table.

    python -m benchmarks.join [--quick] [--records N] [--rounds N] [--waiting N] [--only PART ...] [--brief]

A rate is that of records, predictions *and* labels, by the CPU time of the whole worker; cases take turns in one run, and medians
are compared. The last line is one JSON object. Status 1 says that a run of full size is short of what a figure must be; the quick
lane looks at bounds of its own, with room for a busy machine.

==========  =================================================================================================
workers     predictions without ids; with ids; with labels; with training rows (stream.py has the events)
memory      bytes of a process for each prediction that waits, for classes and for numbers
loading     a writer is killed, and the log is loaded by another process, which compares the states; then a whole load
rival       a plain Faust agent with a Table, in memory and, where rocksdict is installed, on RocksDB
parts       where the time goes: the worker's own functions, step by step
==========  =================================================================================================
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from benchmarks.machine import run, servers, show_table, whole_number
from benchmarks.speed.join import rooms
from benchmarks.speed.join.report import FIGURES, reported, short_of
from benchmarks.speed.join.stream import last_end

PARTS = ("workers", "memory", "loading", "rival", "parts")
FULL = rooms.Sizes(records=1_000_000, rounds=5, waiting=10_000_000, loaded=10_000_000, rival=30_000, parts=300_000, idle=10.0)
QUICK = rooms.Sizes(records=100_000, rounds=2, waiting=300_000, loaded=300_000, rival=10_000, parts=50_000, idle=4.0)


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.records:,} records and {QUICK.rounds} rounds")
    parser.add_argument("--records", type=whole_number(1000), help=f"records of each case [{FULL.records:,}]")
    parser.add_argument("--rounds", type=whole_number(1), help=f"runs of each case, in turns [{FULL.rounds}]")
    parser.add_argument("--waiting", type=whole_number(1000), help=f"predictions that wait and are loaded [{FULL.waiting:,}]")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts to run [all of them]")
    parser.add_argument("--brief", action="store_true", help="without the workers that get ids alone, or full doubles")
    arguments = parser.parse_args()
    sizes = (QUICK if arguments.quick else FULL).changed(arguments.records, arguments.rounds, arguments.waiting)
    sizes = replace(sizes, brief=arguments.brief)
    end = last_end()
    found: dict[str, Any] = {}
    with servers() as on:
        print(on.cores.words)
        for part in PARTS:
            if part in arguments.only:
                found[part] = getattr(rooms, part)(on, sizes, end)
    result = {"benchmark": "join", "records": sizes.records, "rounds": sizes.rounds, "waiting": sizes.waiting, **reported(found)}
    print("the figures; before: measured at 86be610, with the join in Redis")
    show_table(
        ["figure", "measured", "must", "aim", "before"],
        [figure.row(result) for figure in FIGURES if figure.value(result) is not None],
        "the join",
    )
    short = short_of(result)
    for line in short:
        print(line)
    # Fewer records than that say nothing about what must be reached.
    return result, int(bool(short) and sizes.records >= FULL.records)


if __name__ == "__main__":
    run(benchmark)
