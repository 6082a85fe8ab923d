"""The story of one model in records of the windows topic, from three sources: what moves, and what its monitor finds in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import msgspec
import numpy as np

from detectors.incidents.decision import Acceptance, Decision
from detectors.incidents.retrain import Request
from detectors.model.finding import Finding
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, ReferenceSpec, RetrainSpec
from detectors.windows.record import Kind, Mark, Window, WindowShape
from detectors.windows.row import ERROR, Row
from detectors.windows.windows import Windows
from streams.state import snapshot
from streams.state.rebuild import placed
from tests.support.simulated import watched

SOURCES = 3
SPEC = ModelSpec(
    "m",
    factory="somewhere:make",
    window_seconds=10.0,
    reference=ReferenceSpec(seconds=200.0, min_windows=12),
    retrain=RetrainSpec(cooldown_seconds=300.0),
)
Record = Window | Mark | Decision | Acceptance
ROUND_ROBIN = [index % SOURCES for index in range(3000)]


@cache
def story() -> list[list[Record]]:
    """Return the records of each source: a mean moves at 400 s and comes back at 800 s.

    A new category comes at 460 s, nulls at 600 s.
    """
    rng = np.random.default_rng(5)
    written: list[list[Record]] = []
    for source in range(SOURCES):
        shapes = {"m": WindowShape(10.0, 5.0)}
        windows: dict[Kind, Windows] = {
            "features": Windows("features", source=source, sources=SOURCES, shapes=shapes),
            "outcomes": Windows("outcomes", source=source, sources=SOURCES, shapes=shapes),
        }
        mine: list[Record] = []
        for index in range(600):
            ts = 2.0 * index + float(rng.uniform(-4, 0)) + 4
            moved = 3.0 if 400 <= ts < 800 else 0.0
            null = ts >= 600 and rng.random() < 0.5
            city = "XK" if ts >= 460 and rng.random() < 0.3 else str(rng.choice(["NO", "SE", "DK"]))
            values = {"x": float(rng.normal()) + moved, "y": None if null else float(rng.normal()), "city": city}
            mine.extend(windows["features"].add_rows([Row(index, "m", ts, "eu" if index % 2 else "", values)]).records)
            wrong = float(rng.random() < (0.6 if ts >= 650 else 0.1))
            mine.extend(windows["outcomes"].add_rows([Row(index, "m", ts, "", {ERROR: wrong})]).records)
        written.append(mine)
    return written


def interleaved(order: Iterable[int]) -> list[Record]:
    """Return the story with sources taking turns in that order, then one after the other."""
    rest = [list(reversed(records)) for records in story()]
    mixed_up = [rest[source].pop() for source in order if rest[source]]
    return mixed_up + [record for records in rest for record in reversed(records)]


def feed(monitor: ModelMonitor, records: Iterable[Record]) -> list[Finding]:
    """Return what a monitor finds in records; every request is answered by a swap at once."""
    found: list[Finding] = []
    for record in records:
        for finding in monitor.add(record):
            found.append(finding)
            if isinstance(finding, Request):
                answer = swapped(finding)
                found.extend(monitor.add(answer))
    return found


def as_bytes(found: list[Finding]) -> list[bytes]:
    """Return findings as bytes, to be compared in all they say."""
    return [msgspec.msgpack.encode(finding, enc_hook=lambda array: array.tobytes()) for finding in found]


def swapped(request: Request) -> Decision:
    """Return the decision that promotes version 2."""
    return Decision("swap-1", "m", request.id, "promoted", 2, request.features, requested_at=request.requested_at)


def digest(monitor: ModelMonitor, found: list[Finding]) -> str:
    """Return a hash of a state and of all that was found on the way to it."""
    return hashlib.sha256(b"".join([snapshot.dump({"m": monitor}), *as_bytes(found)])).hexdigest()


def features_only(order: Iterable[int]) -> list[Record]:
    """Return the windows and marks of features, from sources that take turns in that order."""
    return [record for record in interleaved(order) if isinstance(record, Window | Mark) and record.kind == "features"]


def findings(records: Iterable[Record]) -> list[bytes]:
    """Return what a new monitor finds, as bytes."""
    return as_bytes(watched(SPEC, records)[1])


def check_carried_over(told: list[Record], order: Iterable[int]) -> None:
    """Check that one answer in the features' history holds where it did after it was carried over to the history made again.

    Args:
        told: the features' history with one decision or acceptance in it.
        order: how the sources take turns in the history that is made again.
    """
    carried, again = list(placed(iter(told))), features_only(order)
    assert [answer.place is not None for answer in carried] == [True]
    wanted = findings(told)
    assert wanted != findings(features_only(ROUND_ROBIN))
    assert findings([*carried, *again]) == wanted
    assert findings([*placed(iter([*carried, *again])), *again]) == wanted
