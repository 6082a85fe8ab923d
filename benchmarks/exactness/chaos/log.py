"""The input log: known to the byte and to the offset before anything is sent.

Rules:
1. Everything follows from the seed, the size and the number of partitions. Each event names its partition,
   so its offset is known too, and outcomes of two runs can be compared to the byte.
2. It has what real streams have: known drifts, labels early, late, twice or never, events out of order
   within the allowed lateness and far beyond it, three spellings of time, and malformed events of every kind.
3. It ends with a prediction and a label of every model in every partition, far enough ahead to close every
   window before `end`. These rows themselves stay in open windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from zlib import crc32

import numpy as np
import orjson

from benchmarks.exactness.chaos.malformed import MALFORMED
from benchmarks.exactness.chaos.monitors import LABEL_WITHIN_SECONDS, LATENESS_SECONDS, MONITORS, WINDOW_SECONDS, Monitor
from detectors.windows.row import ERROR

#: First second of event time: a whole hour, long ago, so that no event is ahead of the broker's clock.
BEGIN = 1_700_002_800.0
#: Windows beyond the last one that the closing rows lie ahead.
_AHEAD = 3
_PLANS = ("basic", "plus", "pro", "team")

Sort = Literal["prediction", "features", "label", "malformed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it is sent; of a malformed one `reason` is the word that its dead letter has to carry."""

    sort: Sort
    partition: int
    key: bytes
    value: bytes | None
    model: str = ""
    segment: str = ""
    id: str | None = None
    ts: float = 0.0
    reason: str = ""
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """A known change: what of which model and segment, in which windows; an alert has to name the feature."""

    model: str
    segment: str
    feature: str
    first: int
    last: int

    def holds(self, monitor: Monitor, segment: str, window: int) -> bool:
        """Return whether rows of that model and segment are changed in that window."""
        return (self.model, self.segment) == (monitor.name, segment) and self.first <= window < self.last


@dataclass(frozen=True, slots=True)
class InputLog:
    """Records in the order in which they are sent, and what is known of them."""

    partitions: int
    entries: tuple[Entry, ...]
    drifts: tuple[Drift, ...]
    #: Event time before which every window is closed by the end of the log.
    end: float

    def by_partition(self) -> list[list[Entry]]:
        """Return the entries of each partition; the index is the offset."""
        found: list[list[Entry]] = [[] for _ in range(self.partitions)]
        for entry in self.entries:
            found[entry.partition].append(entry)
        return found


