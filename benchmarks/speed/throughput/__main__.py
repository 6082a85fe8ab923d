"""How many events a second one core takes: plain Faust, a bare loop, Driftline, and reading alone.

    python -m benchmarks.throughput [--quick] [--events N] [--repeats N] [--data numeric|mixed|both] [--brief]

Each variant is one process on a core of its own, reading the same four partitions of a real Kafka; the
broker has the other core. Variants take turns, and medians are compared, because machines are noisy.
The last line is one JSON object; its ratios are the smaller ones of both data sets. Status 1 says that a run of full size is
below what is promised by the clock. CPU time depends less on what else the machine does: the quick lane looks at its ratios.

================  ====================================================================================
plain_faust       a Faust agent woken for each event, one River ADWIN for each numeric feature
bare_loop         confluent_kafka's `consume`, Driftline's decoding and windows; nothing is written
driftline         `driftline worker`, to the acknowledgement of the last window
judging           the same once it has learned its reference: judge and outlier scoring at work
floor             confluent_kafka's `consume` alone
================  ====================================================================================
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import BenchmarkServers, pin, run, servers, show_table, usage, whole_number
from benchmarks.speed.feeding import DATA_SETS, PER_SECOND, WINDOW_SECONDS, EventMix, closing, end_of, events, fill, offsets
from benchmarks.workers import Ending, WorkerFleet
from detectors.errors import UnavailableError
from driftline.servers.child import Child
from streams.topics import EVENTS, topic_name

EVENTS_IN_ALL, EVENTS_QUICK = 1_000_000, 200_000
#: Plain Faust is slow: more events only take longer.
PLAIN_FAUST_EVENTS = 100_000
REPEATS, REPEATS_QUICK = 5, 3
_TIMEOUT_SECONDS = 600.0
#: What is promised; less ends with status 1.
LEAST = {"ratio_to_plain_faust": 20.0, "ratio_to_bare_loop": 0.6}
RATIOS = ("ratio_to_plain_faust", "ratio_to_bare_loop", "cpu_ratio_to_plain_faust", "cpu_ratio_to_bare_loop")
#: Names of variants in the order in which they are printed.
VARIANTS = ("plain_faust", "bare_loop", "driftline", "judging", "floor")
PHASES = ("consume", "decode", "columns", "summary", "produce", "client")

_MODEL = f"""
[models.hot]
window = "{WINDOW_SECONDS:g}s"
"""
_LEARNS = """
[models.hot.reference]
duration = "{seconds}s"
min_windows = 4
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of a variant: events, seconds from the first to the last, CPU seconds of the process."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Events a second of the clock."""
        return self.events / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """CPU microseconds an event."""
        return 1e6 * self.cpu_seconds / self.events


