"""Training rows: predictions of one model from the estimated change point on, each with its newest label and its features.

Rules:
1. A row is used if its prediction was made at or after the change point, its newest label is known (retrainer/labels.py), and
   its features are there: in the topic of rows, or in an outcome of version 1 itself.
2. Rows are ordered by (prediction time, partition, offset), in whichever order the records arrived. Beyond `max_rows` the
   newest stay. So the same set can be made again from its offsets, and a digest says whether it is the same.
3. Reading begins in each partition with what was appended `_BEFORE_SECONDS` before the change point. What was predicted
   at or after it was appended later than that: an event more than a minute ahead of the broker's clock is refused. That is
   right in whatever order labels come. A partition whose records have the time of their sender is read from its beginning.
4. Outcomes are read first. Then the topic of rows is read once, and only the features of labelled predictions are kept.
5. Memory is bounded: labels of `_LABELS` times `max_rows` predictions, and of `_LEAST_LABELS` at least, and features of
   `max_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from detectors.arrays import Integers
from detectors.errors import EventError, StateError
from retrainer.labels import Key, NewestLabel, NewestLabels
from retrainer.training_set import Ends, Example, TrainingEnds, TrainingSet, TrainingTopics
from streams.kafka import Log, Record
from streams.records import training_rows as codec
from streams.records.outcomes import OutcomeColumns, OutcomeTick, parse
from streams.records.swap_event import Lineage

#: How far event time may be ahead of the broker's clock, and clocks of brokers apart, in seconds.
_BEFORE_SECONDS = 60.0 + 60.0
_LABELS, _LEAST_LABELS = 4, 200_000
#: Records between two pulses.
_EVERY = 100


class Outcomes:
    """The growing rows of one model since a change point.

    `advance` reads new labels, `find_features` the features of labelled predictions, `training_set` returns the rows.
    """

    def __init__(
        self,
        log: Log,
        topics: TrainingTopics,
        model: str,
        began_at: float,
        *,
        max_rows: int,
        starts: tuple[Mapping[int, int], Mapping[int, int]] | None = None,
    ) -> None:
        """Search the first offset in each partition of both topics (rule 3), unless `starts` gives them, outcomes first.

        Raises:
            UnavailableError: Kafka cannot be reached.
        """
        self._log = log
        self._topics = topics
        self._model = model
        self._began_at = began_at
        self._max_rows = max_rows
        from_ = began_at - _BEFORE_SECONDS
        if starts is None:
            starts = log.appended_since(topics.outcomes, from_), log.appended_since(topics.rows, from_)
        self._next = dict(starts[0])
        self._rows_start = starts[1]
        #: From where on rows are read if nobody new is asked for, and who has no features before that.
        self._rows_next = dict(starts[1])
        self._missed: set[Key] = set()
        self._labels = NewestLabels(max(_LABELS * max_rows, _LEAST_LABELS))
        #: Partition of outcomes -> offset of the first record with a row.
        self._first: dict[int, int] = {}
        #: Prediction -> its features, and (partition, offset) of the record in the topic of rows; None in an outcome.
        self._features: dict[Key, tuple[dict[str, Any], tuple[int, int] | None]] = {}
        #: Records of both topics that could not be decoded; they are left out.
        self.unreadable = 0

    @property
    def labelled(self) -> int:
        """Predictions with a label that is not null, with and without features."""
        return self._labels.known

    def __len__(self) -> int:
        """Return how many rows there are, at most `max_rows`."""
        return min(self._max_rows, sum(key in self._labels and self._labels[key].truth is not None for key in self._features))

    def advance(self, ends: TrainingEnds, pulse: Callable[[], None] = lambda: None) -> None:
        """Read outcomes up to the given ends; `pulse` is called now and then and may raise to stop.

        Raises:
            UnavailableError: Kafka cannot be reached; what was read stays, the next call goes on from there.
        """
        for record in self._read(self._topics.outcomes, self._next, ends.outcomes, pulse):
            self._add(record)
            self._next[record.partition] = record.offset + 1

    def find_features(self, ends: TrainingEnds, pulse: Callable[[], None] = lambda: None) -> None:
        """Read the features of labelled predictions up to the given ends; `pulse` as for `advance`.

        The whole topic is read if a prediction is asked for that was not asked for before, and else only what is new in it.

        Raises:
            UnavailableError: Kafka cannot be reached; what was found stays.
        """
        wanted = self._wanted()
        starts = self._rows_next if wanted <= self._missed else dict(self._rows_start)
        asked: dict[int, list[int]] = {}
        for partition, at in sorted(wanted):
            asked.setdefault(partition, []).append(at)
        sorted_offsets = {partition: np.array(offsets) for partition, offsets in asked.items()}
        if wanted:
            for record in self._read(self._topics.rows, starts, ends.rows, pulse):
                if record.partition in sorted_offsets and record.key in (None, self._model.encode()):
                    self._find(record, sorted_offsets[record.partition])
            self._rows_next = {number: end for number, (_, end) in ends.rows.items()}
        self._prune()
        self._missed = {key for key in self._wanted() if key[1] >= 0}

    def training_set(self) -> TrainingSet:
        """Return the rows found so far, in order."""
        usable = self._usable()
        rows = tuple(
            Example(
                predicted_at=at,
                partition=key[0],
                at=key[1] if key[1] >= 0 else -1 - key[1],
                source=self._labels[key].source,
                id=self._labels[key].id,
                features=self._features[key][0],
                label=self._labels[key].truth,
                share=self._labels[key].share,
            )
            for at, key in usable
        )
        offsets = {number: (first, self._next[number]) for number, first in self._first.items()}
        row_offsets: dict[int, tuple[int, int]] = {}
        for _, key in usable:
            place = self._features[key][1]
            if place is not None:
                first, after = row_offsets.get(place[0], (place[1], place[1] + 1))
                row_offsets[place[0]] = (min(first, place[1]), max(after, place[1] + 1))
        missing = len(self._wanted())
        return TrainingSet(self._topics, rows, offsets, row_offsets, len(rows) + missing, missing)

    def _read(self, topic: str, starts: Mapping[int, int], ends: Ends, pulse: Callable[[], None]) -> Iterator[Record]:
        """Yield the records of a topic up to the given ends; what is written meanwhile is the next call's."""
        behind = {number: max(low, starts.get(number, low)) for number, (low, end) in ends.items()}
        behind = {number: first for number, first in behind.items() if first < ends[number][1]}
        if not behind:
            return
        left = set(behind)
        for count, record in enumerate(self._log.read(topic, behind)):
            end = ends[record.partition][1]
            if record.offset < end:
                yield record
            if record.offset + 1 >= end:
                left.discard(record.partition)
                if not left:
                    return
            if count % _EVERY == 0:
                pulse()

    def _add(self, record: Record) -> None:
        try:
            found = parse(record.value)
        except EventError:
            self.unreadable += 1
            return
        if isinstance(found, OutcomeTick) or found.model != self._model:
            return
        if isinstance(found, OutcomeColumns):
            shares = found.share or [1.0] * len(found)
            for place, predicted_at in enumerate(found.predicted_at):
                label = NewestLabel(predicted_at, found.id[place], found.source[place], found.truth[place], shares[place])
                self._take(record, (found.partition, found.at[place]), label)
            return
        label = NewestLabel(found.predicted_at, found.id, found.source.offset, found.label, found.share)
        if found.at is not None:
            self._take(record, (found.source.partition, found.at), label)
        elif isinstance(found.features, dict):
            key = (found.source.partition, -1 - found.source.offset)
            self._take(record, key, label)
            if key in self._labels:
                self._features[key] = found.features, None
        else:
            self.unreadable += 1

    def _take(self, record: Record, key: Key, label: NewestLabel) -> None:
        if label.predicted_at < self._began_at:
            return
        self._first.setdefault(record.partition, record.offset)
        if key[1] >= 0 and (old := self._labels.supersede(key, label)) is not None and old in self._features:
            self._features[key] = self._features.pop(old)
        self._labels.add(key, label)

    def _usable(self) -> list[tuple[float, Key]]:
        """Return (prediction time, key) of the newest predictions with a label and features, at most `max_rows`, in order."""
        found = ((label.predicted_at, key) for key, label in self._labels.items() if key in self._features)
        return sorted(found, key=lambda row: (row[0], row[1][0], abs(row[1][1])))[-self._max_rows :]

    def _wanted(self) -> set[Key]:
        """Return the labelled predictions without features that would be among the newest `max_rows`."""
        usable = self._usable()
        oldest = usable[0] if len(usable) == self._max_rows else (self._began_at, (-1, 0))
        return {
            key
            for key, label in self._labels.items()
            if key not in self._features and key[1] >= 0 and (label.predicted_at, key) > oldest
        }

    def _find(self, record: Record, asked: Integers) -> None:
        try:
            rows = codec.parse(record.value)
        except EventError:
            self.unreadable += 1
            return
        if rows.model != self._model:
            return
        places = np.searchsorted(asked, rows.offsets)
        found = np.flatnonzero(asked[np.minimum(places, len(asked) - 1)] == rows.offsets)
        position = (record.partition, record.offset)
        for offset, features in zip(rows.offsets[found].tolist(), rows.features(found), strict=True):
            self._features[record.partition, offset] = features, position
        if len(self._features) > 2 * self._max_rows:
            self._prune()

    def _prune(self) -> None:
        """Forget features that are not among the newest rows (rule 5)."""
        if len(self._features) > self._max_rows:
            self._features = {key: self._features[key] for _, key in self._usable()}


