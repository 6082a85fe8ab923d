"""The records of a stream as the columns that the core takes, without JSON: for memory and for the load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from benchmarks.speed.join.stream import (
    FETCH,
    MODEL,
    WITHIN_SECONDS,
    JoinStream,
    answers,
    fetches,
    hashed,
    numbers,
    scores,
    truths,
)
from detectors.arrays import Integers
from detectors.pairing.columns import LABEL, PREDICTION, Halves, What
from detectors.pairing.partition import BrokerClock, PartitionPairs
from detectors.pairing.values import UNKNOWN

#: What the model says: classes, or numbers.
Answers = Literal["classes", "numbers"]
_WHATS = tuple(What(f"s{number}", "7") for number in range(5))


def roomy(predictions: int) -> PartitionPairs:
    """Return a partition whose bound holds so many predictions and the labels that wait; it is reserved, and not used."""
    return PartitionPairs({MODEL: WITHIN_SECONDS}, most_bytes=max(1 << 20, 200 * predictions))


class ColumnFeed:
    """Feeds a stream to a partition; offsets are the places in the stream, and the broker's clock is event time."""

    def __init__(self, stream: JoinStream, partition: PartitionPairs, said: Answers = "classes") -> None:
        """Feed from the position of the partition on."""
        self._stream = stream
        self._partition = partition
        self._pairs = partition.models[MODEL]
        self._said = said
        self._whats = self._pairs.whats.codes(_WHATS)
        self._client = self._pairs.clients.code(None)

    def columns(self) -> Iterator[tuple[Halves, BrokerClock, int]]:
        """Yield what each fetch holds, the clock, and the offset after its last record."""
        for places in fetches(self._stream, FETCH):
            if places[-1] >= self._partition.position:
                yield self._halves(places), BrokerClock(places, self._stream.at[places]), int(places[-1]) + 1

    def take(self, halves: Halves, clock: BrokerClock, end: int) -> None:
        """Let the partition take a fetch."""
        self._partition.take({MODEL: halves}, clock)
        self._partition.begin(end)

    def _halves(self, places: Integers) -> Halves:
        labelled = self._stream.labelled[places]
        predictions, labels = np.zeros(int((~labelled).sum()), PREDICTION), np.zeros(int(labelled.sum()), LABEL)
        for into, at in ((predictions, places[~labelled]), (labels, places[labelled])):
            rows = self._stream.row[at]
            into["key"], into["check"] = hashed(rows), hashed(rows, 1 << 41) & np.uint64(0xFFFFFFFF)
            into["offset"], into["ts"] = at, self._stream.at[at]
        boxed = self._pairs.boxes.boxed
        rows, label_rows = self._stream.row[places[~labelled]], self._stream.row[places[labelled]]
        numeric = self._said == "numbers"
        predictions["answer"] = boxed((numbers(rows, true=False) if numeric else answers(rows)).tolist()) if len(rows) else 0
        predictions["score"], predictions["truth"] = np.nan if numeric else scores(rows), UNKNOWN
        predictions["what"] = self._whats[rows % len(_WHATS)]
        if len(label_rows):
            labels["truth"] = boxed((numbers(label_rows, true=True) if numeric else truths(label_rows)).tolist())
        labels["what"] = self._client
        return Halves(predictions, labels)