class Measuring:
    """The runs over one data set."""

    def __init__(self, on: BenchmarkServers, data: EventMix, count: int) -> None:
        """Write the events."""
        self._on = on
        self._data = data
        self._count = count
        self._end = end_of(count)
        self._deployment = WorkerFleet(on, _MODEL, prefix=f"bench-{data.name}")
        self._children = 0
        before = usage(on.kafka.child.pid).cpu_seconds
        self.bytes = fill(self._deployment.kafka, events(data, count), closing(data, self._end))
        #: CPU microseconds that the broker took to write an event; bytes of an event on its disk.
        self.broker_microseconds = 1e6 * (usage(on.kafka.child.pid).cpu_seconds - before) / count
        logs = (on.kafka.directory / "data").glob(f"{topic_name(self._deployment.kafka.prefix, EVENTS)}-*/*.log")
        self.stored_bytes = sum(log.stat().st_size for log in logs) / count
        #: Bytes of a feature of a window on the windows topic; known after `phases`.
        self.window_bytes = 0.0
        self.agents = self._deployment.agents()

    def run(self, variant: str) -> Timing:
        """Run one variant once."""
        if variant == "plain_faust":
            few = min(PLAIN_FAUST_EVENTS, self._count)
            return self._timed("plain_faust", "--events", str(few), "--datadir", str(self._on.home / "faust"))
        if variant in ("driftline", "judging"):
            return self._worker(learns=variant == "judging")
        timing = self._timed("bare_loop", {"bare_loop": "loop", "floor": "floor"}[variant], "--ends", self._ends())
        if timing.events != self._count:
            raise UnavailableError(f"{variant} counts {timing.events} events of {self._count}: the run measures nothing")
        return timing

    def phases(self) -> dict[str, float]:
        """Return phase -> CPU microseconds an event."""
        prefix = self._deployment.kafka.prefix
        found = self._child("bare_loop", "phases", "--ends", self._ends(), "--prefix", prefix)
        self.window_bytes = found["bytes_per_feature"]
        return {phase: 1e6 * seconds / found["events"] for phase, seconds in found["phases"].items()}

    def _ends(self) -> str:
        return json.dumps([end for _, (_, end) in sorted(offsets(self._deployment.kafka).items())])

    def _timed(self, module: str, *arguments: str) -> Timing:
        found = self._child(module, *arguments)
        return Timing(found["events"], found["seconds"], found["cpu_seconds"])

    def _child(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run a module of this package on the measured core and return the JSON of its last line."""
        self._children += 1
        kafka = self._deployment.kafka
        where = ["--bootstrap", kafka.bootstrap, "--topic", topic_name(kafka.prefix, EVENTS)]
        child = Child(
            [sys.executable, "-m", f"benchmarks.throughput.{module}", *arguments, *where],
            log=self._on.home / f"{self._data.name}-{module}-{self._children}.log",
            name=f"benchmarks.throughput.{module}",
        )
        with child:
            pin(child.pid, self._on.cores.measured)
            status = child.wait(_TIMEOUT_SECONDS)
            if status != 0:
                raise UnavailableError(f"{child.name} ended with status {status}; it said:\n{child.tail()}")
        result: dict[str, Any] = json.loads(child.log.read_text().splitlines()[-1])
        return result

    def _worker(self, *, learns: bool) -> Timing:
        fifth = max(1, int(self._count / PER_SECOND / 5))
        model = _MODEL + (_LEARNS.format(seconds=fifth) if learns else "")
        self._deployment.afresh(model)
        ending = Ending(self._deployment.kafka)
        worker = self._deployment.worker(self._on.cores.measured)
        before = usage(worker.pid)
        finished = ending.wait(self._end, sources=4, rows=self._count, workers=[worker], timeout_seconds=_TIMEOUT_SECONDS)
        after = usage(worker.pid)
        worker.child.stop()
        return Timing(self._count, finished.at - worker.ready_at, after.cpu_seconds - before.cpu_seconds)


def turns(repeats: int, *, brief: bool) -> Sequence[str]:
    """Return the variants in the order of their runs: those that are compared take turns; `brief` leaves out the others."""
    compared = ["plain_faust", "bare_loop", "driftline"] * repeats
    return compared if brief else ["floor", *compared, "judging"]


def measure(on: BenchmarkServers, data: EventMix, count: int, repeats: int, *, brief: bool) -> dict[str, Any]:
    """Run everything over one data set, print it, and return its part of the result."""
    began = time.monotonic()
    measuring = Measuring(on, data, count)
    timings: dict[str, list[Timing]] = defaultdict(list)
    for variant in turns(repeats, brief=brief):
        timings[variant].append(measuring.run(variant))
    phases = measuring.phases()
    rate = {name: statistics.median(timing.per_second for timing in timings[name]) for name in VARIANTS if name in timings}
    cpu = {name: statistics.median(timing.cpu_microseconds for timing in timings[name]) for name in rate}
    about = (
        f"{data.name}: {count:,} events of {measuring.bytes / count:.0f} bytes, {data.numeric} numeric and "
        f"{data.categorical} categorical features, {WINDOW_SECONDS:g} s windows, "
        f"plain Faust over {timings['plain_faust'][0].events:,} of them"
    )
    print(f"\n{about}\nagents in the worker: {', '.join(measuring.agents)}")
    rows = [
        [
            name,
            f"{len(timings[name])}",
            f"{rate[name]:,.0f}",
            f"{min(one.per_second for one in timings[name]):,.0f} to {max(one.per_second for one in timings[name]):,.0f}",
            f"{cpu[name]:.2f}",
            f"{rate['driftline'] / rate[name]:.2f}",
        ]
        for name in rate
    ]
    show_table(["variant", "runs", "events/s", "range", "CPU us/event", "driftline is x"], rows, data.name)
    of_worker = cpu["driftline"]
    shown = [phase for phase in (*PHASES, *sorted(phases.keys() - set(PHASES))) if phase in phases]
    # The phases are of a loop in another process: what is left says something only if it is more than the noise of both.
    own = of_worker - sum(phases.values())
    rest = [["worker's own", f"{own:.3f}" if own > 0 else "-", ""], ["worker in all", f"{of_worker:.3f}", ""]]
    lines = [[phase, f"{phases[phase]:.3f}", f"{phases[phase] / sum(phases.values()):.0%}"] for phase in shown]
    print()
    show_table(["phase", "CPU us/event", "of the loop"], [*lines, *rest], f"{data.name}: where the time goes")
    print(f"took {time.monotonic() - began:.0f} s")
    return {
        "ratio_to_plain_faust": rate["driftline"] / rate["plain_faust"],
        "ratio_to_bare_loop": rate["driftline"] / rate["bare_loop"],
        "cpu_ratio_to_plain_faust": cpu["plain_faust"] / cpu["driftline"],
        "cpu_ratio_to_bare_loop": cpu["bare_loop"] / cpu["driftline"],
        "events_per_second": {name: round(value) for name, value in rate.items()},
        "cpu_microseconds_per_event": {name: round(value, 3) for name, value in cpu.items()},
        "phases_microseconds_per_event": {name: round(phases[name], 3) for name in shown},
        "bytes_per_event": round(measuring.bytes / count),
        "stored_bytes_per_event": round(measuring.stored_bytes),
        "bytes_per_feature_of_a_window": round(measuring.window_bytes),
        "broker_microseconds_per_event_written": round(measuring.broker_microseconds, 3),
    }


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{EVENTS_QUICK:,} events and {REPEATS_QUICK} repeats")
    parser.add_argument("--events", type=whole_number(100), help=f"events of each data set [{EVENTS_IN_ALL:,}]")
    parser.add_argument("--repeats", type=whole_number(1), help=f"runs of each variant that is compared, in turns [{REPEATS}]")
    parser.add_argument("--brief", action="store_true", help="without `judging` and `floor`, to which nothing is compared")
    parser.add_argument("--data", choices=[*DATA_SETS, "both"], default="both")
    arguments = parser.parse_args()
    count = arguments.events or (EVENTS_QUICK if arguments.quick else EVENTS_IN_ALL)
    repeats = arguments.repeats or (REPEATS_QUICK if arguments.quick else REPEATS)
    names = DATA_SETS if arguments.data == "both" else [arguments.data]
    with servers() as on:
        print(on.cores.words)
        found = {name: measure(on, DATA_SETS[name], count, repeats, brief=arguments.brief) for name in names}
    ratios = {key: min(one[key] for one in found.values()) for key in RATIOS}
    result: dict[str, Any] = {name: round(value, 3) for name, value in ratios.items()}
    result["events_per_second"] = {name: one.pop("events_per_second") for name, one in found.items()}
    result["events_per_second"]["least"] = {
        variant: min(rates[variant] for rates in list(result["events_per_second"].values()) if variant in rates)
        for variant in next(iter(result["events_per_second"].values()))
    }
    result["data"] = {
        name: {key: round(value, 3) if isinstance(value, float) else value for key, value in one.items()}
        for name, one in found.items()
    }
    short = [f"{name} is {ratios[name]:.2f}, must be {least:g}" for name, least in LEAST.items() if ratios[name] < least]
    # Fewer events than that say nothing about speed by the clock.
    status = int(bool(short) and count >= EVENTS_IN_ALL)
    if status:
        print(f"too slow: {'; '.join(short)}")
    return {"benchmark": "throughput", "events": count, "repeats": repeats, **result}, status


if __name__ == "__main__":
    run(benchmark)
