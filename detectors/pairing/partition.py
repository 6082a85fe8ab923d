"""The join of one partition of events: the pairs of all its models, within one bound, and what a flush has to store.

Rules:
1. Looks are taken by all models of the partition together, at the first record with an id whose offset is beyond a multiple
   of `LOOK_EVERY`: before that record.
2. At a look, while everything that waits takes more than `most_bytes`, the largest model's level rises by one. If it
   takes less than a quarter, the highest level falls by one, for ids that come from then on.
3. `stored` returns what was taken since it was called last. Loading it in order of its offsets gives the same state, as
   loading is taking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.pairing.bounds import LOOK_EVERY, MOST_LEVEL, ROW_BYTES, Level, Look
from detectors.pairing.columns import LABEL, PREDICTION, Columns, Extras, Halves, joined
from detectors.pairing.pairing import take
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.stretch import TakenStretch, translated
from detectors.pairing.taken import TakenPairs
from detectors.pairing.values import UNKNOWN, word_codes

#: A level falls again when less than this part of the bound is taken.
_LOW = 4


@dataclass(slots=True)
class _Pending:
    """What a model took since it was stored last."""

    level: int = 0
    floor: int = 0
    records: int = 0
    added: list[Columns] = field(default_factory=list)
    used: list[Columns] = field(default_factory=list)
    waits: list[Flags] = field(default_factory=list)
    extras: Extras = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    floors: list[tuple[int, int]] = field(default_factory=list)


class PartitionPairs:
    """The pairs of all models in one partition."""

    __slots__ = ("_every", "_pending", "models", "most_bytes", "position", "seen")

    def __init__(self, within: Mapping[str, float], *, most_bytes: int, look_every: int = LOOK_EVERY) -> None:
        """Begin with nothing.

        Args:
            within: model -> longest time from a prediction to its label, seconds.
            most_bytes: for everything that waits in this partition.
            look_every: looks are taken at multiples of so many offsets; the same for ever, but in tests.
        """
        self.most_bytes = most_bytes
        self._every = look_every
        reserve = int(most_bytes / ROW_BYTES)
        self.models = {name: ModelPairs(within=most, look_every=look_every, reserve=reserve) for name, most in within.items()}
        self._pending: dict[str, _Pending] = {}
        #: Offset after the last record taken, and of the last one with an id; -1 before the first.
        self.position = 0
        self.seen = -1

    def begin(self, position: int) -> None:
        """Go on at an offset: everything below it was taken."""
        self.position = position
        for pairs in self.models.values():
            pairs.position = position

    @property
    def pending(self) -> int:
        """Return how many records with an id were taken since the last call of `stored`, and looks."""
        return sum(pending.records + len(pending.looks) for pending in self._pending.values())

    def take(self, found: Mapping[str, Halves], clock: Mapping[int, float] | BrokerClock) -> list[tuple[str, TakenPairs]]:
        """Take the records of a stretch of the partition, and return what they led to, stretch by stretch.

        Args:
            found: model -> its records with an id, from `position` on.
            clock: offset of a record -> the broker's time of it, epoch seconds.
        """
        taken: list[tuple[str, TakenPairs]] = []
        cuts = self._cuts(found)
        if not cuts:
            for model, halves in found.items():
                taken.append((model, self._take(model, halves)))
        low = -1
        for cut in [*cuts, None] if cuts else []:
            high = 1 << 62 if cut is None else cut
            for model, halves in found.items():
                part = halves.cut(low, high)
                if len(part):
                    taken.append((model, self._take(model, part)))
            if cut is not None:
                self._look(cut // self._every * self._every, clock[cut])
            low = high
        for halves in found.values():
            for rows in (halves.predictions, halves.labels):
                if len(rows):
                    self.seen = max(self.seen, int(rows["offset"][-1]))
        return taken

    def _cuts(self, found: Mapping[str, Halves]) -> list[int]:
        """Return the offsets of the records before which a look is taken."""
        block = self.seen // self._every
        every = [rows["offset"] for halves in found.values() for rows in (halves.predictions, halves.labels) if len(rows)]
        if all(int(offsets[-1]) // self._every <= block for offsets in every):
            return []
        offsets = np.unique(np.concatenate(every))
        blocks = offsets // self._every
        before = np.concatenate(([block], blocks[:-1]))
        cuts: list[int] = offsets[blocks > before].tolist()
        return cuts

    def _take(self, model: str, halves: Halves) -> TakenPairs:
        pending = self._of(model)
        pending.records += len(halves)
        taken = take(self.models[model], halves)
        if len(taken.added):
            pending.added.append(taken.added)
            if halves.extras:
                kept = taken.added["offset"].tolist()
                pending.extras |= {offset: halves.extras[offset] for offset in kept if offset in halves.extras}
        if len(taken.used):
            pending.used.append(taken.used)
            pending.waits.append(taken.waits)
        return taken

    def _of(self, model: str) -> _Pending:
        pending = self._pending.get(model)
        if pending is None:
            bounds = self.models[model].bounds
            pending = self._pending[model] = _Pending(bounds.level, bounds.floor)
        return pending

    # -- the bound -----------------------------------------------------------------------------

    def _look(self, offset: int, clock: float) -> None:
        for model, pairs in self.models.items():
            if pairs.bounds.total:
                look = Look(offset, clock, pairs.newest)
                pending = self._of(model)
                pending.looks.append(look)
                pairs.bounds.look(look)
                pending.floors.append((offset, pairs.bounds.floor))
        bounds = {model: pairs.bounds for model, pairs in self.models.items()}
        while sum(one.total for one in bounds.values()) > self.most_bytes:
            open_to_more = [model for model, one in bounds.items() if one.level < MOST_LEVEL]
            if not open_to_more:
                return
            self._set_level(offset, max(open_to_more, key=lambda model: (bounds[model].total, model)), 1)
        if sum(one.total for one in bounds.values()) < self.most_bytes // _LOW:
            model = max(bounds, key=lambda model: (bounds[model].level, model))
            if bounds[model].level:
                self._set_level(offset, model, -1)

    def _set_level(self, offset: int, model: str, change: int) -> None:
        bounds = self.models[model].bounds
        pending = self._of(model)
        bounds.set_level(offset, bounds.level + change)
        pending.levels.append(bounds.levels[-1])

    # -- what is stored ------------------------------------------------------------------------

    def stored(self, start: int, end: int) -> list[TakenStretch]:
        """Return what each model took from `start` up to `end` since the last call, and forget it."""
        stretches = [self._stretch(model, pending, start, end) for model, pending in sorted(self._pending.items())]
        self._pending = {}
        for pairs in self.models.values():
            pairs.forget_words()
        return stretches

    def _stretch(self, model: str, pending: _Pending, start: int, end: int) -> TakenStretch:
        pairs = self.models[model]
        predictions, labels = joined(pending.added, PREDICTION), joined(pending.used, LABEL)
        codes = word_codes(np.concatenate([predictions["answer"], labels["truth"]])).tolist()
        whats, clients = np.unique(predictions["what"]).tolist(), np.unique(labels["what"]).tolist()
        predictions["truth"] = UNKNOWN  # what the labels say
        return TakenStretch(
            model=model,
            start=start,
            end=end,
            seen=self.seen,
            newest=pairs.newest,
            level=pending.level,
            floor=pending.floor,
            within=pairs.within,
            total=pairs.bounds.total,
            looks=tuple(pending.looks),
            levels=tuple(pending.levels),
            halves=Halves(predictions, labels, pending.extras, joined(pending.waits, np.dtype(bool))),
            words=dict(zip(codes, pairs.boxes.words.values_of(codes), strict=True)),
            whats=dict(zip(whats, pairs.whats.values_of(whats), strict=True)),
            clients=dict(zip(clients, pairs.clients.values_of(clients), strict=True)),
            floors=tuple(pending.floors),
        )

    def load(self, stretch: TakenStretch) -> None:
        """Take what was stored; stretches come in the order of (start, end), and what is below the position is known already."""
        pairs = self.models.get(stretch.model)
        if pairs is None:
            return
        bounds, position = pairs.bounds, pairs.position
        if stretch.level != bounds.level and stretch.start >= position:
            bounds.begin(stretch.level)  # what came before has expired: the changes of its level are gone
        bounds.raise_floor(stretch.floor)  # and so are the looks by which a late repeat of it would be dead
        halves = translated(stretch, pairs).cut(position, 1 << 62)
        changes: list[Look | Level] = [*stretch.looks, *stretch.levels]
        changes = [change for change in changes if change.offset > bounds.looked]
        low = -1
        changes.sort(key=lambda one: (one.offset, isinstance(one, Level)))  # a level follows from its look
        for change in changes:
            take(pairs, halves.cut(low, change.offset))
            if isinstance(change, Look):
                bounds.look(change)
            else:
                bounds.set_level(change.offset, change.level)
            low = change.offset
        take(pairs, halves.cut(low, 1 << 62))
        pairs.newest = max(pairs.newest, stretch.newest)
        pairs.position = max(position, stretch.end)
        self.seen = max(self.seen, stretch.seen)
        self.position = max(self.position, stretch.end)


class BrokerClock:
    """The broker's time of records, by their offsets."""

    __slots__ = ("_clocks", "_offsets")

    def __init__(self, offsets: Integers, clocks: Floats) -> None:
        self._offsets = offsets
        self._clocks = clocks

    def __getitem__(self, offset: int) -> float:
        return float(self._clocks[np.searchsorted(self._offsets, offset)])