def training_rows(log: Log, topics: TrainingTopics, model: str, began_at: float, *, max_rows: int = 50_000) -> TrainingSet:
    """Return the rows that the topics hold now for a model, from `began_at` (epoch seconds) on.

    Raises:
        UnavailableError: Kafka or a topic cannot be reached.
    """
    outcomes = Outcomes(log, topics, model, began_at, max_rows=max_rows)
    ends = TrainingEnds.of(log, topics)
    outcomes.advance(ends)
    outcomes.find_features(ends)
    return outcomes.training_set()


def made_again(log: Log, lineage: Lineage, model: str, began_at: float) -> TrainingSet:
    """Return the training set that a swap event names by its lineage, model and `began_at`.

    Raises:
        StateError: the topics do not hold the same rows any more, or the lineage is of a version that did not count them.
        UnavailableError: Kafka or a topic cannot be reached.
    """
    if lineage.topic is None or not isinstance(lineage.rows_topic, str) or not isinstance(lineage.rows_offsets, dict):
        raise StateError("this lineage names no topic of rows: it has no rows, or it is of a version that wrote no digest")
    topics = TrainingTopics(lineage.topic, lineage.rows_topic)
    ends = TrainingEnds(_ends(lineage.offsets), _ends(lineage.rows_offsets))
    wanted = lineage.rows if isinstance(lineage.rows, int) else 0
    outcomes = Outcomes(log, topics, model, began_at, max_rows=max(1, wanted), starts=({}, {}))
    outcomes.advance(ends)
    outcomes.find_features(ends)
    made = outcomes.training_set()
    if (len(made.rows), made.digest) != (wanted, lineage.digest):
        raise StateError(
            f"the training set of {model} from {topics.outcomes} cannot be made again: {len(made.rows)} of {wanted} rows, digest "
            f"{made.digest}, expected {lineage.digest}; records are beyond retention, or the topics were made again since"
        )
    return made


def _ends(ranges: Mapping[str, list[int]]) -> dict[int, tuple[int, int]]:
    return {int(number): (span[0], span[1]) for number, span in ranges.items()}
