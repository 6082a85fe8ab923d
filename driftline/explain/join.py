"""What waits in the join, partition by partition, as its log has it.

Rules:
1. The log is read as a worker does at its start (streams/state/join_log.py), and nothing is written.
2. The log lags behind the workers by half a minute at most; `reached` says up to which offset of events it has everything.
3. Only what is alive counts: neither expired nor beyond the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from detectors.errors import DriftlineError, UnavailableError
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.partition import PartitionPairs
from detectors.pairing.values import UNKNOWN
from detectors.spec import ModelSpec
from streams.kafka import Log, Record, partition_counts
from streams.records.join_chunks import Begin, Chunk
from streams.records.times import rfc3339
from streams.settings import KafkaSettings
from streams.state.join_log import JoinLog
from streams.topics import EVENTS, JOIN, topic_name

NO_LOG = "the join has no log yet: a worker begins it within a second of its start; is one running with this [kafka] prefix?"

_CLIENT = "explain"
_KAFKA_SECONDS = 5.0

#: Partition -> all records of its log, oldest first.
Records = Callable[[int], Iterable[Record]]
#: Takes a chunk, and returns what of it is to be loaded.
Choice = Callable[[Chunk], Chunk]


@dataclass(frozen=True, slots=True)
class LoadedPartition:
    """What waits of one model in one partition.

    Args:
        pairs: the state.
        begin: the beginning of the log, None without one.
        reached: offset of events up to which the log has everything.
        seed: of the hash of ids; None if no chunk of the model says one.
    """

    pairs: ModelPairs
    begin: Begin | None
    reached: int
    seed: int | None


@dataclass(frozen=True, slots=True)
class PartitionAccount:
    """One line of the overview.

    Args:
        predictions: that are kept; `unlabelled` of them have no label yet.
        labels: that wait for their prediction.
        memory_bytes: that all of these count for, against `[join] most_bytes`.
        share: part of the ids that is kept now.
        oldest: event time of the oldest prediction, RFC 3339; None without any.
        reached: offset of events up to which the log has everything.
    """

    partition: int
    predictions: int
    unlabelled: int
    labels: int
    memory_bytes: int
    share: float
    oldest: str | None
    reached: int


class JoinTopics:
    """The topics of the join at one broker, read from their beginning; `close` at the end."""

    def __init__(self, kafka: KafkaSettings, *, draw: Callable[[float | None, int], None]) -> None:
        """Connect.

        Args:
            kafka: the broker.
            draw: shows the share of a partition that was read, and how many records were read in all.

        Raises:
            UnavailableError: the broker cannot be reached, or has no topics yet.
        """
        self._prefix, self._draw, self._read = kafka.prefix, draw, 0
        counts = partition_counts(kafka, _KAFKA_SECONDS)
        missing = [name for topic in (EVENTS, JOIN) if (name := topic_name(kafka.prefix, topic)) not in counts]
        if missing:
            raise UnavailableError(
                f"no topic {missing[0]} at {kafka.bootstrap}: run `driftline topics create`, then start a worker"
            )
        self.partitions = counts[topic_name(kafka.prefix, EVENTS)]
        self._log = Log(kafka, _CLIENT)

    def log(self, partition: int) -> Iterator[Record]:
        """Yield the log of a partition, oldest first."""
        return self._records(topic_name(self._prefix, JOIN), partition, 0)

    def events(self, partition: int, start: int) -> Iterator[Record]:
        """Yield the events of a partition that are kept, from an offset on."""
        return self._records(topic_name(self._prefix, EVENTS), partition, start)

    def _records(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        first, end = self._log.ends_of(topic, partition, _KAFKA_SECONDS)
        first = max(first, start)
        for record in self._log.read(topic, {partition: first}) if first < end else ():
            self._read += 1
            if self._read % 256 == 0:
                self._draw(min(1.0, (record.offset - first) / (end - first)), self._read)
            if record.offset >= end:
                return
            yield record

    def close(self) -> None:
        """Leave the broker."""
        self._log.close()


def loaded(records: Callable[[], Iterable[Record]], spec: ModelSpec, choose: Choice | None = None) -> LoadedPartition:
    """Return what waits of a model, by the log of a partition.

    Args:
        records: gives all records of the log, oldest first; a long log is read twice.
        spec: of the model.
        choose: takes each chunk of the model, and returns what of it is to be loaded; None for everything.

    Raises:
        UnavailableError: the broker cannot be reached.
    """
    log = JoinLog(records)
    keys = log.keys()
    # The levels stand in the chunks, so the bound that led to them is not needed.
    state = PartitionPairs({spec.name: spec.outcomes.label_within_seconds}, most_bytes=1)
    seed: int | None = None
    for chunk in log.chunks([place for place in keys.up_to(keys.end) if place.model == spec.name]):
        seed = chunk.seed if seed is None else seed
        state.load((chunk if choose is None else choose(chunk)).stretch)
    return LoadedPartition(state.models[spec.name], keys.begin, keys.end, seed)


def account(partition: int, found: LoadedPartition) -> PartitionAccount:
    """Return the line of a partition."""
    pairs = found.pairs
    waiting, early = pairs.waiting.rows[pairs.waiting.taken()], pairs.early.rows[pairs.early.taken()]
    waiting = waiting[pairs.bounds.alive(waiting["key"], waiting["offset"])]
    early = early[pairs.bounds.alive(early["key"], early["offset"])]
    return PartitionAccount(
        partition=partition,
        predictions=len(waiting),
        unlabelled=int(np.count_nonzero(waiting["truth"] == UNKNOWN)),
        labels=len(early),
        memory_bytes=pairs.bounds.total,
        share=0.5**pairs.bounds.level,
        oldest=rfc3339(float(waiting["ts"].min())) if len(waiting) else None,
        reached=found.reached,
    )


def overview(partitions: int, records: Records, spec: ModelSpec) -> list[PartitionAccount]:
    """Return what waits of a model, partition by partition; those whose log has no beginning are left out.

    Args:
        partitions: their number.
        records: gives the log of a partition.
        spec: of the model.

    Raises:
        DriftlineError: no partition has a log yet.
        UnavailableError: the broker cannot be reached.
    """
    lines = []
    for partition in range(partitions):
        found = loaded(partial(records, partition), spec)
        if found.begin is not None or found.reached:
            lines.append(account(partition, found))
    if not lines:
        raise DriftlineError(NO_LOG)
    return lines