def input_log(seed: int, *, partitions: int, windows: int, rows: int) -> InputLog:
    """Return a log of so many windows, with so many rows for each window and segment."""
    dice = np.random.default_rng([seed, windows, rows])
    drifts = tuple(_drifts(windows))
    drafts: list[tuple[float, Entry]] = []
    for window in range(windows):
        for monitor in MONITORS:
            for segment in monitor.segments:
                changed = {drift.feature for drift in drifts if drift.holds(monitor, segment, window)}
                drafts.extend(_rows(dice, LogStretch(monitor, segment, window, rows, frozenset(changed)), partitions))
    span = windows * WINDOW_SECONDS
    drafts.extend((at, entry) for at, entry in _malformed(dice, count=len(drafts) // 100, span=span, partitions=partitions))
    drafts.sort(key=lambda draft: draft[0])
    drafts = [draft for draft in drafts if draft[0] < BEGIN + span]  # labels that would come after the end never come
    entries = [entry for _, entry in drafts] + list(_closing(windows, partitions))
    return InputLog(partitions, tuple(entries), drifts, BEGIN + span)


def _drifts(windows: int) -> Iterator[Drift]:
    """Four changes, one after the other, once the references are there."""

    def at(share: float) -> int:
        return int(share * windows)

    yield Drift("fraud", "eu", "amount", at(0.50), at(0.60))
    yield Drift("churn", "", "plan", at(0.60), at(0.70))
    yield Drift("prices", "", "area", at(0.70), at(0.80))
    yield Drift("fraud", "us", ERROR, at(0.80), at(0.90))


@dataclass(frozen=True, slots=True)
class LogStretch:
    """The rows of one model and segment in one window; `changed` names the features that have drifted."""

    monitor: Monitor
    segment: str
    window: int
    rows: int
    changed: frozenset[str]


def _rows(dice: np.random.Generator, stretch: LogStretch, partitions: int) -> Iterator[tuple[float, Entry]]:
    """Yield (when it is sent, entry): predictions of a stretch with their labels, some features alone."""
    monitor, segment, window, rows, changed = stretch.monitor, stretch.segment, stretch.window, stretch.rows, stretch.changed
    begin = BEGIN + window * WINDOW_SECONDS
    sent = np.sort(begin + dice.random(rows) * WINDOW_SECONDS)
    amounts = dice.normal(3.0 if "amount" in changed else 0.0, 1.0, rows)
    areas = dice.normal(50.0, 10.0, rows)
    missing = dice.random(rows) < (0.6 if "area" in changed else 0.02)
    plans = dice.choice(4, rows, p=[0.05, 0.05, 0.1, 0.8] if "plan" in changed else [0.5, 0.3, 0.15, 0.05])
    wrong = dice.random(rows) < (0.7 if ERROR in changed else 0.1)
    behind = _delays(dice, rows)
    fate = dice.random((rows, 4))
    noise = dice.normal(0.0, 1.0, rows)
    for row in range(rows):
        name = f"{monitor.name[0]}{segment}-{window}-{row}"
        at, ts = float(sent[row]), _milliseconds(sent[row] - behind[row])
        features: dict[str, Any] = {
            "amount": float(amounts[row]),
            "area": None if missing[row] else float(areas[row]),
            "plan": _PLANS[plans[row]],
            "new": bool(fate[row, 0] < 0.3),
            "visits": int(fate[row, 1] * 9),
        }
        body: dict[str, Any] = {"model": monitor.name, "features": features, "ts": _spelled(ts, fate[row, 2])}
        if segment:
            body["segment"] = segment
        if fate[row, 3] < 0.04:  # features alone: of no prediction, anywhere
            key = f"{monitor.name}-{ts}".encode()
            where = int(fate[row, 2] * partitions)
            yield at, Entry("features", where, key, orjson.dumps(body), monitor.name, segment, None, ts)
            continue
        guess = float(areas[row] * 2) if monitor.numbers else bool(amounts[row] > 0)
        body |= {"id": name, "prediction": guess if monitor.numbers else {"label": guess, "score": float(fate[row, 1])}}
        where, key = crc32(name.encode()) % partitions, name.encode()
        prediction = Entry("prediction", where, key, orjson.dumps(body), monitor.name, segment, name, ts)
        yield at, prediction
        if fate[row, 3] > 0.99:  # sent twice: a row of its own, and no second outcome
            yield at + 60.0, prediction
        truth: float | bool = (float(guess + noise[row]) if monitor.numbers else guess) if not wrong[row] else _wrong(guess)
        for label_at in _label_times(at, fate[row, 0], fate[row, 1], fate[row, 2]):
            label_ts = _milliseconds(max(BEGIN, label_at - behind[row] / 10))
            label = {"type": "label", "model": monitor.name, "id": name, "label": truth, "ts": _spelled(label_ts, fate[row, 1])}
            yield label_at, Entry("label", where, key, orjson.dumps(label), monitor.name, "", name, label_ts)


def _wrong(guess: float | bool) -> float | bool:
    return (not guess) if isinstance(guess, bool) else guess + 25.0


def _delays(dice: np.random.Generator, rows: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return how far event time lies behind sending: mostly within the lateness, for some hours or days."""
    delays = np.minimum(dice.exponential(40.0, rows), LATENESS_SECONDS * 0.9)
    far = dice.random(rows)
    delays = np.where(far < 0.01, dice.random(rows) * 3 * 3600.0, delays)
    return np.where(far < 0.002, dice.random(rows) * 3 * 86_400.0, delays)


def _label_times(at: float, delay: float, which: float, again: float) -> Sequence[float]:
    """Return when the labels of a prediction are sent: one as a rule, before it, too late, twice or never."""
    if which < 0.02:
        return ()
    if which < 0.04:
        return (at - 30.0,)
    if which < 0.045:
        return (at + LABEL_WITHIN_SECONDS + 3600.0,)
    due = at + 60.0 + delay * 1800.0
    return (due, due + 90.0) if again > 0.99 else (due,)


def _malformed(dice: np.random.Generator, *, count: int, span: float, partitions: int) -> Iterator[tuple[float, Entry]]:
    for number in range(count):
        reason, value = MALFORMED[number % len(MALFORMED)]
        key = f"bad-{number}".encode()
        body = None if value is None else value.replace(b"NUMBER", str(number).encode())
        yield BEGIN + dice.random() * span, Entry("malformed", int(dice.integers(partitions)), key, body, reason=reason)


def _closing(windows: int, partitions: int) -> Iterator[Entry]:
    ts = BEGIN + (windows + _AHEAD) * WINDOW_SECONDS + LATENESS_SECONDS
    for partition in range(partitions):
        for monitor in MONITORS:
            name = f"closing-{monitor.name}-{partition}"
            body = {"model": monitor.name, "id": name, "ts": ts, "features": {"amount": 0.0}, "prediction": 1.5}
            label = {"type": "label", "model": monitor.name, "id": name, "label": 1.5, "ts": ts}
            key = name.encode()
            yield Entry("prediction", partition, key, orjson.dumps(body), monitor.name, "", name, ts, closing=True)
            yield Entry("label", partition, key, orjson.dumps(label), monitor.name, "", name, ts, closing=True)


def _milliseconds(seconds: float) -> float:
    """Return the time as clients write it, so that its three spellings mean the same."""
    return round(float(seconds) * 1000.0) / 1000.0


def _spelled(ts: float, choice: float) -> float | int | str:
    if choice < 0.05:
        return datetime.fromtimestamp(ts, UTC).isoformat(timespec="milliseconds")
    return round(ts * 1000.0) if choice < 0.1 else ts
