"""Predictions that have an id, with the features that they were made with, as columns where they are columns already.

A block holds numbers as doubles and cuts long texts, which is all that a window needs. So what a block lost is asked
of the records themselves, feature by feature, and only where it may have been lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from detectors.arrays import Floats, Integers
from detectors.windows.block import ABSENT, Block, Columns
from detectors.windows.row import PREDICTION, Value
from streams.events.decoding import Decoded
from streams.events.event import Event
from streams.events.record_types import RecordType, Word
from streams.events.typed_records import Group

#: From one column in so many on, reading all is cheaper than reading one after the other.
_OF_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class PredictionFeatures:
    """Predictions with an id of one model, in offset order.

    Args:
        model: name of the model.
        offsets: shape (n,).
        ts: event times, epoch seconds, shape (n,).
        ids: of the predictions.
        columns: their features and answers, as a block has them.
    """

    model: str
    offsets: Integers
    ts: Floats
    ids: list[str]
    columns: Columns
    _kind: RecordType | None
    #: What each record has for `features`: an object of its type, a dictionary, or None; and whether all have such an object.
    _holders: Sequence[Any]
    _typed: bool

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.offsets)

    def names(self) -> Iterator[str]:
        """Yield the names of the features; a name may come that no prediction has."""
        columns = self.columns
        for name in chain(columns.names, columns.coded.names, columns.texts, columns.others):
            # An answer is no feature, unless an event that was read in the general way has a feature of that name.
            if name not in PREDICTION or (
                not self._typed and any(isinstance(holder, dict) and name in holder for holder in self._holders)
            ):
                yield name

    def values(self, name: str, at: Sequence[int] | None = None) -> list[Value]:
        """Return a feature of the predictions at some indices, of all without them, value and type as the events say."""
        holders = self._holders if at is None else [self._holders[place] for place in at]
        kind = self._kind
        if kind is None:
            return [holder.get(name, ABSENT) if holder else ABSENT for holder in holders]
        found = _of_type(kind, name, holders, typed=self._typed)
        if name in kind.categorical:
            return [str(value) if type(value) in (int, float) and value is not ABSENT else value for value in found]
        return found

    def values_of(self, names: Sequence[str]) -> dict[str, Sequence[Value]]:
        """Return some columns of numbers of all predictions, value and type as the events say."""
        kind = self._kind
        if kind is None or not self._typed or kind.loose or len(names) * _OF_COLUMNS < len(kind.names):
            return {name: self.values(name) for name in names}
        table = dict(zip(kind.names, zip(*map(msgspec.structs.astuple, self._holders), strict=True), strict=True))
        return {name: table[name] for name in names}

    def cut(self, at: Integers) -> PredictionFeatures:
        """Return the predictions at these indices."""
        ids, holders = [self.ids[place] for place in at], [self._holders[place] for place in at]
        return PredictionFeatures(
            self.model, self.offsets[at], self.ts[at], ids, self.columns.rows_at(at), self._kind, holders, self._typed
        )


def _of_type(kind: RecordType, name: str, holders: Sequence[Any], *, typed: bool) -> list[Value]:
    """Return a feature of records of which some, or all (`typed`), fit the type."""
    place = kind.names.index(name) if name in kind.names and not kind.loose else None
    if place is None:
        return [holder.get(name, ABSENT) if type(holder) is dict else ABSENT for holder in holders]
    field = f"f{place}"
    if typed:
        found = list(map(attrgetter(field), holders))
        if kind.kinds[place] != "word":
            return found
    else:
        found = [holder.get(name, ABSENT) if type(holder) is dict else getattr(holder, field, ABSENT) for holder in holders]
    return [value.value if isinstance(value, Word) else value for value in found]


def prediction_features(found: Decoded, models: Collection[str], since: int) -> Iterator[PredictionFeatures]:
    """Yield the predictions with an id in a fetch, of these models, from an offset on; each block by itself."""
    for model in models:
        blocks = [block for block in found.blocks if block.model == model]
        if not blocks:
            continue
        group = next(iter(found.groups_of(model)), None)  # a fetch has one at most
        events = [
            event
            for event in found.events_of(model)
            if event.kind == "prediction" and event.id is not None and event.offset >= since
        ]
        for block in blocks:
            predictions = _of_block(block, group, events, since)
            if predictions is not None:
                yield predictions


def _of_block(block: Block, group: Group | None, events: Sequence[Event], since: int) -> PredictionFeatures | None:
    low, high = int(block.offsets[0]), int(block.offsets[-1]) + 1
    offsets: list[int] = []
    ids: list[str] = []
    holders: list[Any] = []
    if group is not None:
        first, last = np.searchsorted(group.offsets, (max(low, since), high)).tolist()
        wires = group.wires[first:last]
        places = [place for place, wire in enumerate(wires) if wire.id is not None]
        if group.distinct != {"prediction"}:
            places = [place for place in places if group.kinds[first + place] == "prediction"]
        ids = [str(wires[place].id) for place in places]
        holders = [wires[place].features for place in places]
        offsets = group.offsets[first:last][places].tolist()
    own = [event for event in events if low <= event.offset < high]
    if own:
        together = sorted(
            [*zip(offsets, ids, holders, strict=True), *((one.offset, str(one.id), one.features) for one in own)],
            key=lambda row: row[0],
        )
        offsets, ids, holders = [row[0] for row in together], [row[1] for row in together], [row[2] for row in together]
    # Blocks of a model may lie between each other's rows: only those are this block's that it holds.
    at = np.array(offsets, dtype=np.int64)
    rows = np.searchsorted(block.offsets, at)
    mine = block.offsets[np.minimum(rows, len(block) - 1)] == at
    if not mine.all():
        kept = np.flatnonzero(mine)
        at, rows = at[kept], rows[kept]
        ids, holders = [ids[place] for place in kept], [holders[place] for place in kept]
    if not len(at):
        return None
    columns = block.columns if len(at) == len(block) else block.columns.rows_at(rows)
    typed = not own and not any(kind in (dict, type(None)) for kind in set(map(type, holders)))
    kind = None if group is None else group.kind
    return PredictionFeatures(block.model, at, block.ts[rows], ids, columns, kind, holders, typed)
