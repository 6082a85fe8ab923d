"""Decoding: records of the events topic -> blocks of rows, with a msgspec type made for the features of each model.

Rules:
1. A record is read in one of two ways: with the type of its model, which was learned from the records before
   it, or with the general type of streams/events/event.py. Both give the same result, to the bit. A record that does
   not fit the type of its model is read in the general way, which alone finds faults. Events have
   their features sorted by name, so the bytes written of an event do not depend on the way it was read.
2. A type has the names of the features in the sender's order, in which msgspec finds them fastest, and for each
   feature whether it was always a number, or which words it had. A type grows with the records, and is no part of a result.
3. Each record is decoded alone: in one call for a whole fetch, a record such as `{},{}` would shift the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from detectors.arrays import Integers
from detectors.errors import EventError
from detectors.spec import ModelSpec
from detectors.windows.block import Block, blocks_of, is_sparse
from detectors.windows.row import Row
from streams.events.event import EVENT_KINDS, MAX_EVENT_BYTES, Event, EventKind, parse
from streams.events.record_columns import feature_columns, predicted_columns
from streams.events.record_types import NoModel, RecordSchema, RecordType, from_json
from streams.events.typed_records import Group, group_of, row_of_event
from streams.events.wire import MAX_NESTING, is_too_deep
from streams.kafka.batch import Batch

#: Kinds of events that are no rows of a window of features.
_NO_ROW: frozenset[EventKind] = frozenset({"label", "outcome_tick"})
#: Cells of the largest block made of one fetch.
_MOST_CELLS = 2_000_000
#: A row that was read in the general way cuts its model's block, unless there are more such rows than one in so many records.
_LEAST_STRETCH = 64
#: Records that are read before the first types are made.
_FIRST_LOOK = 64


class DeadLetter(msgspec.Struct, gc=False):
    """A record that could not be used, and why."""

    offset: int
    error: EventError


@dataclass(frozen=True, slots=True)
class Decoded:
    """The content of one fetch of one partition.

    Args:
        blocks: rows and ticks, each block of one model.
        dead: records that could not be used.
        kinds: (model, kind) -> offsets of these events, growing.
    """

    blocks: list[Block]
    dead: list[DeadLetter]
    kinds: dict[tuple[str, EventKind], Integers]
    _groups: list[Group]
    _general: list[Event]

    def groups_of(self, model: str) -> list[Group]:
        """Return the records of a model that fit its type."""
        return [group for group in self._groups if group.kind.model == model]

    def events_of(self, model: str) -> list[Event]:
        """Return the records of a model that were read in the general way."""
        return [event for event in self._general if event.model == model]

    def events(self, kinds: Collection[EventKind] = EVENT_KINDS, *, with_id: bool = False) -> list[Event]:
        """Return the events of some kinds, in offset order; `with_id` leaves out those without an id."""
        found = [event for event in self._general if event.kind in kinds and not (with_id and event.id is None)]
        for group in self._groups:
            found.extend(group.events(kinds, with_id=with_id))
        found.sort(key=lambda event: event.offset)
        return found


class Decoding:
    """A reader of records of all partitions: a type that one partition teaches serves for the others."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        """`models`: the configured ones by name; events of others are dead letters."""
        self._models = models
        self._learned = {name: RecordSchema(spec) for name, spec in models.items()}
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(NoModel).decode
        self._by_type: dict[type[Any], RecordType] = {}

    def decode(
        self,
        offsets: Sequence[int],
        timestamps: Sequence[int] | Integers,
        values: Sequence[bytes | None],
        *,
        longest: int | None = None,
    ) -> Decoded:
        """Return the content of one fetch.

        Args:
            offsets: growing, of one partition.
            timestamps: of the broker, milliseconds since 1970.
            values: the bytes.
            longest: bytes of the longest value, None if not known.
        """
        at = np.arange(offsets.start, offsets.stop) if isinstance(offsets, range) else np.array(offsets, dtype=np.int64)
        clock = np.array(timestamps, dtype=np.float64) / 1000.0
        if not self._by_type:
            # There is no type yet: the first few records give one for the others.
            self._learn(self._general(range(min(_FIRST_LOOK, len(values))), offsets, timestamps, values)[0])
        wires = self._wires(values, max(map(len, filter(None, values)), default=0) if longest is None else longest)
        groups: list[Group] = []
        general: list[int] = []
        looked_at: list[tuple[str, bytes]] = []
        for kind, places in _indices_by_type(wires).items():
            known = self._by_type.get(kind)
            if known is None:
                general.extend(places.tolist())
                continue
            if known.needs_order:  # two records are enough: senders that differ do so again
                looked_at.extend((known.model, cast("bytes", values[int(place)])) for place in places[[0, -1]])
            own = wires if len(places) == len(wires) else [wires[place] for place in places.tolist()]
            group, faulty = group_of(known, own, at[places], clock[places])
            groups.append(group)
            general.extend(places[faulty].tolist())
        events, dead = self._general(sorted(general), offsets, timestamps, values)
        self._learn(events, looked_at)
        for event in events:
            event.features = dict(sorted(event.features.items()))
        return Decoded(_blocks(groups, events), dead, _kinds(groups, events), groups, events)

    def _wires(self, values: Sequence[bytes | None], longest: int) -> list[Any]:
        """Return the records that fit a type, None for the others."""
        wires: list[Any] = []
        if not self._by_type:
            return [None] * len(values)
        left = iter(values)
        while len(wires) < len(values):
            try:
                # The records before one that does not fit stay in the list.
                wires.extend(map(self._decode, cast("Iterable[bytes]", left)))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
                wires.append(None)
        loose = {kind.wire: frozenset(kind.names) for kind in self._by_type.values() if kind.loose}
        if loose:
            wires = [None if (known := loose.get(type(wire))) and not _is_known(wire.features, known) else wire for wire in wires]
        if longest > 2 * MAX_NESTING:
            wires = [None if value and is_too_deep(value) else wire for value, wire in zip(values, wires, strict=True)]
        if longest > MAX_EVENT_BYTES:
            return [None if value and len(value) > MAX_EVENT_BYTES else wire for value, wire in zip(values, wires, strict=True)]
        return wires

    def _general(
        self, places: Iterable[int], offsets: Sequence[int], timestamps: Sequence[int] | Integers, values: Sequence[bytes | None]
    ) -> tuple[list[Event], list[DeadLetter]]:
        events: list[Event] = []
        dead: list[DeadLetter] = []
        for place in places:
            try:
                events.append(parse(offsets[place], int(timestamps[place]), values[place], self._models))
            except EventError as error:
                dead.append(DeadLetter(offsets[place], error))
        return events, dead

    def _learn(self, events: list[Event], looked_at: Sequence[tuple[str, bytes]] = ()) -> None:
        """Make new types for models whose events showed something new; features are in the order of their sender.

        Args:
            events: those that were read in the general way.
            looked_at: (model, a record that fitted its type), for models where the order of names matters.
        """
        grown = {event.model for event in events if self._learned[event.model].learn(event.segment, event.features)}
        grown |= {model for model, value in looked_at if self._learned[model].learn_order(_names(value).features or ())}
        if grown:
            made = [self._learned[model].make() for model in sorted(grown)]
            kept = [kind for kind in self._by_type.values() if kind.model not in grown]
            self._by_type = {kind.wire: kind for kind in [*kept, *made]}
            union: Any = NoModel
            for kind in self._by_type:
                union |= kind
            self._decode = msgspec.json.Decoder(union, dec_hook=from_json).decode


def _indices_by_type(wires: list[Any]) -> dict[type[Any], Integers]:
    """Return type -> indices of its records, types in the order in which they first come."""
    types = set(map(type, wires))
    if len(types) == 1:
        return {types.pop(): np.arange(len(wires))}
    places: dict[type[Any], list[int]] = {}
    for place, wire in enumerate(wires):
        places.setdefault(type(wire), []).append(place)
    return {kind: np.array(of_kind) for kind, of_kind in places.items()}


class _Names(msgspec.Struct):
    """The names of a record's features, in its order."""

    features: dict[str, msgspec.Raw] | None = None


