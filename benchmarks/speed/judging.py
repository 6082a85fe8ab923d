"""What a judge costs: merged windows of one model against its references, in this process.

Parts of every source are made beforehand; what is timed is `ModelMonitor.add`, from the bucket in which the references
are there. Nothing drifts. A part is one feature of one source's window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.machine import fit
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
                monitor.add(spec, record)
        if monitor.learning:
            raise DriftlineError(f"no reference after {learned} windows: the run measures nothing")
        began = time.process_time()
        for bucket in buckets[learned:]:
            for record in bucket:
                monitor.add(spec, record)
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
        found = windows.add_rows(rows)
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


def summary(judged: list[JudgingCost]) -> dict[str, float]:
    """Return microseconds of a feature and of each part of it in a bucket, and snapshot bytes of a feature."""
    of_sources = [one for one in judged if one.features == 20]
    line = fit([one.sources for one in of_sources], [1e6 * one.seconds / one.features for one in of_sources])
    sizes = fit([one.features for one in judged], [one.snapshot_bytes for one in judged])
    return {
        "feature_microseconds": round(line.level, 2),
        "part_microseconds": round(line.slope, 3),
        "snapshot_bytes_per_feature": round(sizes.slope),
    }
