"""What an event costs as events, features, segments and windows grow: decoding and windows, in this process.

    python -m benchmarks.growth [--quick]

One size is changed at a time, the others stay at 20 features, one segment, windows of 10 s and short events. A
row shows CPU time and memory for each event and feature, and the slope from the row before it: log of the
cost over log of the size. A slope of 1 means twice as much for twice the size; the cost of an event may grow
with its features and bytes, and may not grow with segments and windows faster than they do. A row whose cost
per event grows faster than its size (slope beyond the limit) is called superlinear.

Memory is the most that Python and NumPy held at once beyond the records themselves (tracemalloc, in a run of
its own), divided by the events that were held then: those of one window and of one fetch. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.machine import run, show_table
from benchmarks.speed.feeding import BEGIN, MODEL, EventMix, bodies
from detectors.errors import DriftlineError
from detectors.spec import ModelSpec, shapes_of
from detectors.windows.record import Window
from detectors.windows.windows import Windows
from streams.events.decoding import Decoding

#: A cost that grows with a higher power of its size than this is superlinear; what is beyond 1 is noise of the machine.
LIMIT = 1.2
#: Rows of one partition in a second of event time: a quarter of 1,000.
PER_SECOND = 250
#: What a broker gives at once from one partition: so many bytes. No more than so many events are taken from it.
FETCH_BYTES, FETCH_EVENTS = 1 << 20, 2000
#: The first events go the slow way, since their features are not known yet.
_FIRST = 10
#: The broker's clock: later than all events.
CLOCK_MS = int((BEGIN + 86_400) * 1000)
_LEAST_ROWS = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of events and windows.

    Args:
        features: in each event.
        segments: events take them in turns.
        seconds: width of a window.
        bytes: of an event; 0 adds nothing to what the features take.
        text: whether the features are texts.
        orders: with 2, every second event writes its features backwards.
    """

    features: int = 20
    segments: int = 1
    seconds: float = 10.0
    bytes: int = 0
    text: bool = False
    orders: int = 1