_names = msgspec.json.Decoder(_Names).decode


def _is_known(features: dict[str, Any] | None, names: frozenset[str]) -> bool:
    return not features or features.keys() <= names


def _kinds(groups: list[Group], events: list[Event]) -> dict[tuple[str, EventKind], Integers]:
    general: dict[tuple[str, EventKind], list[int]] = {}
    for event in events:
        general.setdefault((event.model, event.kind), []).append(event.offset)
    found = {key: [np.array(known, dtype=np.int64)] for key, known in general.items()}
    for group in groups:
        for kind in group.distinct:
            offsets = group.offsets
            if len(group.distinct) > 1:
                offsets = offsets[[place for place, is_kind in enumerate(group.kinds) if is_kind == kind]]
            found.setdefault((group.kind.model, kind), []).append(offsets)
    return {key: pieces[0] if len(pieces) == 1 else np.sort(np.concatenate(pieces)) for key, pieces in found.items()}


def _blocks(groups: list[Group], events: list[Event]) -> list[Block]:
    """Return the rows of each model as one block, or as several if one would be mostly empty or very large."""
    general: dict[str, list[Row]] = {}
    for event in events:
        if event.kind not in _NO_ROW:
            general.setdefault(event.model, []).append(row_of_event(event))
    blocks: list[Block] = []
    for group in groups:
        rows = general.pop(group.kind.model, [])
        if len(rows) * _LEAST_STRETCH <= len(group.wires):
            blocks.extend(_interleaved(group, rows))
        else:
            blocks.extend(blocks_of(sorted([*rows, *group.rows()], key=lambda row: row.offset)))
    for rows in general.values():
        blocks.extend(blocks_of(rows))
    return blocks


