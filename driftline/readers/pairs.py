"""Pairs: predictions and labels of a file of events, by id -> errors.

Rules:
1. They are those of the join of the workers (streams/stages/join.py, rules 3 and 5): the first prediction and the first
   label of an id count, and a label later than `label_within` after its prediction is not joined.
2. A half waits for `label_within` and two days, and is forgotten then. The workers count that by the clock; a file
   has none, so event time counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from detectors.spec import ModelSpec
from detectors.windows.row import ERROR, Row
from streams.events.event import Event, Scalar
from streams.records.outcomes import error_between

Half = Literal["p", "l"]

_GRACE_SECONDS = 2 * 86_400.0
#: Halves kept before those that are over are looked for.
_SWEEP_HALVES = 1 << 16


@dataclass(slots=True)
class _Half:
    """One half: what an error needs of its event, the newest event time that it is still known at, whether it was joined."""

    until: float
    ts: float
    segment: str
    label: Scalar
    score: float | None
    joined: bool = False


class Pairs:
    """The halves that wait."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        """`models`: the configured ones by name."""
        self._models = models
        self._halves: dict[tuple[str, str, Half], _Half] = {}
        #: Model -> newest event time.
        self._newest: dict[str, float] = {}
        self._sweep_at = _SWEEP_HALVES

    def rows(self, events: Iterable[Event]) -> list[Row]:
        """Take events that have an id, in order, and return the errors that they make known."""
        found = []
        for event in events:
            newest = self._newest[event.model] = max(event.ts, self._newest.get(event.model, event.ts))
            row = self._pair(event, newest)
            if row is not None:
                found.append(row)
        if len(self._halves) > self._sweep_at:
            self._halves = {key: entry for key, entry in self._halves.items() if entry.until >= self._newest[key[0]]}
            self._sweep_at = max(_SWEEP_HALVES, 2 * len(self._halves))
        return found

    def _pair(self, event: Event, newest: float) -> Row | None:
        mine: Half = "p" if event.kind == "prediction" else "l"
        other: Half = "l" if mine == "p" else "p"
        identity = str(event.id)
        if self._known(event.model, identity, mine, newest) is not None:
            return None
        within = self._models[event.model].outcomes.label_within_seconds
        entry = _Half(event.ts + within + _GRACE_SECONDS, event.ts, event.segment, event.label, event.score)
        self._halves[event.model, identity, mine] = entry
        partner = self._known(event.model, identity, other, newest)
        if partner is None or partner.joined:
            return None
        entry.joined = partner.joined = True
        prediction, label = (entry, partner) if mine == "p" else (partner, entry)
        if label.ts - prediction.ts > within:
            return None
        error = error_between(prediction.label, prediction.score, label.label)
        return None if error is None else Row(event.offset, event.model, label.ts, prediction.segment, {ERROR: error})

    def _known(self, model: str, identity: str, half: Half, newest: float) -> _Half | None:
        entry = self._halves.get((model, identity, half))
        return entry if entry is not None and entry.until >= newest else None
