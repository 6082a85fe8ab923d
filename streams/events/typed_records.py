"""Records of one model that fit its type: their faults, their event times, their rows.

The result is that of streams/events/event.py, to the bit (streams/events/decoding.py, rule 1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.errors import EventError
from detectors.windows.block import ABSENT
from detectors.windows.row import PREDICTION_LABEL, PREDICTION_SCORE, Row
from streams.events.event import MAX_AHEAD_SECONDS, MILLISECONDS_FROM, Event, EventKind, as_categories, event_time
from streams.events.record_types import RecordType, Word, answer_of, class_of, probabilities_of

_ROWS: tuple[EventKind, ...] = ("prediction", "features", "tick")
#: The last second of the year 9999.
_LAST_SECOND = 253_402_300_799.0


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one model that fit its type; lists of equal length, in offset order."""

    kind: RecordType
    wires: list[Any]
    offsets: Integers
    ts: Floats
    kinds: list[EventKind]
    distinct: frozenset[EventKind]

    def events(self, kinds: Collection[EventKind], *, with_id: bool) -> Iterable[Event]:
        """Yield the events of some kinds, as the general way gives them; `with_id` leaves out those without an id."""
        if self.distinct.isdisjoint(kinds):
            return
        places = [place for place, wire in enumerate(self.wires) if wire.id is not None] if with_id else range(len(self.wires))
        names = self.kind.names
        order = sorted(range(len(names)), key=names.__getitem__)
        words = [names[place] for place in self.kind.places({"word"})]
        for at in places:
            wire, is_kind = self.wires[at], self.kinds[at]
            if is_kind not in kinds:
                continue
            if self.kind.loose:
                features = dict(sorted((wire.features or {}).items()))
            else:
                values = () if wire.features is None else msgspec.structs.astuple(wire.features)
                features = {names[place]: values[place] for place in order if values and values[place] is not ABSENT}
            for name in words:
                if isinstance(word := features.get(name), Word):
                    features[name] = word.value
            if self.kind.categorical:
                as_categories(features, self.kind.categorical)
            prediction = wire.prediction
            label, score = (None, None) if prediction is None else answer_of(prediction)
            # By position: names would cost half as much again.
            yield Event(
                is_kind,
                int(self.offsets[at]),
                self.kind.model,
                float(self.ts[at]),
                None if wire.id is None else str(wire.id),
                wire.segment or "",
                features,
                wire.label if is_kind == "label" else label,
                score,
                None if wire.model_version is None else str(wire.model_version),
                None if wire.client is None else str(wire.client),
                None if wire.entity is None else str(wire.entity),
                wire.tags,
                None if prediction is None else probabilities_of(prediction),
            )

    def rows(self) -> Iterable[Row]:
        """Yield the rows of the records."""
        return (row_of_event(event) for event in self.events(_ROWS, with_id=False))

    def stretch(self, low: int, high: int) -> Group:
        """Return the records from index `low` up to `high`."""
        if low == 0 and high >= len(self.wires):
            return self
        return _made(self.kind, self.wires[low:high], self.offsets[low:high], self.ts[low:high], self.kinds[low:high])


def _made(kind: RecordType, wires: list[Any], offsets: Integers, ts: Floats, kinds: list[EventKind]) -> Group:
    return Group(kind, wires, offsets, ts, kinds, frozenset(kinds))


def group_of(kind: RecordType, wires: list[Any], offsets: Integers, clock: Floats) -> tuple[Group, Flags]:
    """Return the records of one model without a fault, and a flag for each record that has one."""
    kinds = _kinds_of(wires)
    ts, faults = _times([wire.ts for wire in wires], clock)
    if None in kinds:
        faults |= np.array([kind is None for kind in kinds])
    if "features" in kinds:
        for place in _perhaps_empty(wires):
            faults[place] |= kinds[place] == "features" and _is_empty(wires[place].features)
    if not faults.any():
        return _made(kind, wires, offsets, ts, cast("list[EventKind]", kinds)), faults
    kept = np.flatnonzero(~faults).tolist()
    sound = [cast("EventKind", kinds[place]) for place in kept]
    return _made(kind, [wires[place] for place in kept], offsets[kept], ts[kept], sound), faults


def _perhaps_empty(wires: list[Any]) -> Iterable[int]:
    """Return the indices of records that may have no feature: none, if every record has the first feature of the type."""
    try:
        firsts = [wire.features.f0 for wire in wires]
    except AttributeError:  # one has no `features` at all
        return range(len(wires))
    return [place for place, first in enumerate(firsts) if first is ABSENT] if ABSENT in firsts else ()


def _is_empty(features: Any) -> bool:
    if isinstance(features, dict):
        return not features
    return features is None or all(value is ABSENT for value in msgspec.structs.astuple(features))


def _kinds_of(wires: list[Any]) -> list[EventKind | None]:
    """Return the kind of each record; None for one with too few or too many fields."""
    kinds: list[EventKind | None] = [wire.type for wire in wires]
    if len(set(kinds)) == 1 and kinds[0] in ("features", "prediction", "tick"):
        return kinds
    return [wire.type if wire.type not in (None, "label") else _kind_of(wire) for wire in wires]


def _kind_of(wire: Any) -> EventKind | None:
    if wire.label is msgspec.UNSET:
        if wire.type == "label":
            return None
        return "features" if wire.prediction is None else "prediction"
    if wire.id is None:
        return None
    if wire.type is None and (wire.features is not None or wire.prediction is not None):
        return None
    return "label"


def _times(ts: list[Any], clock: Floats) -> tuple[Floats, Flags]:
    """Return event times, epoch seconds, and a flag for each that is none, by the rules of `event_time` (event.py)."""
    types = set(map(type, ts))
    if types <= {float, int}:
        seconds = np.array(ts, dtype=np.float64)
        seconds = np.where(np.abs(seconds) >= MILLISECONDS_FROM, seconds / 1000.0, seconds)
    elif types == {type(None)}:
        seconds = clock.copy()
    else:
        seconds = np.array([_time(one, now) for one, now in zip(ts, clock.tolist(), strict=True)])
    with np.errstate(invalid="ignore"):
        return seconds, ~((seconds >= 0.0) & (seconds <= _LAST_SECOND) & (seconds <= clock + MAX_AHEAD_SECONDS))


def _time(ts: Any, now: float) -> float:
    try:
        return event_time(ts, now)
    except EventError:
        return float("nan")


def row_of_event(event: Event) -> Row:
    """Return the row of an event: its features and its prediction."""
    if event.kind == "tick":
        return Row(event.offset, event.model, event.ts, "", None)
    values = event.features
    if event.label is not None:
        values = {**values, PREDICTION_LABEL: class_of(event.label)}
    if event.score is not None:
        values = {**values, PREDICTION_SCORE: event.score}
    return Row(event.offset, event.model, event.ts, event.segment, values)
