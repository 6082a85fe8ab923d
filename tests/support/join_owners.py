"""Owners of one partition of the join, as far as exactness rests on them: they take, send, are killed, and begin anew.

The log of the join is a list in memory. Loading it is the product's (streams/state/join_log.py), and so are its records
(streams/records/join_chunks.py) and the order of a flush is that of the join stage. What they make is held against
tests/support/naive_join.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from detectors.pairing import pairing
from detectors.pairing.columns import LABEL, PREDICTION, Halves, What
from detectors.pairing.keys import keys_of
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.partition import PartitionPairs
from detectors.pairing.taken import TakenPairs
from detectors.pairing.values import UNKNOWN
from streams.kafka import Record
from streams.records.join_chunks import BEGIN, Begin, Chunk, ChunkPlace, decode, encode, encode_begin
from streams.state import join_log
from streams.state.join_log import JoinLog, Loaded, load
from tests.support.naive_join import NaiveJoin, SentRecord

SEED = 7
#: More than any log has.
_ALL = 1 << 62
_TRUTHS: tuple[Any, ...] = (True, 1, 1.0, "1", "x", 2.5, None, -5, 1 << 60, 0, False)

#: (model, source, id, offset of the prediction, its time, its answer, time of the label, truth, was, share, extra).
Row = tuple[Any, ...]


@dataclass(frozen=True)
class JoinCase:
    """A log, and how it is taken.

    Args:
        within: model -> longest time from a prediction to its label.
        most_bytes: bound of the partition.
        every: looks are taken at multiples of so many offsets.
        short: stretches of fewer records are taken one by one.
        piece: bytes of a chunk at most.
    """

    log: list[SentRecord]
    within: dict[str, float]
    most_bytes: int
    every: int
    short: int
    piece: int

    @property
    def names(self) -> dict[int, str]:
        """Return offset -> id."""
        return {record.offset: record.id for record in self.log}

    def wanted(self) -> list[Row]:
        """Return the outcomes that the rules demand."""
        naive = NaiveJoin(self.within, most_bytes=self.most_bytes, look_every=self.every, seed=SEED)
        naive.take(self.log)
        return naive.outcomes

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Let the product look as often as this case says."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(pairing, "_SHORT", self.short))
            stack.enter_context(patch.object(join_log, "PartitionPairs", partial(PartitionPairs, look_every=self.every)))
            yield


def case(seed: int, *, longest: int = 400) -> JoinCase:
    """Return a log with everything that the rules speak of, drawn at random."""
    draw = random.Random(seed)
    ids = [f"i{number}" for number in range(draw.choice((2, 5, 30, 300)))]
    now, offset = 1000.0, draw.choice((0, 0, 70_000))
    log: list[SentRecord] = []
    for _ in range(draw.randint(5, draw.choice((120, longest)))):
        now += draw.random()
        offset += draw.choice((1, 1, 1, 1, 1, 7))
        kind = draw.choice(("prediction", "prediction", "label"))
        log.append(
            SentRecord(
                offset,
                now + draw.choice((0, 0, 0, 0, 50, -50)),
                draw.choice(("a", "a", "b")),
                kind,
                draw.choice(ids),
                round(now - draw.random() * 3, 3),
                draw.choice(_TRUTHS),
                draw.choice((None, None, b"xx")) if kind == "prediction" else None,
            )
        )
    return JoinCase(
        log,
        {model: draw.choice((5.0, 40.0, 1e9)) for model in ("a", "b")},
        most_bytes=draw.choice((10**9, 80 * 10, 80 * 40)),
        every=draw.choice((4, 16, 1 << 14)),
        short=draw.choice((0, 12, 10**9)),
        piece=draw.choice((200, 10**9)),
    )


# -- the log of the join ---------------------------------------------------------------------------

Key = Callable[[bytes], bytes]


def whole_key(key: bytes) -> bytes:
    """Return what compaction takes for the key of a record: all of it."""
    return key


def key_without_end(key: bytes) -> bytes:
    """Return what it would be if the key of a chunk were its model and its first offset alone."""
    return key if key == BEGIN else b"|".join(key.split(b"|")[:2])


@dataclass
class JoinTopic:
    """One partition of PREFIX.join, with compaction at any time."""

    draw: random.Random
    key: Key = whole_key
    compacts: bool = True
    #: What happens while somebody reads.
    meanwhile: Callable[[], None] | None = None
    written: list[tuple[bytes, bytes | None, tuple[tuple[str, bytes], ...]]] = field(default_factory=list)
    end: int = 0

    def append(self, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Write one record."""
        self.written.append((key, value, headers))

    def again(self) -> None:
        """Write a record that is there already, as an owner does that slept for long."""
        if self.written:
            self.written.append(self.draw.choice(self.written))

    def compact(self) -> None:
        """Drop records that a later one of the same key replaces, all or some, and deletions that have nothing to delete."""
        if not self.compacts:
            return
        some = self.draw.choice((1.0, 1.0, 0.5))
        seen: set[bytes] = set()
        left = []
        for record in reversed(self.written):
            key = self.key(record[0])
            if key in seen and self.draw.random() < some:
                continue
            seen.add(key)
            left.append(record)
        left.reverse()
        counts: dict[bytes, int] = {}
        for key, _, _ in left:
            counts[self.key(key)] = counts.get(self.key(key), 0) + 1
        self.written = [one for one in left if one[1] is not None or counts[self.key(one[0])] > 1 or self.draw.random() < 0.5]

    def records(self) -> list[Record]:
        """Return the records, oldest first, as a reader meets them."""
        if self.meanwhile is not None:
            self.meanwhile()
        if self.draw.random() < 0.3:
            self.compact()
        return [Record("t.join", 0, number, 0.0, key, value, of) for number, (key, value, of) in enumerate(self.written)]


