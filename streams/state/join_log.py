"""The log of the join: the topic `PREFIX.join`, from which a worker loads what waits in a partition of events.

Rules:
1. A long log is read twice: first its keys, then its values. Chunks are taken in the order of their offsets, whatever order
   compaction left them in; a value that comes before its turn waits as it is.
2. A flush counts only if all its chunks are there, and so does every flush before it: the writer went on only after all were
   acknowledged. What a flush without all its chunks has is read from the events again.
3. The chunks of a model follow each other without a hole. A hole before what may still be joined is a loss, and
   so is less than the last chunk says that there is. Then everything from the hole on is read from the events again, as
   far as they are kept; what they no longer hold is lost, and the log says so.
4. A chunk whose rows have all expired is deleted, by a record without a value under its key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from detectors.errors import EventError
from detectors.pairing.partition import PartitionPairs
from streams.kafka import Log, Record
from streams.records.join_chunks import BEGIN, Begin, Chunk, ChunkPlace, decode, decode_begin
from streams.settings import KafkaSettings
from streams.topics import JOIN, topic_name

_LOG = logging.getLogger("driftline.worker")

#: Bytes of the log that are fetched ahead.
_QUEUE_BYTES = 16 << 20
#: How often a log that changes while it is read is read again.
_READINGS = 5


@dataclass(frozen=True, slots=True)
class Keys:
    """What the log of a partition has, by its keys.

    Args:
        begin: its beginning, None without one.
        places: of its chunks, in the order of their offsets.
    """

    begin: Begin | None
    places: tuple[ChunkPlace, ...]

    @property
    def end(self) -> int:
        """Return the offset of events up to which the log has everything; 0 when it has nothing."""
        ends = [end for (_, end), missing in self._flushes().items() if not missing]
        return max(ends, default=0 if self.begin is None else self.begin.start)

    def _flushes(self) -> dict[tuple[int, int], int]:
        """Return first and last offset of each flush -> how many of its chunks are missing."""
        missing: dict[tuple[int, int], int] = {}
        for place in self.places:
            flush = (place.flush_start, place.flush_end)
            missing[flush] = missing.get(flush, place.parts) - 1
        return missing

    def up_to(self, end: int) -> tuple[ChunkPlace, ...]:
        """Return the chunks of flushes that end at or before an offset."""
        return tuple(place for place in self.places if place.flush_end <= end)

    def holes(self, end: int) -> list[int]:
        """Return where stretches of events begin that no flush covers, or one without all its chunks, up to an offset."""
        found: list[int] = []
        reached = 0 if self.begin is None else self.begin.start
        for (flush_start, flush_end), missing in sorted(self._flushes().items()):
            if flush_start > reached:
                found.append(reached)
            if missing:
                found.append(flush_start)
            reached = max(reached, flush_end)
        return [start for start in found if start < end]


def records_of(kafka: KafkaSettings, partition: int) -> Iterator[Record]:
    """Yield all records of the log of a partition, oldest first.

    Raises:
        UnavailableError: the broker cannot be reached.
    """
    topic = topic_name(kafka.prefix, JOIN)
    log = Log(kafka, "join", queue_bytes=_QUEUE_BYTES)
    try:
        first, end = log.ends_of(topic, partition)
        if first < end:
            yield from log.read(topic, {partition: first})
    finally:
        log.close()


class JoinLog:
    """The log of one partition of events."""

    def __init__(self, records: Callable[[], Iterable[Record]]) -> None:
        """Take what gives all records of the log, oldest first; it is called for each reading."""
        self.records = records
        #: All records, if they are few: then the log is read once.
        self._kept: list[Record] | None = None
        #: Keys of chunks that cannot be read, or are not what their keys say.
        self.unreadable: set[bytes] = set()

    def keys(self) -> Keys:
        """Return what the log has.

        Raises:
            UnavailableError: the broker cannot be reached.
        """
        begin: Begin | None = None
        places: dict[bytes, ChunkPlace] = {}
        kept: list[Record] = []
        size = 0
        for record in self.records():
            key = record.key or b""
            size += len(record.value or b"")
            if size <= _QUEUE_BYTES:
                kept.append(record)
            try:
                if key == BEGIN:
                    begin = decode_begin(record.value or b"")
                elif record.value is None:
                    places.pop(key, None)
                else:
                    places[key] = ChunkPlace.of(key, record.headers)
            except EventError as error:
                self._warn(record, error)
        self._kept = kept if size <= _QUEUE_BYTES else None
        return Keys(begin, tuple(sorted(places.values(), key=_order)))

    def chunks(self, places: Sequence[ChunkPlace]) -> Iterator[Chunk]:
        """Yield the chunks at some places, in their order; one that cannot be read is left out.

        Raises:
            UnavailableError: the broker cannot be reached.
        """
        wanted = {place.key for place in places}
        early: dict[bytes, Record] = {}
        turn = 0
        for record in self.records() if self._kept is None else self._kept:
            if record.key in wanted and record.value is not None:
                wanted.discard(record.key)
                early[record.key] = record
            while turn < len(places) and (due := early.pop(places[turn].key, None)) is not None:
                turn += 1
                yield from self._decoded(due)
        for place in places[turn:]:
            due = early.pop(place.key, None)
            if due is not None:
                yield from self._decoded(due)

    def _decoded(self, record: Record) -> Iterator[Chunk]:
        try:
            chunk = decode(record.value or b"")
            _check_place(chunk, record)
        except EventError as error:
            self.unreadable.add(record.key or b"")
            self._warn(record, error)
        else:
            yield chunk

    def _warn(self, record: Record, error: EventError) -> None:
        _LOG.error("%s/%d: the record at offset %d is left out: %s", record.topic, record.partition, record.offset, error)


def _check_place(chunk: Chunk, record: Record) -> None:
    """Return if a chunk is the one that its record names.

    Raises:
        EventError: it is another one.
    """
    if chunk.place != ChunkPlace.of(record.key or b"", record.headers):
        raise EventError("not_a_chunk", "", f"expected the chunk that its key names, got {chunk.place.key!r}")


def _order(place: ChunkPlace) -> tuple[int, int, str]:
    return place.start, place.end, place.model


@dataclass(frozen=True, slots=True)
class Loaded:
    """What waits in a partition, as its log has it.

    Args:
        partition: the state.
        seed: of the hash of ids; None if no chunk says one.
        begin: the beginning of the log, None without one.
        end: offset of events up to which the log has everything.
        places: of the chunks that were taken.
        lost: first offset of events that the log should have and has not; None if nothing is lost.
        unread: chunks that the log had when its keys were read, and not when its values were, or that cannot be read.
    """

    partition: PartitionPairs
    seed: int | None
    begin: Begin | None
    end: int
    places: tuple[ChunkPlace, ...]
    lost: int | None = None
    unread: int = 0


def load(log: JoinLog, within: Mapping[str, float], *, most_bytes: int, first: int, last: int = 1 << 62) -> Loaded:
    """Return the state of a partition.

    Args:
        log: of the partition.
        within: model -> longest time from a prediction to its label, seconds.
        most_bytes: bound of the partition.
        first: first offset of events that are kept.
        last: offset after the last event.

    Raises:
        UnavailableError: the broker cannot be reached.
    """
    keys = _believed(log, last)
    loaded = _taken(log, keys, keys.end, within=within, most_bytes=most_bytes)
    for _ in range(_READINGS):
        # Another owner may have gone on meanwhile: what it deleted was not read any more, though it had not expired yet at `end`.
        # Or chunks cannot be read: then their flushes lack them.
        if not loaded.unread or (newer := _believed(log, last)) == keys:
            break
        keys = newer
        loaded = _taken(log, keys, keys.end, within=within, most_bytes=most_bytes)
    if log.unreadable and loaded.lost is None and loaded.end >= first:
        loaded = replace(loaded, lost=loaded.end)  # what was stored behind it may be committed
    again = [start for start in keys.holes(keys.end) if start >= first]
    if loaded.lost is None or not again:
        return loaded
    # From the hole on the events have everything.
    return _taken(log, keys, min(again), within=within, most_bytes=most_bytes, lost=min(again))


def _believed(log: JoinLog, last: int) -> Keys:
    """Return what the log has, without chunks that cannot be read, or that reach beyond the end of the events."""
    keys = log.keys()
    beyond = [place for place in keys.places if place.flush_end > last]
    if beyond:
        _LOG.error("%d chunks of the join reach beyond offset %d, where the events end, and are left out", len(beyond), last)
    log.unreadable.update(place.key for place in beyond)
    return Keys(keys.begin, tuple(place for place in keys.places if place.key not in log.unreadable))


def _taken(
    log: JoinLog, keys: Keys, end: int, *, within: Mapping[str, float], most_bytes: int, lost: int | None = None
) -> Loaded:
    partition = PartitionPairs(within, most_bytes=most_bytes)
    places = keys.up_to(end)
    seed: int | None = None
    #: Model -> (offset of events, bytes that waited there), of its last chunk.
    totals: dict[str, tuple[int, int]] = {}
    unread = len(places)
    for chunk in log.chunks(places):
        unread -= 1
        stretch = chunk.stretch
        seed = chunk.seed if seed is None else seed
        if chunk.seed != seed:
            _LOG.error("a chunk of the join at %d has another seed than those before, and is left out", stretch.start)
            continue
        partition.load(stretch)
        if stretch.model in within and stretch.within == within[stretch.model]:
            # The chunk that reaches furthest is not always the last one: an owner that was late wrote others.
            totals[stretch.model] = max(totals.get(stretch.model, (-1, 0)), (chunk.flush[1], stretch.total))
    partition.begin(end)
    if lost is None:
        held = {model: partition.models[model].bounds for model in totals}
        # What a silent model keeps longer than its window may be beyond the retention of the log.
        missing = [model for model, (_, total) in totals.items() if held[model].total < total and not held[model].is_silent]
        if missing:
            lost = min(keys.holes(end), default=0)
    return Loaded(partition, seed, keys.begin, end, places, lost, unread)
