"""The newest label of each prediction since a change point, bounded.

Rules:
1. A prediction is a partition of events and its offset there. Of its labels the one with the greatest source counts, in
   whichever order they are read: so a repeat changes nothing, and a correction replaces what it corrects.
2. A label of null takes the earlier one back. It is kept too, or a repeat of the earlier one would bring it back.
3. Beyond `most` predictions the oldest go, and nothing as old as they is taken any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from detectors.windows.row import Value

#: (partition, offset) of a prediction in the events topic. An outcome of version 1 does not know the offset: it has -1 less the
#: offset of its source instead.
Key = tuple[int, int]


class NewestLabel(msgspec.Struct, frozen=True, gc=False):
    """One label.

    Args:
        predicted_at: event time of the prediction, epoch seconds.
        id: of the prediction.
        source: offset of the later of prediction and label in the partition of events.
        truth: None takes an earlier label back.
        share: part of the predictions that the join kept at that time.
    """

    predicted_at: float
    id: str
    source: int
    truth: Value
    share: float


class NewestLabels:
    """Prediction -> its newest label."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._labels: dict[Key, NewestLabel] = {}
        self._floor: tuple[float, Key] = (-math.inf, (0, 0))
        #: (partition, id) -> key, of outcomes of version 1.
        self._without_offset: dict[tuple[int, str], Key] = {}
        #: Predictions whose newest label is not null.
        self.known = 0

    def __contains__(self, key: object) -> bool:
        """Tell whether the prediction has a label, or had one."""
        return key in self._labels

    def __getitem__(self, key: Key) -> NewestLabel:
        """Return the newest label of a prediction."""
        return self._labels[key]

    def items(self) -> Iterator[tuple[Key, NewestLabel]]:
        """Yield predictions with a label that is not null."""
        return ((key, label) for key, label in self._labels.items() if label.truth is not None)

    def add(self, key: Key, label: NewestLabel) -> None:
        """Take a label if it is the newest of its prediction."""
        known = self._labels.get(key)
        if (known is not None and known.source >= label.source) or (label.predicted_at, key) <= self._floor:
            return
        self.known += (label.truth is not None) - (known is not None and known.truth is not None)
        self._labels[key] = label
        if key[1] < 0:
            self._without_offset[key[0], label.id] = key
        if len(self._labels) > self._most + self._most // 8:
            self._forget_oldest()

    def supersede(self, key: Key, label: NewestLabel) -> Key | None:
        """Drop the label that an outcome of version 1 gave to the same prediction, and return its key; None without one."""
        old = self._without_offset.get((key[0], label.id))
        if old is None or (known := self._labels.get(old)) is None or known.predicted_at != label.predicted_at:
            return None
        if label.source <= known.source:
            return None
        del self._labels[old], self._without_offset[key[0], label.id]
        self.known -= known.truth is not None
        return old

    def _forget_oldest(self) -> None:
        order = sorted((label.predicted_at, key) for key, label in self._labels.items())
        gone = order[: len(order) - self._most]
        self._floor = gone[-1]
        for _, key in gone:
            label = self._labels.pop(key)
            self.known -= label.truth is not None
            self._without_offset.pop((key[0], label.id), None)
