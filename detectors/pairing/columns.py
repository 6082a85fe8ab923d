"""Columns of the join: predictions that wait, labels that wait, and the pairs that are made.

Times are epoch seconds of event time, offsets are those of the partition of events.
`answer` and `truth` are `Boxes` (detectors/pairing/values.py); `what` is the number of a `What` or of a client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import Flags

#: A prediction, 56 bytes; `score` is NaN without one, `truth` UNKNOWN before its label.
PREDICTION = np.dtype(
    [
        ("key", "<u8"),
        ("check", "<u4"),
        ("what", "<u4"),
        ("offset", "<i8"),
        ("ts", "<f8"),
        ("score", "<f8"),
        ("answer", "<u8"),
        ("truth", "<u8"),
    ]
)
#: A label, 40 bytes; `what` is its client.
LABEL = np.dtype([("key", "<u8"), ("check", "<u4"), ("what", "<u4"), ("offset", "<i8"), ("ts", "<f8"), ("truth", "<u8")])
#: A pair: the columns of its prediction, and what its label says. `was` is the truth before, UNKNOWN without one.
PAIR = np.dtype(
    [
        *((name, PREDICTION[name]) for name in ("key", "check", "what", "offset", "ts", "score", "answer")),
        ("truth", "<u8"),
        ("was", "<u8"),
        ("label_ts", "<f8"),
        ("label_what", "<u4"),
        ("source", "<i8"),
    ]
)

Columns = NDArray[np.void]
#: Offset of a prediction -> what is kept of it besides its columns, as bytes.
Extras = dict[int, bytes]


class What(NamedTuple):
    """What few predictions differ in."""

    segment: str = ""
    model_version: str | None = None
    client: str | None = None


def empty(kind: np.dtype[Any]) -> Columns:
    """Return columns without a row."""
    return np.zeros(0, kind)


@dataclass(frozen=True, slots=True)
class Halves:
    """Predictions and labels of one model in a stretch of one partition, each in offset order.

    Args:
        predictions: of type `PREDICTION`, shape (n,).
        labels: of type `LABEL`, shape (m,).
        extras: of some of the predictions.
        waits: whether each label waits for its prediction, where that is known already: in what was stored.
    """

    predictions: Columns = field(default_factory=lambda: empty(PREDICTION))
    labels: Columns = field(default_factory=lambda: empty(LABEL))
    extras: Extras = field(default_factory=dict)
    waits: Flags | None = None

    def __len__(self) -> int:
        """Return the number of predictions and labels."""
        return len(self.predictions) + len(self.labels)

    def cut(self, low: int, high: int) -> Halves:
        """Return those with offsets from `low` up to `high`, which is not included."""
        first, last = np.searchsorted(self.predictions["offset"], (low, high))
        start, end = np.searchsorted(self.labels["offset"], (low, high))
        waits = None if self.waits is None else self.waits[start:end]
        return Halves(self.predictions[first:last], self.labels[start:end], self.extras, waits)

    def where(self, predictions: Flags, labels: Flags) -> Halves:
        """Return those with a flag."""
        waits = None if self.waits is None else self.waits[labels]
        return Halves(self.predictions[predictions], self.labels[labels], self.extras, waits)


def joined(pieces: Iterable[np.ndarray], kind: np.dtype[Any]) -> np.ndarray:
    """Return arrays of one type, one behind the other."""
    pieces = [piece for piece in pieces if len(piece)]
    return np.zeros(0, kind) if not pieces else pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
