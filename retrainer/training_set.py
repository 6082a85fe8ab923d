"""A training set: predictions to learn from, in order, and what makes the same set again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from streams.kafka import Log
from streams.records.swap_event import Lineage
from streams.topics import OUTCOMES, ROWS, topic_name

#: Partition -> (first offset, offset after the last).
Ends = Mapping[int, tuple[int, int]]


#: Rows without features are no news if they are fewer than one in so many.
_FEW_MISSING = 20


@dataclass(frozen=True, slots=True)
class TrainingTopics:
    """The names of the topics that rows come from: labels, and features."""

    outcomes: str
    rows: str

    @classmethod
    def of(cls, prefix: str) -> TrainingTopics:
        """Return the topics of a deployment."""
        return cls(topic_name(prefix, OUTCOMES), topic_name(prefix, ROWS))


@dataclass(frozen=True, slots=True)
class TrainingEnds:
    """Up to where both topics are read: partition -> (first offset kept, offset after the last)."""

    outcomes: Ends
    rows: Ends

    @classmethod
    def of(cls, log: Log, topics: TrainingTopics) -> TrainingEnds:
        """Return the ends as they are now.

        Raises:
            UnavailableError: Kafka or a topic cannot be reached.
        """
        return cls(log.ends(topics.outcomes), log.ends(topics.rows))


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """One prediction to learn from.

    Args:
        predicted_at: epoch seconds of event time.
        partition: of the events topic.
        at: offset of the prediction there; of an outcome of version 1, the offset of its source.
        source: offset of the later of prediction and label.
        id: that of the prediction.
        features: name -> value, None for null.
        label: the true answer.
        share: part of the predictions that the join kept at that time.
    """

    predicted_at: float
    partition: int
    at: int
    source: int
    id: str
    features: dict[str, Any]
    label: Any
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows in order, and where they come from.

    Args:
        topics: their names.
        rows: oldest first.
        offsets: partition of outcomes -> (first offset, offset after the last) of what was read since the first row.
        row_offsets: the same of the records with their features.
        labelled: predictions with a label, with and without features.
        missing: those of them without features.
    """

    topics: TrainingTopics
    rows: tuple[Example, ...]
    offsets: Ends
    row_offsets: Ends
    labelled: int
    missing: int

    def split(self, holdout: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Return the older rows, to learn from, and the newest share, held out for the gate."""
        held_out = max(1, round(len(self.rows) * holdout)) if self.rows else 0
        cut = len(self.rows) - held_out
        return self.rows[:cut], self.rows[cut:]

    @property
    def share(self) -> float:
        """The part of the predictions that the rows stand for, because the join kept no more."""
        return len(self.rows) / sum(1.0 / row.share for row in self.rows) if self.rows else 1.0

    @property
    def digest(self) -> str:
        """A hash of (partition, offset, truth) of the rows, in this order."""
        told = sorted(((row.partition, row.at, row.label) for row in self.rows), key=lambda told: told[:2])
        return hashlib.blake2b(msgspec.msgpack.encode(told), digest_size=16).hexdigest()

    @property
    def lineage(self) -> Lineage:
        """Return the topics, the offset ranges, partitions in order, and what a set made again must agree with."""
        return Lineage(
            self.topics.outcomes,
            _ranges(self.offsets),
            rows_topic=self.topics.rows,
            rows_offsets=_ranges(self.row_offsets),
            rows=len(self.rows),
            digest=self.digest,
            share=self.share,
        )

    @property
    def note(self) -> str:
        """What a person must know beside the number of rows, "" or a clause that begins with "; "."""
        sampled = f"; from 1 in {1.0 / self.share:.3g} predictions" if self.share < 1.0 else ""
        # The newest rows are nearly always on their way.
        if self.missing * _FEW_MISSING <= self.labelled:
            return sampled
        return (
            f"{sampled}; {self.missing} of {self.labelled} labelled rows have no features in {self.topics.rows} "
            "(not written yet, beyond its retention or retrain.rows_per_day, or predicted before an upgrade)"
        )


def _ranges(offsets: Ends) -> dict[str, list[int]]:
    return {str(number): list(span) for number, span in sorted(offsets.items())}
