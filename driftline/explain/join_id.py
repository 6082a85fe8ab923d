"""What became of one id in the join: where its prediction stands, which labels came, and why they met or did not.

Rules:
1. The log of the join has predictions, and labels that changed something. Where it does not answer, the events that are
   still kept are read for the rest: labels that came too late, repeats, and what is newer than the log.
2. Prediction and label meet in the partition of their message key. The id is the key that all our clients use, so the
   partition of the id is looked at first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from detectors.errors import EventError
from detectors.pairing.bounds import MOST_LEVEL
from detectors.pairing.columns import Columns, What
from detectors.pairing.keys import keys_of
from detectors.pairing.values import NULL, UNKNOWN, Boxes, with_codes
from detectors.spec import ModelSpec
from detectors.windows.row import Value
from driftline.explain.join import LoadedPartition, Records, loaded
from driftline.text.durations import format_duration
from streams.events.event import Event, parse
from streams.kafka import Record
from streams.records.join_chunks import Chunk
from streams.records.times import rfc3339

#: Partition, first offset -> events that are kept.
Events = Callable[[int, int], Iterable[Record]]
State = Literal["waiting", "label_waiting", "joined", "corrected", "none", "expired", "sampled_out", "unknown"]
#: States in which the events may say more than the log.
_OPEN: frozenset[State] = frozenset({"waiting", "label_waiting", "expired", "sampled_out", "unknown"})


@dataclass(frozen=True, slots=True)
class IdRecord:
    """A prediction or label of the id.

    Args:
        at: event time, epoch seconds; `time` is the same as RFC 3339.
        value: the answer, or the truth that the label says.
        score, segment, model_version: of a prediction.
        where: "log" of the join, or "events" if it is in no chunk.
        key: of the message, where it is not the id; None where it is, or is not known.
    """

    kind: Literal["prediction", "label"]
    partition: int
    offset: int
    at: float
    time: str
    value: Value
    score: float | None
    segment: str
    model_version: str | None
    where: Literal["log", "events"]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class IdAccount:
    """What became of an id in one partition.

    Args:
        hash: of the id, in hexadecimal digits; None if nothing says the seed.
        reached: offset of events up to which the log of the join has everything.
        level: one in 2^level ids is kept now.
        records: by offset.
    """

    model: str
    id: str
    hash: str | None
    partition: int
    reached: int
    level: int
    state: State
    records: tuple[IdRecord, ...]


class _Search:
    """The records of one id in the chunks of a partition."""

    def __init__(self, identity: str, partition: int) -> None:
        self._identity, self._partition = identity, partition
        self._hash: tuple[int, int] | None = None
        self.records: dict[int, IdRecord] = {}

    def hash(self, seed: int) -> tuple[int, int]:
        """Return key and check of the id; all chunks of a deployment have one seed."""
        if self._hash is None:
            keys, checks = keys_of([self._identity], seed)
            self._hash = int(keys[0]), int(checks[0])
        return self._hash

    def choose(self, chunk: Chunk) -> Chunk:
        """Note what a chunk has of the id, and return the chunk without everything else."""
        stretch = chunk.stretch
        key, check = self.hash(chunk.seed)
        predictions, labels = (
            (rows["key"] == key) & (rows["check"] == check) for rows in (stretch.halves.predictions, stretch.halves.labels)
        )
        halves = stretch.halves.where(predictions, labels)
        for row, value in zip(halves.predictions, _values(halves.predictions, "answer", stretch.words), strict=True):
            self._note("prediction", row, value, stretch.whats[int(row["what"])])
        for row, value in zip(halves.labels, _values(halves.labels, "truth", stretch.words), strict=True):
            self._note("label", row, value, What())
        return replace(chunk, stretch=replace(stretch, halves=halves))

    def _note(self, kind: Literal["prediction", "label"], row: np.void, value: Value, what: What) -> None:
        offset, at = int(row["offset"]), float(row["ts"])
        score = None if kind == "label" or np.isnan(row["score"]) else float(row["score"])
        self.records[offset] = IdRecord(
            kind, self._partition, offset, at, rfc3339(at), value, score, what.segment, what.model_version, "log"
        )


def _values(rows: Columns, name: str, words: dict[int, str | int]) -> list[Value]:
    """Return a column of answers or truths, by the words of their chunk."""
    boxes, old = Boxes(), sorted(words)
    new = [boxes.words.code(words[code]) for code in old]
    return boxes.values_of(with_codes(np.ascontiguousarray(rows[name]), np.array(old, np.int64), np.array(new, np.int64)))


def trace(
    spec: ModelSpec, identity: str, partition: int, *, log: Records, events: Events, seed: Callable[[], int | None]
) -> IdAccount:
    """Return what became of an id in a partition.

    Args:
        spec: of the model.
        identity: the id.
        partition: of events.
        log: gives the log of the join for a partition.
        events: gives the events of a partition from an offset on.
        seed: gives the seed of the hash where no chunk says it, None if it is not known.

    Raises:
        UnavailableError: the broker cannot be reached.
    """
    search = _Search(identity, partition)
    found = loaded(partial(log, partition), spec, search.choose)
    known = seed() if found.seed is None else found.seed
    digits = None
    state: State = "unknown"
    if known is not None:
        key, check = search.hash(known)
        digits = f"{key:016x}{check:08x}"
        state = _state(found, key, check, search.records.values())
    records = dict(search.records)
    if state in _OPEN:
        start = min((one.offset for one in records.values() if one.kind == "prediction"), default=0)
        for offset, record in _in_events(spec, identity, partition, events(partition, start)):
            stored = records.get(offset)
            records[offset] = record if stored is None else replace(stored, key=record.key)
    ordered = tuple(sorted(records.values(), key=lambda one: one.offset))
    return IdAccount(spec.name, identity, digits, partition, found.reached, found.pairs.bounds.level, state, ordered)


def _state(found: LoadedPartition, key: int, check: int, known: Iterable[IdRecord]) -> State:
    pairs, bounds = found.pairs, found.pairs.bounds
    slot = pairs.waiting.find_one(key, check)
    if slot >= 0 and bounds.is_alive(key, int(pairs.waiting.rows["offset"][slot])):
        row = pairs.waiting.rows[slot]
        if row["truth"] == UNKNOWN:
            return "waiting"
        labels = [one for one in known if one.kind == "label" and one.at - float(row["ts"]) <= pairs.within]
        later = [one for one in labels if one.offset > row["offset"]]
        # Of the labels before the prediction only the newest was used.
        used = len(later) + (len(later) < len(labels))
        return "corrected" if used > 1 else "none" if row["truth"] == NULL else "joined"
    slot = pairs.early.find_one(key, check)
    if slot >= 0 and bounds.is_alive(key, int(pairs.early.rows["offset"][slot])):
        return "label_waiting"
    told = fate_of_forgotten(list(known), bounds.floor, pairs.within)
    if told is not None:
        return told
    return "sampled_out" if bounds.level and key >= 1 << (64 - min(bounds.level, MOST_LEVEL)) else "unknown"


def fate_of_forgotten(known: Sequence[IdRecord], floor: int, within: float) -> State | None:
    """Return what became of an id that is forgotten, by what the log still has of it; None if it has nothing.

    Args:
        known: predictions and labels that changed something, as the chunks have them.
        floor: records at smaller offsets have expired.
        within: longest time from a prediction to its label, seconds.
    """
    predictions = [one for one in known if one.kind == "prediction"]
    if not predictions:
        return "expired" if known else None
    if predictions[-1].offset >= floor:  # it has not expired, so a level has dropped it
        return "sampled_out"
    labels = [one for one in known if one.kind == "label" and one.at - predictions[-1].at <= within]
    if not labels:
        return "expired"
    return "corrected" if len(labels) > 1 else "none" if labels[-1].value is None else "joined"


def _in_events(spec: ModelSpec, identity: str, partition: int, records: Iterable[Record]) -> Iterator[tuple[int, IdRecord]]:
    """Yield (offset, record) of the predictions and labels of an id."""
    # An id stands in its event as it is, or with escapes.
    spellings = {identity.encode(), json.dumps(identity)[1:-1].encode(), json.dumps(identity, ensure_ascii=False)[1:-1].encode()}
    for record in records:
        value = record.value or b""
        if not any(spelling in value for spelling in spellings):
            continue
        try:
            event = parse(record.offset, round(record.timestamp_seconds * 1000), value, {spec.name: spec})
        except EventError:
            continue
        if event.id is not None and str(event.id) == identity and event.kind in ("prediction", "label"):
            yield record.offset, _of_event(event, partition, record.key, identity)


def _of_event(event: Event, partition: int, key: bytes | None, identity: str) -> IdRecord:
    other = None if key == identity.encode() else "" if key is None else key.decode(errors="replace")[:80]
    kind: Literal["prediction", "label"] = "label" if event.kind == "label" else "prediction"
    return IdRecord(
        kind,
        partition,
        event.offset,
        event.ts,
        rfc3339(event.ts),
        event.label,
        event.score,
        event.segment,
        event.model_version,
        "events",
        other,
    )


def sentences(spec: ModelSpec, home: int, accounts: list[IdAccount]) -> list[str]:
    """Return what became of an id, in words.

    Args:
        spec: of the model.
        home: partition of the id, if it is the message key.
        accounts: of `home`, or of all partitions.
    """
    left_out = [one for one in accounts if one.partition == home and one.state == "sampled_out"]
    told = [one for one in accounts if one.records or len(accounts) == 1 or one in left_out]
    said = [sentence for one in told for sentence in _sentences(spec, one)]
    predicted = sorted({one.partition for each in accounts for one in each.records if one.kind == "prediction"})
    labelled = sorted({one.partition for each in accounts for one in each.records if one.kind == "label"})
    if predicted and labelled and not set(predicted) & set(labelled):
        said.append(
            f"The prediction is in partition {_list(predicted)} and the label in partition {_list(labelled)}: they never meet. "
            f"Send both with the id as the key of the message, which gives partition {home}."
        )
    elif len(accounts) > 1 and not predicted and not labelled and not left_out:
        said.append("No partition has the id, neither in the log of the join nor in the events that are kept.")
    keys = sorted({one.key for each in accounts for one in each.records if one.key is not None})
    if keys:
        said.append(f"The key of a message is {_list([repr(key) if key else 'missing' for key in keys])} and should be the id.")
    return said


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _sentences(spec: ModelSpec, found: IdAccount) -> Iterator[str]:
    within = spec.outcomes.label_within_seconds
    prediction = next((one for one in reversed(found.records) if one.kind == "prediction"), None)
    labels = [one for one in found.records if one.kind == "label"]
    yield _fate(found, within, prediction, labels)
    if prediction is not None:
        for late in labels:
            if late.at - prediction.at > within:
                yield (
                    f"The label at offset {late.offset} came too late: {format_duration(round(late.at - prediction.at))} after "
                    f"the prediction, and label_within is {format_duration(within)}."
                )
    newer = [one.offset for one in found.records if one.offset >= found.reached]
    if newer:
        reached = f"the log of the join, which reaches offset {found.reached}"
        yield f"What stands at offset {_list(newer)} is newer than {reached}: ask again."


def _fate(found: IdAccount, within: float, prediction: IdRecord | None, labels: list[IdRecord]) -> str:
    """Return the sentence of a state."""
    where, longest = f"partition {found.partition}", format_duration(within)
    if found.state in ("joined", "corrected") and prediction is not None and labels:
        source = max(prediction.offset, labels[-1].offset)
        return f"{found.state.capitalize()} in {where} at offset {source}: the truth is {json.dumps(labels[-1].value)}."
    if found.state == "waiting" and prediction is not None:
        until = rfc3339(prediction.at + within)
        return f"The prediction waits in {where} for its label, which counts up to {until} of event time."
    if found.state == "unknown" and found.records:
        return f"The log of the join has nothing of the id in {where}, the events have."
    return {
        "none": f"A null label says that there will be no label: there is no outcome in {where}.",
        "label_waiting": f"The label waits in {where} for its prediction; when label_within ({longest}) is over it is foreign.",
        "expired": f"Expired in {where}: label_within ({longest}) is over, and the join has forgotten the id.",
        "sampled_out": f"Sampled out in {where} at level {found.level}: 1 in {1 << found.level} ids is joined, and this is not.",
    }.get(
        found.state,
        f"Never seen in {where}, neither in the log of the join nor in the events that are kept; look with --anywhere.",
    )
