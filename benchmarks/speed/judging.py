"""What a judge costs: merged windows of one model against its references, in this process.

    python -m benchmarks.judging [--quick] [--scale N] [--repeats N]

Parts of every source are made beforehand. The CPU time of `ModelMonitor.add` counts, from the bucket on in which the references
are there. Nothing drifts. A part is one feature of one source's window. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.machine import fit, run, show_table
from benchmarks.speed.feeding import BEGIN, WINDOW_SECONDS
from detectors.errors import DriftlineError
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, ReferenceSpec, shapes_of
from detectors.windows.record import Mark, Window
from detectors.windows.row import Row
from detectors.windows.windows import Windows
from streams.state import snapshot

#: (features, sources) of the cases; the first four grow in features, the others in sources.
CASES = ((5, 4), (20, 4), (100, 4), (500, 4), (20, 1), (20, 16), (20, 64))
#: Buckets that references are learned from, and that are then judged; fewer in a small run.
_LEARNED, _JUDGED = 30, 20
_LEAST_LEARNED, _LEAST_JUDGED = 10, 3
#: More than a window keeps points for, so that its summary has the full size.
_ROWS = 100


@dataclass(frozen=True, slots=True)
class JudgingCost:
    """One case: CPU seconds of a bucket, bytes of the snapshot afterwards."""

    features: int
    sources: int
    seconds: float
    snapshot_bytes: int


def cost(features: int, sources: int, *, scale: float, repeats: int) -> JudgingCost:
    """Return what a bucket of so many features and sources costs: the least of some runs."""
    learned, judged = max(_LEAST_LEARNED, int(_LEARNED * scale)), max(_LEAST_JUDGED, int(_JUDGED * scale))
    spec = ModelSpec("hot", window_seconds=WINDOW_SECONDS, max_features=features)
    spec = replace(spec, reference=ReferenceSpec(learned * WINDOW_SECONDS, learned))
    buckets = _buckets(spec, features, sources, learned + judged)
    taken: list[float] = []
    for _ in range(repeats):
        monitor = ModelMonitor.begin(spec)
        for bucket in buckets[:learned]:
            for record in bucket:
                monitor.add(record)
        if monitor.learning:
            raise DriftlineError(f"no reference after {learned} windows: the run measures nothing")
        began = time.process_time()
        for bucket in buckets[learned:]:
            for record in bucket:
                monitor.add(record)
        taken.append((time.process_time() - began) / judged)
    return JudgingCost(features, sources, min(taken), len(snapshot.dump({"hot": monitor})))


def _buckets(spec: ModelSpec, features: int, sources: int, count: int) -> list[list[Window | Mark]]:
    """Return the records of each bucket: parts and marks of all sources."""
    draw = np.random.default_rng(2)
    names = [f"f{number}" for number in range(features)]
    shapes = shapes_of({spec.name: spec}, "features")
    buckets: list[list[Window | Mark]] = []
    for index in range(count):
        start = BEGIN + index * spec.window_seconds
        # Sources of one bucket are alike in size, and it is size that costs: one is made, and stands for all.
        windows = Windows("features", source=0, sources=sources, shapes=shapes)
        values = draw.normal(size=(_ROWS, features)).tolist()
        rows = [Row(place, spec.name, start, "", dict(zip(names, one, strict=True))) for place, one in enumerate(values)]
        rows.append(Row(_ROWS, spec.name, start + spec.window_seconds, "", None))
        found = windows.add_rows(rows).records
        part = next(record for record in found if isinstance(record, Window))
        mark = next(record for record in reversed(found) if isinstance(record, Mark))
        buckets.append([])
        for source in range(sources):
            buckets[-1] += [_of(part, source), _of(mark, source)]
    return buckets


def _of(record: Window | Mark, source: int) -> Window | Mark:
    """Return the record as another source would have written it."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**{**fields, "source": source})


def summary(judged: Sequence[JudgingCost]) -> dict[str, float]:
    """Return microseconds of a feature and of each part of it in a bucket, and snapshot bytes of a feature.

    `feature_growth` is by how much more a feature costs among the most features than among the fewest: below 1 where a bucket
    has a cost of its own, above 1 only if features cost each other.
    """
    of_sources = [one for one in judged if one.features == 20]
    of_features = [one for one in judged if one.sources == 4]
    line = fit([one.sources for one in of_sources], [1e6 * one.seconds / one.features for one in of_sources])
    sizes = fit([one.features for one in judged], [one.snapshot_bytes for one in judged])
    few, many = (chosen(of_features, key=lambda one: one.features) for chosen in (min, max))
    return {
        "feature_microseconds": round(line.level, 2),
        "part_microseconds": round(line.slope, 3),
        "snapshot_bytes_per_feature": round(sizes.slope),
        "feature_growth": round((many.seconds / many.features) / (few.seconds / few.features), 3),
    }


def benchmark() -> tuple[dict[str, Any], int]:
    """Return the result and the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the buckets, fewer repeats")
    parser.add_argument("--scale", type=float, help="share of the buckets [1, with --quick 0.1]")
    parser.add_argument("--repeats", type=int, help="runs of which the fastest counts [5, with --quick 3]")
    arguments = parser.parse_args()
    scale = arguments.scale or (0.1 if arguments.quick else 1.0)
    repeats = arguments.repeats or (3 if arguments.quick else 5)
    judged = [cost(*case, scale=scale, repeats=repeats) for case in CASES]
    show_table(
        ["features", "sources", "us/bucket", "us/feature", "snapshot KiB"],
        [
            [
                f"{one.features}",
                f"{one.sources}",
                f"{1e6 * one.seconds:,.0f}",
                f"{1e6 * one.seconds / one.features:.1f}",
                f"{one.snapshot_bytes / 1024:,.0f}",
            ]
            for one in judged
        ],
        "judging",
    )
    return {"benchmark": "judging", **summary(judged)}, 0


if __name__ == "__main__":
    run(benchmark)
