"""One hot model over one and over two workers: its partitions are shared, its rate should double.

    python -m benchmarks.scale [--quick] [--events N] [--repeats N]

Each worker has a core of its own. The workers wait for their partitions, then all events become visible at
once; the time runs until the last window of every partition is acknowledged. The last line is one JSON
object.

On a machine with two cores the broker works on the same two: with one worker it has the other core for
itself, with two it takes from both. So beside the ratio of rates by the clock there is the one by CPU:
how long the busiest of two workers computes, against one alone. That is what two workers give where the
broker is on another machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import BenchmarkServers, run, servers, show_table, usage, whole_number
from benchmarks.speed.feeding import DATA_SETS, WINDOW_SECONDS, closing, end_of, events, fill
from benchmarks.workers import Ending, WorkerFleet

EVENTS, EVENTS_QUICK = 2_000_000, 400_000
REPEATS, REPEATS_QUICK = 3, 1
_TIMEOUT_SECONDS = 600.0
_DATA = DATA_SETS["numeric"]
_MODEL = f"""
[models.hot]
window = "{WINDOW_SECONDS:g}s"
"""


@dataclass(frozen=True, slots=True)
class Shared:
    """One run: seconds of the clock, CPU seconds of each worker and of the broker."""

    seconds: float
    workers: tuple[float, ...]
    broker: float


def measure(on: BenchmarkServers, workers: int, count: int, number: int) -> Shared:
    """Run so many workers over so many events."""
    deployment = WorkerFleet(on, _MODEL, prefix=f"scale-{workers}-{number}")
    cores = sorted(on.cores.all)
    try:
        ending = Ending(deployment.kafka)
        running = [deployment.worker({cores[-1 - place % len(cores)]}) for place in range(workers)]
        deployment.shared(workers)
        pids = [*(worker.pid for worker in running), on.kafka.child.pid]
        before: list[float] = []
        began = 0.0

        def visible() -> None:
            nonlocal began
            before.extend(usage(pid).cpu_seconds for pid in pids)
            began = time.time()

        end = end_of(count)
        fill(deployment.kafka, events(_DATA, count), closing(_DATA, end), at_once=visible)
        finished = ending.wait(end, sources=4, rows=count, workers=running, timeout_seconds=_TIMEOUT_SECONDS)
        used = [usage(pid).cpu_seconds - earlier for pid, earlier in zip(pids, before, strict=True)]
        return Shared(finished.at - began, tuple(used[:-1]), used[-1])
    finally:
        deployment.stop()


def medians(runs: Sequence[Shared], count: int, cores: int) -> dict[str, Any]:
    """Return the medians of some runs with the same number of workers."""
    seconds = statistics.median(one.seconds for one in runs)
    return {
        "events_per_second": round(count / seconds),
        "seconds": round(seconds, 3),
        "busiest_worker_cpu_seconds": round(statistics.median(max(one.workers) for one in runs), 3),
        "workers_cpu_seconds": round(statistics.median(sum(one.workers) for one in runs), 3),
        "broker_cpu_seconds": round(statistics.median(one.broker for one in runs), 3),
        "broker_share": round(statistics.median(one.broker / one.seconds / cores for one in runs), 3),
    }


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{EVENTS_QUICK:,} events and {REPEATS_QUICK} run of each")
    parser.add_argument("--events", type=whole_number(100), help=f"events of a run [{EVENTS:,}]")
    parser.add_argument("--repeats", type=whole_number(1), help=f"runs with one and with two workers, in turns [{REPEATS}]")
    arguments = parser.parse_args()
    count = arguments.events or (EVENTS_QUICK if arguments.quick else EVENTS)
    repeats = arguments.repeats or (REPEATS_QUICK if arguments.quick else REPEATS)
    runs: dict[int, list[Shared]] = {1: [], 2: []}
    with servers(apart=False) as on:
        cores = len(on.cores.all)
        for number in range(repeats):
            for workers, found in runs.items():
                found.append(measure(on, workers, count, number))
    one, two = (medians(found, count, cores) for found in runs.values())
    print(f"{count:,} events, {_DATA.features} features, 4 partitions, {cores} cores, which broker and workers share")
    rows = [
        [
            f"{workers}",
            f"{found['events_per_second']:,}",
            f"{found['seconds']:.2f}",
            f"{found['busiest_worker_cpu_seconds']:.2f}",
            f"{found['workers_cpu_seconds']:.2f}",
            f"{found['broker_cpu_seconds']:.2f}",
            f"{found['broker_share']:.0%}",
        ]
        for workers, found in ((1, one), (2, two))
    ]
    headings = ["workers", "events/s", "seconds", "busiest CPU s", "workers CPU s", "broker CPU s", "broker of all cores"]
    show_table(headings, rows, "scale")
    by_wall = one["seconds"] / two["seconds"]
    by_cpu = one["busiest_worker_cpu_seconds"] / max(two["busiest_worker_cpu_seconds"], 0.01)
    result = {
        "benchmark": "scale",
        "broker_microseconds_per_event_read": round(1e6 * one["broker_cpu_seconds"] / count, 3),
        "events": count,
        "repeats": repeats,
        "cores": cores,
        "ratio_by_clock": round(by_wall, 3),
        "ratio_by_cpu": round(by_cpu, 3),
        "aim": 1.8,
        "one_worker": one,
        "two_workers": two,
    }
    return result, 0


if __name__ == "__main__":
    run(benchmark)
