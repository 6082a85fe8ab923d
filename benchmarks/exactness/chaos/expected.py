"""What has to come of an input log, worked out from the log alone by the rules of docs/events.md.

Nothing of the product is asked here, and no counter of a process that may have been killed:

- a row is late when its window had closed by the rows of its model before it in its partition, that is
  when it ends at or before the newest of them less the lateness;
- the first prediction and the first label of an id make an outcome, at the offset of the later of the
  two, unless the label's time is more than `label_within` after the prediction's;
- a malformed event is a dead letter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.exactness.chaos.log import Entry, InputLog
from benchmarks.exactness.chaos.monitors import LABEL_WITHIN_SECONDS, LATENESS_SECONDS, WINDOW_SECONDS
from detectors.windows.record import Kind

#: Which window: model, segment, kind, source partition, first second.
WindowKey = tuple[str, str, Kind, int, float]
#: Which record of the events topic: partition, offset.
Place = tuple[int, int]
#: A row that counts: model, segment, event time in seconds.
_Row = tuple[str, str, float]


@dataclass(frozen=True, slots=True)
class ExpectedResults:
    """What has to come of a log.

    Args:
        events: records in the log; `rows` of them are predictions or features, the others labels or malformed.
        windows: closed window -> rows in it, of features and of outcomes.
        late: rows in no window because they came too late, by kind.
        open: rows in windows that the log does not close, by kind.
        outcomes: where the outcomes come from.
        dead: where the malformed events stand -> (reason, key, value).
    """

    events: int
    rows: int
    windows: dict[WindowKey, int]
    late: Counter[Kind]
    open: Counter[Kind]
    outcomes: frozenset[Place]
    dead: dict[Place, tuple[str, bytes | None, bytes | None]]


def expected(log: InputLog) -> ExpectedResults:
    """Work out what has to come of a log."""
    windows: dict[WindowKey, int] = {}
    late: Counter[Kind] = Counter()
    still_open: Counter[Kind] = Counter()
    outcomes: set[Place] = set()
    dead: dict[Place, tuple[str, bytes | None, bytes | None]] = {}
    rows = 0
    for source, entries in enumerate(log.by_partition()):
        of_features = [(one.model, one.segment, one.ts) for one in entries if one.sort in ("prediction", "features")]
        joined = _joined(entries)
        of_outcomes = [row for _, row in joined]
        rows += len(of_features)
        outcomes |= {(source, offset) for offset, _ in joined}
        dead |= {(source, at): (one.reason, one.key, one.value) for at, one in enumerate(entries) if one.sort == "malformed"}
        kinds: tuple[tuple[Kind, list[_Row]], ...] = (("features", of_features), ("outcomes", of_outcomes))
        for kind, found in kinds:
            closed, missed, left = _windows(found)
            windows |= {(model, segment, kind, source, start): n for (model, segment, start), n in closed.items()}
            late[kind] += missed
            still_open[kind] += left
    return ExpectedResults(len(log.entries), rows, windows, late, still_open, frozenset(outcomes), dead)


def _joined(entries: Iterable[Entry]) -> list[tuple[int, _Row]]:
    """Return (offset of the later half, row) of every outcome of one partition, in order of offset."""
    firsts: dict[tuple[str, str | None, str], tuple[int, Entry]] = {}
    found: list[tuple[int, _Row]] = []
    for offset, entry in enumerate(entries):
        if entry.sort not in ("prediction", "label"):
            continue
        if firsts.setdefault((entry.model, entry.id, entry.sort), (offset, entry))[0] != offset:
            continue
        other = firsts.get((entry.model, entry.id, "label" if entry.sort == "prediction" else "prediction"))
        if other is None:
            continue
        prediction, label = (entry, other[1]) if entry.sort == "prediction" else (other[1], entry)
        if label.ts - prediction.ts <= LABEL_WITHIN_SECONDS:
            found.append((offset, (entry.model, prediction.segment, label.ts)))
    return found


def _windows(rows: Iterable[_Row]) -> tuple[dict[tuple[str, str, float], int], int, int]:
    """Return (window -> rows, rows too late, rows in windows still open) of one partition's rows in order."""
    newest: dict[str, float] = {}
    counts: Counter[tuple[str, str, float]] = Counter()
    late = 0
    for model, segment, ts in rows:
        start = math.floor(ts / WINDOW_SECONDS) * WINDOW_SECONDS
        if start + WINDOW_SECONDS <= _closed_until(newest.get(model, -math.inf)):
            late += 1
        else:
            counts[model, segment, start] += 1
        newest[model] = max(newest.get(model, -math.inf), ts)
    closed = {key: n for key, n in counts.items() if key[2] + WINDOW_SECONDS <= _closed_until(newest[key[0]])}
    return closed, late, counts.total() - sum(closed.values())


def _closed_until(newest: float) -> float:
    """Return the end of the last window that is closed once `newest` was seen."""
    if newest == -math.inf:
        return newest
    return math.floor((newest - LATENESS_SECONDS) / WINDOW_SECONDS) * WINDOW_SECONDS