class InLogOrder(JoinLog):
    """A log whose chunks are taken as they stand there: wrong once compaction has left a repeat at its later place."""

    def chunks(self, places: Sequence[ChunkPlace]) -> Iterator[Chunk]:
        """Yield chunks in the order of their records."""
        wanted = {place.key for place in places}
        for record in self.records():
            if record.key in wanted and record.value is not None:
                yield decode(record.value)


# -- one owner -------------------------------------------------------------------------------------


def halves_of(pairs: ModelPairs, records: Sequence[SentRecord]) -> Halves:
    """Return records of one model as columns."""
    made = [record for record in records if record.kind == "prediction"]
    told = [record for record in records if record.kind == "label"]
    rows, labels = np.zeros(len(made), PREDICTION), np.zeros(len(told), LABEL)
    for into, found in ((rows, made), (labels, told)):
        if found:
            into["key"], into["check"] = keys_of([one.id for one in found], SEED)
            into["offset"], into["ts"] = [one.offset for one in found], [one.ts for one in found]
    rows["answer"] = pairs.boxes.boxed([one.value for one in made])
    rows["truth"], rows["score"] = UNKNOWN, np.nan
    rows["what"] = pairs.whats.codes([What(f"s{one.offset % 3}") for one in made])
    labels["truth"] = pairs.boxes.boxed([one.value for one in told])
    labels["what"] = pairs.clients.codes([None] * len(told))
    return Halves(rows, labels, {one.offset: one.extra for one in made if one.extra is not None})


def rows_of(model: str, pairs: ModelPairs, taken: TakenPairs, names: Mapping[int, str]) -> list[Row]:
    """Return the pairs of a stretch as plain rows."""
    shares = np.ones(len(taken.pairs)) if taken.share is None else taken.share
    value = pairs.boxes.value
    return [
        (
            model,
            int(pair["source"]),
            names[int(pair["source"])],
            int(pair["offset"]),
            float(pair["ts"]),
            value(int(pair["answer"])),
            float(pair["label_ts"]),
            value(int(pair["truth"])),
            ... if pair["was"] == UNKNOWN else value(int(pair["was"])),
            float(share),
            taken.extras.get(int(pair["source"])),
        )
        for pair, share in zip(taken.pairs, shares, strict=True)
    ]


def take(partition: PartitionPairs, records: Sequence[SentRecord], names: Mapping[int, str]) -> list[Row]:
    """Take a fetch, and return the outcomes."""
    found = {model: halves_of(pairs, [one for one in records if one.model == model]) for model, pairs in partition.models.items()}
    clock = {record.offset: record.clock for record in records}
    taken = partition.take({model: halves for model, halves in found.items() if len(halves)}, clock)
    rows = [row for model, of in taken for row in rows_of(model, partition.models[model], of, names)]
    partition.position = records[-1].offset + 1
    return rows


def loaded(topic: JoinTopic, case: JoinCase, kind: type[JoinLog] = JoinLog) -> Loaded:
    """Return what an owner begins with."""
    return load(kind(topic.records), case.within, most_bytes=case.most_bytes, first=0)


