"""Training rows: the outcomes of one model from the estimated change point on.

Rules:
1. A row is used if its prediction was made at or after the change point and its label is known.
2. The same source (partition, offset) is the same outcome: a repeat after a crash counts once.
3. Rows are ordered by (prediction time, source), in whichever order the records arrived. Beyond `max_rows` the newest stay.
   So the same set can be made again from its offsets.
4. Memory is bounded by `max_rows`. Records before the change point are not read: bisection gives the first offset
   of each partition.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detectors.errors import EventError
from streams.kafka import Log, Record
from streams.records.outcomes import Outcome, OutcomeTick, parse
from streams.records.swap_event import Lineage
from streams.settings import Settings
from streams.topics import OUTCOMES, topic_name

#: An interval of so few records is read, not halved again. Reading also starts so many records earlier,
#: because label times are only nearly in order.
_READ_THROUGH = 2_000
#: Records that a probe reads at most, in search of one of the model.
_PROBE = 1_000


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """One outcome to learn from.

    Args:
        predicted_at: epoch seconds of event time.
        source: (partition, offset) in the events topic, the outcome's identity.
        position: (partition, offset) in the outcomes topic.
        id: that of the prediction.
        features: name -> value, None for null.
        label: the true answer.
    """

    predicted_at: float
    source: tuple[int, int]
    position: tuple[int, int]
    id: str
    features: dict[str, Any]
    label: Any


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows in order, and their offsets: partition of the outcomes topic -> (first offset, offset after the last)."""

    topic: str
    rows: tuple[Example, ...]
    offsets: dict[int, tuple[int, int]]

    def split(self, holdout: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Return the older rows, to learn from, and the newest share, held out for the gate."""
        held_out = max(1, round(len(self.rows) * holdout)) if self.rows else 0
        cut = len(self.rows) - held_out
        return self.rows[:cut], self.rows[cut:]

    @property
    def lineage(self) -> Lineage:
        """Return the topic and the offset ranges, partitions in order."""
        return Lineage(self.topic, {str(number): list(span) for number, span in sorted(self.offsets.items())})


class Outcomes:
    """The growing rows of one model since a change point: `advance` reads new records, `training_set` returns the rows."""

    def __init__(self, log: Log, topic: str, model: str, began_at: float, *, max_rows: int) -> None:
        """Search the first offset in each partition.

        Raises:
            UnavailableError: Kafka cannot be reached.
        """
        self._log = log
        self._topic = topic
        self._model = model
        self._began_at = began_at
        self._max_rows = max_rows
        self._next = first_offsets(log, topic, model, began_at)
        self._newest: list[Example] = []  # a heap, the oldest row first
        self._sources: set[tuple[int, int]] = set()
        #: Outcomes that could not be decoded; they are left out.
        self.unreadable = 0

    def __len__(self) -> int:
        """Return how many rows there are, at most `max_rows`."""
        return len(self._newest)

    def advance(self, ends: Mapping[int, tuple[int, int]], pulse: Callable[[], None] = lambda: None) -> None:
        """Read up to the given ends, as `Log.ends` returns them; `pulse` is called now and then and may raise to stop.

        Raises:
            UnavailableError: Kafka cannot be reached; what was read stays, the next call goes on from there.
        """
        behind = {number: self._next.get(number, low) for number, (low, end) in ends.items() if self._next.get(number, low) < end}
        if not behind:
            return
        for count, record in enumerate(self._log.read(self._topic, behind)):
            if record.offset >= ends[record.partition][1]:
                continue  # written meanwhile: the next call's
            self._next[record.partition] = record.offset + 1
            self._add(record)
            if count % 1_000 == 0:
                pulse()

    def training_set(self) -> TrainingSet:
        """Return the rows read so far, in order."""
        rows = tuple(sorted(self._newest))
        offsets: dict[int, tuple[int, int]] = {}
        for partition, offset in (row.position for row in rows):
            first, after = offsets.get(partition, (offset, offset + 1))
            offsets[partition] = (min(first, offset), max(after, offset + 1))
        return TrainingSet(self._topic, rows, offsets)

    def _add(self, record: Record) -> None:
        outcome = _decode(record)
        if not isinstance(outcome, Outcome):
            self.unreadable += outcome is None
            return
        source = (outcome.source.partition, outcome.source.offset)
        wanted = outcome.model == self._model and outcome.label is not None and outcome.predicted_at >= self._began_at
        if not wanted or source in self._sources:
            return
        row = Example(
            predicted_at=outcome.predicted_at,
            source=source,
            position=(record.partition, record.offset),
            id=outcome.id,
            features=outcome.features,
            label=outcome.label,
        )
        if len(self._newest) < self._max_rows:
            heapq.heappush(self._newest, row)
        elif row > self._newest[0]:
            self._sources.discard(heapq.heapreplace(self._newest, row).source)
        else:
            return
        self._sources.add(source)


def _decode(record: Record) -> Outcome | OutcomeTick | None:
    try:
        return parse(record.value)
    except EventError:
        return None


def training_rows(log: Log, settings: Settings, model: str, began_at: float, *, max_rows: int = 50_000) -> TrainingSet:
    """Return the rows that the outcomes topic holds now for a model, from `began_at` (epoch seconds) on.

    Raises:
        UnavailableError: Kafka or the topic cannot be reached.
    """
    topic = topic_name(settings.kafka.prefix, OUTCOMES)
    outcomes = Outcomes(log, topic, model, began_at, max_rows=max_rows)
    outcomes.advance(log.ends(topic))
    return outcomes.training_set()


def first_offsets(log: Log, topic: str, model: str, seconds: float) -> dict[int, int]:
    """Return partition -> an offset at or before the model's first outcome predicted at or after `seconds`.

    Outcomes are written in the order in which their labels come, so the bisection goes by label time. No label is older
    than its prediction: an outcome before the returned offset was labelled before `seconds`, hence predicted before.
    A probe that meets no outcome of the model takes the earlier half, which is always safe.

    Raises:
        UnavailableError: Kafka cannot be reached.
    """
    ends = log.ends(topic)
    low = {number: first for number, (first, _) in ends.items()}
    high = {number: end for number, (_, end) in ends.items()}
    while middles := {n: (low[n] + high[n]) // 2 for n in ends if high[n] - low[n] > _READ_THROUGH}:
        labelled = _probe(log, topic, model, middles)
        for number, middle in middles.items():
            if labelled.get(number, seconds) < seconds:
                low[number] = middle
            else:
                high[number] = middle
    return {number: max(ends[number][0], offset - _READ_THROUGH) for number, offset in low.items()}


def _probe(log: Log, topic: str, model: str, starts: Mapping[int, int]) -> dict[int, float]:
    """Return partition -> label time of the model's first outcome among the next records from its start, if there is one."""
    times: dict[int, float] = {}
    searching = set(starts)
    for record in log.read(topic, starts):
        number = record.partition
        if number not in searching:
            continue
        outcome = _decode(record)
        if isinstance(outcome, Outcome) and outcome.model == model:
            times[number] = max(outcome.ts, outcome.predicted_at)
            searching.discard(number)
        elif record.offset - starts[number] >= _PROBE:
            searching.discard(number)
        if not searching:
            break
    return times
