"""Identified events: predictions and labels with an id, as the columns that the join takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.pairing.columns import LABEL, PREDICTION, Columns, Extras, Halves, What
from detectors.pairing.keys import keys_of
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.values import UNKNOWN
from detectors.windows.block import ABSENT
from detectors.windows.row import Value
from streams.events.decoding import Decoded
from streams.events.event import MAX_TAG_LENGTH, Event
from streams.events.record_types import Word, answer_columns
from streams.events.typed_records import Group

_HALVES = frozenset({"prediction", "label"})
_id, _prediction, _label, _entity = map(attrgetter, ("id", "prediction", "label", "entity"))
_segment, _version, _client = map(attrgetter, ("segment", "model_version", "client"))


class Extra(msgspec.Struct, array_like=True, omit_defaults=True):
    """What a prediction has that few predictions share, and that its outcome gives back."""

    entity: str | None = None
    probabilities: dict[str, float] | None = None
    groups: dict[str, Value] | None = None

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return self.entity is not None or self.probabilities is not None or bool(self.groups)


_encode_extra = msgspec.msgpack.Encoder().encode
decode_extra: Callable[[bytes], Extra] = msgspec.msgpack.Decoder(Extra).decode


@dataclass(frozen=True, slots=True)
class Identified:
    """The predictions and labels of one model in a batch.

    Args:
        halves: their columns.
        offsets: of all of them, growing; `ids` likewise.
    """

    halves: Halves
    offsets: Integers
    ids: Sequence[str]

    def ids_at(self, offsets: Integers) -> list[str]:
        """Return the ids of the records at some offsets."""
        return list(map(self.ids.__getitem__, np.searchsorted(self.offsets, offsets).tolist()))


class _Reader:
    """Makes the columns of one model."""

    def __init__(self, pairs: ModelPairs, seed: int, groups: tuple[str, ...]) -> None:
        self._pairs = pairs
        self._seed = seed
        self._groups = groups

    def of_group(self, group: Group, position: int) -> Identified | None:
        """Return those that fit the type of their model; None without any."""
        wires, offsets, ts = group.wires, group.offsets, group.ts
        ids: list[Any] = list(map(_id, wires))
        wanted = offsets >= position
        if None in ids:
            wanted &= np.fromiter((one is not None for one in ids), bool, len(ids))
        if not group.distinct <= _HALVES:
            wanted &= np.fromiter((kind in _HALVES for kind in group.kinds), bool, len(ids))
        labelled = np.fromiter(map("label".__eq__, group.kinds), bool, len(ids)) if "label" in group.distinct else None
        if not wanted.all():
            places = np.flatnonzero(wanted)
            if not len(places):
                return None
            wires, ids = [wires[place] for place in places.tolist()], [ids[place] for place in places.tolist()]
            offsets, ts = offsets[places], ts[places]
            labelled = None if labelled is None else labelled[places]
        if set(map(type, ids)) != {str}:
            ids = list(map(str, ids))
        flags = np.zeros(len(ids), bool) if labelled is None else labelled
        predictions, labels = _parted(wires, labelled)
        answers, scores, probabilities = answer_columns(list(map(_prediction, predictions)))
        entities = list(map(_entity, predictions))
        extras: list[Extra] | None = None
        if self._groups or probabilities is not None or not _is_nothing(entities):
            likely = probabilities or [None] * len(predictions)
            extras = [_extra_of(wire, one, group, self._groups) for wire, one in zip(predictions, likely, strict=True)]
        return self._columns(
            ids,
            offsets,
            ts,
            flags,
            answers=answers,
            scores=scores,
            whats=(list(map(_segment, predictions)), list(map(_version, predictions)), list(map(_client, predictions))),
            extras=extras,
            truths=list(map(_label, labels)),
            clients=list(map(_client, labels)),
        )

    def of_events(self, events: list[Event]) -> Identified:
        """Return those that were read in the general way; at least one."""
        flags = np.array([event.kind == "label" for event in events])
        predictions = [event for event in events if event.kind == "prediction"]
        labels = [event for event in events if event.kind == "label"]
        extras = [Extra(event.entity, event.probabilities, _groups_of(event, self._groups)) for event in predictions]
        return self._columns(
            [str(event.id) for event in events],
            np.array([event.offset for event in events], np.int64),
            np.array([event.ts for event in events]),
            flags,
            answers=[event.label for event in predictions],
            scores=[event.score for event in predictions],
            whats=(list(map(_segment, predictions)), list(map(_version, predictions)), list(map(_client, predictions))),
            extras=extras if any(extras) else None,
            truths=[event.label for event in labels],
            clients=[event.client for event in labels],
        )

    def _columns(
        self,
        ids: list[str],
        offsets: Integers,
        ts: Floats,
        labelled: Flags,
        *,
        answers: list[Value],
        scores: list[Any],
        whats: tuple[list[Any], list[Any], list[Any]],
        extras: list[Extra] | None,
        truths: list[Value],
        clients: list[Any],
    ) -> Identified:
        keys, checks = keys_of(ids, self._seed)
        places, label_places = np.flatnonzero(~labelled), np.flatnonzero(labelled)
        predictions, labels = np.zeros(len(places), PREDICTION), np.zeros(len(label_places), LABEL)
        for rows, at in ((predictions, places), (labels, label_places)):
            rows["key"], rows["check"], rows["offset"], rows["ts"] = keys[at], checks[at], offsets[at], ts[at]
        pairs, kept = self._pairs, {}
        if len(places):
            predictions["answer"] = pairs.boxes.boxed(answers)
            predictions["score"] = np.array(scores, np.float64)  # None becomes NaN
            predictions["what"] = self._codes_of(*whats)
            predictions["truth"] = UNKNOWN
            if extras is not None:
                at_offset = zip(predictions["offset"].tolist(), extras, strict=True)
                kept = {offset: _encode_extra(extra) for offset, extra in at_offset if extra}
        if len(label_places):
            labels["truth"] = pairs.boxes.boxed(truths)
            if _is_nothing(clients):
                labels["what"] = pairs.clients.code(None)
            else:
                of_clients = {one: pairs.clients.code(None if one is None else str(one)) for one in set(clients)}
                labels["what"] = np.fromiter(map(of_clients.__getitem__, clients), np.int64, len(clients))
        return Identified(Halves(predictions, labels, kept), offsets, ids)

    def _codes_of(self, segments: list[Any], versions: list[Any], clients: list[Any]) -> Integers:
        """Return the numbers of what few predictions differ in."""
        code = self._pairs.whats.code
        if _is_nothing(versions) and _is_nothing(clients):
            of_segments = {one: code(_what((one, None, None))) for one in set(segments)}
            return np.fromiter(map(of_segments.__getitem__, segments), np.int64, len(segments))
        whats = list(zip(segments, versions, clients, strict=True))
        known = {what: code(_what(what)) for what in set(whats)}
        return np.fromiter(map(known.__getitem__, whats), np.int64, len(whats))


def _parted(wires: list[Any], labelled: Flags | None) -> tuple[list[Any], list[Any]]:
    """Return (predictions, labels)."""
    if labelled is None:
        return wires, []
    return list(compress(wires, (~labelled).tolist())), list(compress(wires, labelled.tolist()))


def _is_nothing(column: list[Any]) -> bool:
    """Return whether a column has nothing but None."""
    return column.count(None) == len(column)


def _what(values: tuple[str | None, Any, Any]) -> What:
    segment, version, client = values
    return What(segment or "", None if version is None else str(version), None if client is None else str(client))


def _extra_of(wire: Any, probabilities: dict[str, float] | None, group: Group, names: tuple[str, ...]) -> Extra:
    entity = None if wire.entity is None else str(wire.entity)
    return Extra(entity, probabilities, _groups_of_wire(wire, group, names) if names else None)


def _groups_of(event: Event, names: Iterable[str]) -> dict[str, Value] | None:
    """Return the values of groups: of tags first, then of features."""
    known = {**event.features, **(event.tags or {})}
    return {name: _shortened(known[name]) for name in names if name in known} or None


def _groups_of_wire(wire: Any, group: Group, names: Iterable[str]) -> dict[str, Value] | None:
    found: dict[str, Value] = {}
    tags, features = wire.tags or {}, wire.features
    for name in names:
        value: Any = ABSENT
        if name in tags:
            value = tags[name]
        elif isinstance(features, dict):
            value = features.get(name, ABSENT)
        elif features is not None and name in group.kind.names:
            value = getattr(features, f"f{group.kind.names.index(name)}")
        if value is not ABSENT:
            value = value.value if isinstance(value, Word) else value
            number = name not in tags and name in group.kind.categorical and type(value) in (int, float)
            found[name] = _shortened(str(value) if number else value)
    return found or None


def _shortened(value: Value) -> Value:
    """Return the value of a group, which is kept in memory until the label comes."""
    return value[:MAX_TAG_LENGTH] if isinstance(value, str) else value


def identified(
    found: Decoded, model: str, pairs: ModelPairs, *, seed: int, position: int, groups: tuple[str, ...]
) -> Identified | None:
    """Return the predictions and labels of a model with an id, from an offset on; None without any.

    Args:
        found: a batch.
        model: its name.
        pairs: take the words of the columns.
        seed: of the hash of ids.
        position: the offset.
        groups: features and tags that are kept with a prediction.
    """
    reader = _Reader(pairs, seed, groups)
    pieces = [reader.of_group(group, position) for group in found.groups_of(model) if group.distinct & _HALVES]
    events = [event for event in found.events_of(model) if event.kind in _HALVES and event.id is not None]
    events = [event for event in events if event.offset >= position]
    if events:
        pieces.append(reader.of_events(events))
    known = [piece for piece in pieces if piece is not None]
    if len(known) < 2:
        return known[0] if known else None
    return _together(known)


def identified_by_model(
    found: Decoded, pairs: Mapping[str, ModelPairs], *, seed: int, position: int, groups: Mapping[str, tuple[str, ...]]
) -> dict[str, Identified]:
    """Return model -> its predictions and labels with an id, for the models that have any in a batch.

    Args:
        found: the batch.
        pairs: model -> what takes the words of the columns.
        seed: of the hash of ids.
        position: the first offset.
        groups: model -> features and tags that are kept with a prediction; a model without any may be left out.
    """
    known: dict[str, Identified] = {}
    for model in dict.fromkeys(model for model, kind in found.kinds if kind in _HALVES):
        one = identified(found, model, pairs[model], seed=seed, position=position, groups=groups.get(model, ()))
        if one is not None:
            known[model] = one
    return known


def _together(pieces: Sequence[Identified]) -> Identified:
    offsets = np.concatenate([piece.offsets for piece in pieces])
    order = np.argsort(offsets, kind="stable")
    ids = [one for piece in pieces for one in piece.ids]
    extras: Extras = {}
    for piece in pieces:
        extras |= piece.halves.extras
    halves = Halves(
        _in_order([piece.halves.predictions for piece in pieces]), _in_order([piece.halves.labels for piece in pieces]), extras
    )
    return Identified(halves, offsets[order], [ids[place] for place in order.tolist()])


def _in_order(pieces: list[Columns]) -> Columns:
    rows = np.concatenate(pieces)
    return rows[np.argsort(rows["offset"], kind="stable")]