@dataclass
class World:
    """What is left of owners that were killed: topics, and the committed offset."""

    case: JoinCase
    draw: random.Random
    topic: JoinTopic
    chunks_first: bool = False
    kind: type[JoinLog] = JoinLog
    outcomes: list[Row] = field(default_factory=list)
    committed: int = 0
    kills: int = 0

    def owner(self) -> Iterator[None]:
        """Take the log to its end; each step is one at which this owner may be killed."""
        case, names = self.case, self.case.names
        committed = self.committed
        start = loaded(self.topic, case, self.kind)
        partition = start.partition
        lost = start.lost is not None and start.lost == start.end
        at = start.end if lost else max(start.end, committed)
        partition.begin(at)
        cut, places, outbox = start.end, set(start.places), list[Row]()
        if start.begin is None:
            self.topic.append(BEGIN, encode_begin(Begin(0, upgraded=True)))
        left = [record for record in case.log if record.offset >= at]
        while left:
            size = self.draw.choice((1, 3, 9, 40))
            fetch, left = left[:size], left[size:]
            outbox += take(partition, fetch, names)
            at = fetch[-1].offset + 1
            yield
            if left and self.draw.random() > 0.3:
                continue
            flush = (cut, at)
            pieces = [piece for stretch in partition.stored(*flush) for piece in stretch.split(case.piece)]
            chunks = [Chunk(piece, SEED, part, len(pieces), flush) for part, piece in enumerate(pieces)]
            steps = [self._send(outbox), self._write(chunks, partition, places)]
            for step in reversed(steps) if self.chunks_first else steps:
                yield from step
            cut, outbox = at, []
            self.committed = max(self.committed, at)
            yield

    def _send(self, outbox: Iterable[Row]) -> Iterator[None]:
        for row in outbox:
            self.outcomes.append(row)
            yield

    def _write(self, chunks: Iterable[Chunk], partition: PartitionPairs, places: set[ChunkPlace]) -> Iterator[None]:
        for chunk in chunks:
            self.topic.append(chunk.place.key, encode(chunk), chunk.place.headers)
            places.add(chunk.place)
            yield
        floors = {model: pairs.bounds.floor for model, pairs in partition.models.items()}
        gone = [place for place in places if place.flush_end <= floors[place.model]]
        for place in sorted(gone, key=lambda place: (place.end, place)):
            places.discard(place)
            self.topic.append(place.key, None)
            yield

    def run(self) -> None:
        """Let owners work, two at a time and killed anywhere, until one of them has taken everything."""
        owners: list[Iterator[None]] = []
        at_work: list[Iterator[None]] = []

        def meanwhile() -> None:
            for other in owners:
                for _ in range(self.draw.choice((0, 0, 1, 20)) if other not in at_work else 0):
                    at_work.append(other)
                    next(other, None)
                    at_work.remove(other)

        self.topic.meanwhile = meanwhile
        while True:
            if len(owners) < 2 and (not owners or self.draw.random() < 0.1):
                owners.append(self.owner())
            one = self.draw.choice(owners)
            if self.draw.random() < 0.03:
                owners.remove(one)
                self.kills += 1
                continue
            if self.draw.random() < 0.05:
                self.topic.compact()
            if self.draw.random() < 0.02:
                self.topic.again()
            at_work[:] = [one]
            try:
                next(one)
            except StopIteration:
                return


def differences(found: Sequence[Row], wanted: Sequence[Row]) -> list[str]:
    """Return how outcomes with repeats are not what they have to be: by model and source, types included."""
    told = {(row[0], row[1]): repr(row) for row in wanted}
    wrong = [f"got {row}" for row in found if told.get((row[0], row[1])) != repr(row)]
    newest: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for row in found:
        model, source = row[0], row[1]
        if source > newest.get(model, -1):
            newest[model] = source
            seen.add((model, source))
    return wrong + [f"missing {told[one]}" for one in sorted(told.keys() - seen)]


def played(seed: int, **faults: Any) -> tuple[list[str], World]:
    """Return what is wrong after owners took a log, and what they left; `faults` are bugs that are planted."""
    one = case(seed)
    draw = random.Random(f"{seed}/owners")
    topic = JoinTopic(draw, key=faults.pop("key", whole_key), compacts=faults.pop("compacts", True))
    world = World(one, draw, topic, **faults)
    with one.in_force():
        world.run()
    return differences(world.outcomes, one.wanted()), world
