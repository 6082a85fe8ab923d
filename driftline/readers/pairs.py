"""Pairs: predictions and labels of a file of events, by id -> errors.

Rules:
1. Which prediction and which label make a pair stands in detectors/pairing/pairing.py, as for the workers' join.
2. A half is forgotten after `kept_seconds` of event time, because a file has no clock. The workers go by wall time.
3. A half whose partner was used up already still waits. The join uses it up too (streams/stages/join.py, rule 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from detectors.pairing.pairing import USING_UP, Half, Pairing, half_of, in_order, kept_seconds, other, paired
from detectors.spec import ModelSpec
from detectors.windows.row import ERROR, Row, Value
from streams.events.event import Event
from streams.records.outcomes import error_between

#: Halves that are kept before expired ones are looked for.
_SWEEP_HALVES = 1 << 16


@dataclass(frozen=True, slots=True)
class _HalfValues:
    """What an error needs of an event."""

    ts: float
    segment: str
    label: Value
    score: float | None


@dataclass(slots=True)
class _Waiting:
    """One half: its position among the events, its event until it was used up, the newest event time that still knows it."""

    offset: int
    event: _HalfValues | None
    until: float


class Pairs:
    """The halves that wait."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        """`models`: the configured ones by name."""
        self._models = models
        self._halves: dict[tuple[str, str, Half], _Waiting] = {}
        #: Model -> newest event time.
        self._newest: dict[str, float] = {}
        self._count = 0
        self._sweep_at = _SWEEP_HALVES

    def rows(self, events: Iterable[Event]) -> list[Row]:
        """Read events that have an id, in order, and return a row of the error of each pair that they complete."""
        rows = []
        for event in events:
            newest = self._newest[event.model] = max(event.ts, self._newest.get(event.model, event.ts))
            row = self._pair(event, newest)
            if row is not None:
                rows.append(row)
        if len(self._halves) > self._sweep_at:
            self._halves = {key: entry for key, entry in self._halves.items() if entry.until >= self._newest[key[0]]}
            self._sweep_at = max(_SWEEP_HALVES, 2 * len(self._halves))
        return rows

    def _pair(self, event: Event, newest: float) -> Row | None:
        self._count += 1
        identity, half = str(event.id), half_of(event.kind)
        same = self._known(event.model, identity, half, newest)
        partner = self._known(event.model, identity, other(half), newest)
        within = self._models[event.model].outcomes.label_within_seconds
        answer = _HalfValues(event.ts, event.segment, event.label, event.score)
        result = paired(half, answer, self._count, same=same, partner=partner, label_within_seconds=within)
        if result is Pairing.DUPLICATE:
            return None
        entry = _Waiting(self._count, answer, event.ts + kept_seconds(within))
        self._halves[event.model, identity, half] = entry
        if partner is None or partner.event is None or result not in USING_UP:
            return None
        prediction, label = in_order(half, answer, partner.event)
        entry.event = partner.event = None
        if result is Pairing.TOO_LATE:
            return None
        error = error_between(prediction.label, prediction.score, label.label)
        return None if error is None else Row(event.offset, event.model, label.ts, prediction.segment, {ERROR: error})

    def _known(self, model: str, identity: str, half: Half, newest: float) -> _Waiting | None:
        entry = self._halves.get((model, identity, half))
        return entry if entry is not None and entry.until >= newest else None
