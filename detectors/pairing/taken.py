"""What a stretch of records led to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from detectors.arrays import Flags, Floats
from detectors.pairing.columns import LABEL, PAIR, PREDICTION, Columns, Extras, empty, joined


class Pairing(StrEnum):
    """What becomes of a label, or of a prediction that is a repeat."""

    JOINED = "joined"
    CORRECTED = "corrected"
    #: The label says what is known, or a newer label came before the prediction.
    DUPLICATE = "duplicate"
    TOO_LATE = "too_late"
    FOREIGN = "foreign"
    SAMPLED_OUT = "sampled_out"
    #: It says that there will be no label.
    NONE = "none"
    #: A prediction of an id that has one.
    REPEATED = "repeated"


@dataclass(slots=True)
class TakenPairs:
    """What a stretch of records led to.

    Args:
        pairs: of type `PAIR`, in order of `source`.
        share: part of the ids that was kept all the time from the prediction of each pair on; None if every id was.
        extras: source -> what was kept of the prediction besides its columns.
        added: predictions that are kept from now on, in offset order.
        used: labels that changed something, in offset order.
        waits: whether each of these labels waits for its prediction.
        foreign: labels that nobody waited for, as they expired.
        counts: what became of the records.
    """

    pairs: Columns = field(default_factory=lambda: empty(PAIR))
    share: Floats | None = None
    extras: Extras = field(default_factory=dict)
    added: Columns = field(default_factory=lambda: empty(PREDICTION))
    used: Columns = field(default_factory=lambda: empty(LABEL))
    waits: Flags = field(default_factory=lambda: np.zeros(0, bool))
    foreign: Columns = field(default_factory=lambda: empty(LABEL))
    counts: Counter[Pairing] = field(default_factory=Counter)


class Noted:
    """What is noted while a stretch is taken, in any order; `taken` brings it in order."""

    __slots__ = ("_added", "_foreign", "_pairs", "_used", "_waits", "counts", "extras")

    def __init__(self) -> None:
        self._pairs: list[Columns] = []
        self._added: list[Columns] = []
        self._used: list[Columns] = []
        self._waits: list[Flags] = []
        self._foreign: list[Columns] = []
        self.extras: Extras = {}
        self.counts: Counter[Pairing] = Counter()

    def count(self, what: Pairing, n: int) -> None:
        """Count what became of records."""
        if n:
            self.counts[what] += n

    def paired(self, pairs: Columns) -> None:
        """Note pairs."""
        self._pairs.append(pairs)

    def added(self, predictions: Columns) -> None:
        """Note predictions that are kept."""
        self._added.append(predictions)

    def used(self, labels: Columns, *, waits: bool) -> None:
        """Note labels that changed something."""
        if len(labels):
            self._used.append(labels)
            self._waits.append(np.full(len(labels), waits))

    def foreign(self, labels: Columns) -> None:
        """Note labels that expired while they waited."""
        self.count(Pairing.FOREIGN, len(labels))
        self._foreign.append(labels)

    def taken(self) -> TakenPairs:
        """Return everything, in order."""
        used, waits = joined(self._used, LABEL), joined(self._waits, np.dtype(bool))
        order = _order(used["offset"])
        return TakenPairs(
            pairs=_sorted(joined(self._pairs, PAIR), "source"),
            extras=self.extras,
            added=_sorted(joined(self._added, PREDICTION), "offset"),
            used=used if order is None else used[order],
            waits=waits if order is None else waits[order],
            foreign=_sorted(joined(self._foreign, LABEL), "offset"),
            counts=self.counts,
        )


def _order(offsets: np.ndarray) -> np.ndarray | None:
    """Return the order in which these grow; None if they do."""
    return np.argsort(offsets, kind="stable") if bool((offsets[1:] < offsets[:-1]).any()) else None


def _sorted(rows: Columns, by: str) -> Columns:
    order = _order(rows[by])
    return rows if order is None else rows[order]