#: Axis -> (its unit, how a case is made of a size, sizes).
AXES: dict[str, tuple[str, Any, tuple[float, ...]]] = {
    "features": ("features", lambda size: Case(features=size), (5, 20, 100, 500)),
    "order": ("features of senders in two orders", lambda size: Case(features=size, orders=2), (5, 20, 100, 500)),
    "segments": ("segments", lambda size: Case(segments=size, seconds=400.0), (1, 100, 10_000)),
    "window": ("seconds", lambda size: Case(seconds=float(size)), (1, 10, 60, 600)),
    "event": ("bytes that are skipped", lambda size: Case(features=5, bytes=size), (200, 2_000, 20_000)),
    "text": ("bytes in 5 features of text", lambda size: Case(features=5, bytes=size, text=True), (200, 2_000, 20_000)),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one case costs: rows, of which so many held at once; bytes and CPU seconds of an event; most memory held."""

    rows: int
    held: int
    event_bytes: float
    seconds: float
    memory: int

    @property
    def memory_per_event(self) -> float:
        """Bytes of memory for each event that is held."""
        return self.memory / self.held


def records(case: Case, rows: int) -> list[bytes]:
    """Return so many events of one partition."""
    if case.text:
        size = max(1, (case.bytes - 100) // case.features - 8)
        turns = [
            b"{%b}"
            % b",".join(b'"t%d":"%b"' % (name, f"{number % 997:04d}".encode().ljust(size, b"x")) for name in range(case.features))
            for number in range(997)
        ]
    else:
        turns = bodies(EventMix("growth", case.features, 0), min(rows, 20_000))
    if case.orders > 1:
        turns[1::2] = [orjson.dumps(dict(reversed(orjson.loads(body).items()))) for body in turns[1::2]]
    # Bytes that are no features: a field that nobody reads.
    bare = len(turns[0]) + 100
    note = b"" if case.text or case.bytes <= bare else b',"note":"%b"' % (b"x" * (case.bytes - bare))
    return [
        b'{"type":"features","model":"hot","segment":"s%d","ts":%.3f,"features":%b%b}'
        % (number % case.segments, BEGIN + number / PER_SECOND, body, note)
        for number, body in zip(range(rows), itertools.cycle(turns), strict=False)
    ]


def summarised(spec: ModelSpec, values: Sequence[bytes], fetch: int) -> int:
    """Decode and summarise everything, `fetch` records at a time, and return how many rows came out in windows."""
    models = {MODEL: spec}
    decoding = Decoding(models)
    windows = Windows("features", source=0, sources=1, shapes=shapes_of(models, "features"))
    rows = 0
    for first, end in itertools.pairwise([0, *range(_FIRST, len(values), fetch), len(values)]):
        chunk = values[first:end]
        decoded = decoding.decode(range(first, first + len(chunk)), [CLOCK_MS] * len(chunk), chunk)
        rows += sum(record.n for record in windows.add(decoded.blocks).records if isinstance(record, Window))
    return rows


def cost(case: Case, *, scale: float, repeats: int) -> Cost:
    """Return what a case costs: the least of some runs for time, one more for memory."""
    # About as many values in each case, and at least one window and a half.
    rows = int(
        max(
            _LEAST_ROWS,
            scale * 4_000_000 / (case.features + case.bytes / 20),
            1.5 * case.seconds * PER_SECOND * min(1.0, 10 * scale),
        )
    )
    values = records(case, rows)
    values.append(values[0].replace(b'"ts":%.3f' % BEGIN, b'"ts":%.3f' % (BEGIN + rows / PER_SECOND + 2 * case.seconds)))
    event_bytes = sum(map(len, values)) / len(values)
    fetch = max(1, min(FETCH_EVENTS, int(FETCH_BYTES / event_bytes)))
    spec = ModelSpec(MODEL, window_seconds=case.seconds, max_segments=10_000)
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        found = summarised(spec, values, fetch)
        taken.append(time.process_time() - began)
        if found != rows:
            raise DriftlineError(f"{rows} events were read and {found} are in windows: the run measures nothing")
    tracemalloc.start()
    summarised(spec, values, fetch)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = int(min(rows, case.seconds * PER_SECOND)) + fetch
    return Cost(rows, held, event_bytes, min(taken) / rows, memory)


def slope(sizes: tuple[float, float], costs: tuple[float, float]) -> float:
    """Return the power of the size with which the cost grows.

    >>> round(slope((10.0, 1000.0), (3.0, 30.0)), 2)
    0.5
    """
    return math.log(costs[1] / costs[0]) / math.log(sizes[1] / sizes[0])


def axis(name: str, *, scale: float, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each size of an axis."""
    _, case_of, sizes = AXES[name]
    before: tuple[float, Cost] | None = None
    for size in sizes:
        case = case_of(size)
        found = cost(case, scale=scale, repeats=repeats)
        row: dict[str, Any] = {
            "axis": name,
            "size": size,
            "rows": found.rows,
            "event_bytes": round(found.event_bytes),
            "microseconds": round(1e6 * found.seconds, 3),
            "nanoseconds_per_feature": round(1e9 * found.seconds / case.features, 1),
            "memory_bytes": found.memory,
            "memory_per_event": round(found.memory_per_event, 1),
            "memory_per_value": round(found.memory_per_event / case.features, 2),
            "time_slope": None,
            "memory_slope": None,
        }
        if before is not None:
            between = (before[0], size)
            row["time_slope"] = round(slope(between, (before[1].seconds, found.seconds)), 2)
            row["memory_slope"] = round(slope(between, (before[1].memory_per_event, found.memory_per_event)), 2)
        row["superlinear"] = max(row["time_slope"] or 0.0, row["memory_slope"] or 0.0) > LIMIT
        yield row
        before = (size, found)


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the events, fewer repeats")
    parser.add_argument("--scale", type=float, help="share of the events [1, with --quick 0.1]")
    parser.add_argument("--repeats", type=int, help="runs of which the fastest counts [5, with --quick 3]")
    arguments = parser.parse_args()
    scale = arguments.scale or (0.1 if arguments.quick else 1.0)
    repeats = arguments.repeats or (3 if arguments.quick else 5)
    rows: list[dict[str, Any]] = []
    for name, (unit, _, _) in AXES.items():
        found = list(axis(name, scale=scale, repeats=repeats))
        rows += found
        show_table(
            [unit, "events", "bytes", "us/event", "ns/feature", "slope", "memory MiB", "bytes/held event", "slope", ""],
            [
                [
                    f"{row['size']:,}",
                    f"{row['rows']:,}",
                    f"{row['event_bytes']:,}",
                    f"{row['microseconds']:.2f}",
                    f"{row['nanoseconds_per_feature']:.0f}",
                    "" if row["time_slope"] is None else f"{row['time_slope']:.2f}",
                    f"{row['memory_bytes'] / 2**20:.1f}",
                    f"{row['memory_per_event']:,.0f}",
                    "" if row["memory_slope"] is None else f"{row['memory_slope']:.2f}",
                    "superlinear" if row["superlinear"] else "",
                ]
                for row in found
            ],
            name,
        )
        print()
    steepest = {
        measure: {name: max(row[f"{measure}_slope"] or 0.0 for row in rows if row["axis"] == name) for name in AXES}
        for measure in ("time", "memory")
    }
    superlinear = [f"{row['axis']} {row['size']:,}" for row in rows if row["superlinear"]]
    return {"benchmark": "growth", "limit": LIMIT, "superlinear": superlinear, "steepest": steepest, "rows": rows}, 0


if __name__ == "__main__":
    run(benchmark)