def _interleaved(group: Group, rows: list[Row]) -> Iterable[Block]:
    """Yield blocks of the records that fit their type, and between them the few rows that were read in the general way."""
    done = 0
    for low, between in itertools.groupby(rows, key=lambda row: int(np.searchsorted(group.offsets, row.offset))):
        yield from _dense_blocks(group, done, low)
        yield from blocks_of(between)
        done = low
    yield from _dense_blocks(group, done, len(group.wires))


def _dense_blocks(group: Group, low: int, high: int) -> Iterable[Block]:
    """Yield the records from index `low` up to `high` as blocks, none of them mostly empty or very large."""
    names = max(1, len(group.kind.names))
    step = _MOST_CELLS // names
    for first in range(low, high, step):
        stretch = group.stretch(first, min(high, first + step))
        block = _block(stretch)
        if block is not None and is_sparse(names * len(block), int(block.sizes.sum())):
            yield from blocks_of(stretch.rows())
        elif block is not None:
            yield block


def _block(group: Group) -> Block | None:
    wires, offsets, ts, ticks = group.wires, group.offsets, group.ts, None
    if group.distinct & _NO_ROW:
        places = [place for place, kind in enumerate(group.kinds) if kind not in _NO_ROW]
        wires, offsets, ts = [wires[place] for place in places], offsets[places], ts[places]
    if not wires:
        return None
    if "tick" in group.distinct:
        ticks = np.array([kind == "tick" for kind in group.kinds if kind not in _NO_ROW])
    features = [wire.features for wire in wires]
    if not all(features):
        features = [one or group.kind.empty for one in features]
    found = feature_columns(group.kind, features)
    predictions = [wire.prediction for wire in wires]
    if predictions.count(None) < len(predictions):
        found = found.beside(predicted_columns(predictions))
    segments = [wire.segment or "" for wire in wires]
    return Block(
        group.kind.model,
        offsets=offsets,
        ts=ts,
        segments=segments if any(segments) else None,
        ticks=ticks,
        columns=found,
    )


def decoded(batch: Batch, decoding: Decoding) -> Decoded:
    """Return the content of a batch, which is decoded once for all agents that read it."""
    if batch.cache is None:
        batch.cache = decoding.decode(batch.offsets, batch.timestamps, batch.values, longest=batch.longest)
    return cast("Decoded", batch.cache)
