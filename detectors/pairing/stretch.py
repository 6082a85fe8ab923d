"""A stretch: what one model took in some records of a partition, apart from the state that took it.

Its numbers of words are those of the state it comes from; `translated` gives it those of another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from detectors.pairing.bounds import Level, Look
from detectors.pairing.columns import Halves, What
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.values import Words, text_bytes, with_codes, word_codes

H = TypeVar("H")

#: So few values are small beside the rows that have them.
_FEW_WORDS = 100


@dataclass(frozen=True, slots=True)
class TakenStretch:
    """What one model took in the records from one offset up to another.

    Args:
        seen: offset of the last record with an id, of any model.
        newest: newest event time of the model.
        level: that before the first of these records; `floor` likewise.
        within: longest time from a prediction to its label that held, seconds.
        total: bytes of what waits after the last of them, by the count of detectors/pairing/bounds.py.
        looks: those among the records; `levels` likewise.
        halves: predictions that are kept, and labels that changed something.
        words: number -> value, of the numbers in `answer` and `truth`; `whats` and `clients` likewise, of those in `what`.
    """

    model: str
    start: int
    end: int
    seen: int
    newest: float
    level: int
    floor: int
    within: float
    total: int
    looks: tuple[Look, ...]
    levels: tuple[Level, ...]
    halves: Halves
    words: dict[int, str | int]
    whats: dict[int, What]
    clients: dict[int, str | None]
    #: (offset of a look, floor from it on), for pieces that begin later.
    floors: tuple[tuple[int, int], ...] = ()

    def split(self, most_bytes: int) -> list[TakenStretch]:
        """Return the same in pieces of about so many bytes at most; `total` is that of the whole in each."""
        predictions, labels = self.halves.predictions, self.halves.labels
        weights = [
            predictions.dtype.itemsize + _longest(self.whats) + text_bytes(predictions["answer"], self.words),
            labels.dtype.itemsize + _longest(self.clients) + text_bytes(labels["truth"], self.words),
        ]
        for offset, extra in self.halves.extras.items():
            weights[0][np.searchsorted(predictions["offset"], offset)] += len(extra)
        offsets = np.concatenate([predictions["offset"], labels["offset"]])
        order = np.argsort(offsets, kind="stable")
        piece = np.cumsum(np.concatenate(weights)[order]) // most_bytes
        if not len(piece) or piece[-1] == 0:
            return [self]
        cuts = [self.start, *(int(offsets[order][at]) for at in np.flatnonzero(np.diff(piece)) + 1), self.end]
        return [self._piece(low, high, first=low == self.start) for low, high in pairwise(cuts)]

    def _piece(self, low: int, high: int, *, first: bool) -> TakenStretch:
        halves = self.halves.cut(-1 if first else low, high)
        extras = {offset: halves.extras[offset] for offset in halves.predictions["offset"].tolist() if offset in halves.extras}
        levels = [self.level, *(level.level for level in self.levels if level.offset < low and not first)]
        floors = [self.floor, *(floor for offset, floor in self.floors if offset < low and not first)]
        predictions, labels = halves.predictions, halves.labels
        codes = word_codes(np.concatenate([predictions["answer"], labels["truth"]])).tolist()
        return replace(
            self,
            start=low,
            end=high,
            level=levels[-1],
            floor=floors[-1],
            looks=tuple(look for look in self.looks if (first or look.offset >= low) and look.offset < high),
            levels=tuple(level for level in self.levels if (first or level.offset >= low) and level.offset < high),
            halves=replace(halves, extras=extras),
            words={code: self.words[code] for code in codes},
            whats={code: self.whats[code] for code in np.unique(predictions["what"]).tolist()},
            clients={code: self.clients[code] for code in np.unique(labels["what"]).tolist()},
        )


def _longest(values: Mapping[int, Any]) -> int:
    """Return the bytes of the longest value if there are many: each row may have one of its own."""
    return 0 if len(values) < _FEW_WORDS else max(len(str(value).encode()) for value in values.values())


def translated(stretch: TakenStretch, pairs: ModelPairs) -> Halves:
    """Return the halves of a stretch with the numbers of these pairs for its words."""
    halves = stretch.halves
    predictions, labels = halves.predictions.copy(), halves.labels.copy()
    old = np.array(sorted(stretch.words), np.int64)
    new = np.array([pairs.boxes.words.code(stretch.words[code]) for code in old.tolist()], np.int64)
    predictions["answer"] = with_codes(predictions["answer"], old, new)
    labels["truth"] = with_codes(labels["truth"], old, new)
    predictions["what"] = _codes(predictions["what"], stretch.whats, pairs.whats)
    labels["what"] = _codes(labels["what"], stretch.clients, pairs.clients)
    return Halves(predictions, labels, halves.extras, halves.waits)


def _codes(codes: np.ndarray, values: Mapping[int, H], words: Words[H]) -> np.ndarray:
    """Return the numbers that `words` has for the values of numbers."""
    known = sorted(values)
    mine = np.array([words.code(values[code]) for code in known], np.int64)
    return mine[np.searchsorted(np.array(known, np.int64), codes)] if known else codes
