"""Chunks: what the join took in a stretch of a partition of events, as records of the topic `PREFIX.join`.

Rules:
1. What a chunk says is a function of the events alone; its bytes are not, as numbers of words are the process's own. Its key
   names model, first and last offset, and those of its flush: so a second owner of the partition, or a repeat, writes
   what is there already, and compaction keeps both ends of every stretch.
   A piece of one flush never replaces a piece of another, which would be incomplete without it.
2. Columns are written in byte planes (all first bytes, then all second bytes), offsets as differences, and everything is
   compressed with zstd: a prediction and its label take some 40 bytes.
3. A reader trusts nothing: a checksum comes before, it unpacks into a buffer of at most `MOST_BYTES`, and every column has
   to have the rows that are named, and values for its numbers.
4. A record that begins a partition (`BEGIN`) says that everything from there on is in the log: the log was not lost.

docs/topics.md has the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import cramjam
import msgspec
import numpy as np
from xxhash import xxh3_64_digest

from detectors.errors import EventError
from detectors.pairing.bounds import MOST_LEVEL, Level, Look
from detectors.pairing.columns import LABEL, PREDICTION, Columns, Halves, What, empty
from detectors.pairing.stretch import TakenStretch
from detectors.pairing.values import UNKNOWN, word_codes

FORMAT = 1
#: Bytes of a chunk's columns before they are compressed; a record stays below the limit of its topic in any case.
PIECE_BYTES = 600_000
#: Most bytes of a chunk when unpacked.
MOST_BYTES = 8 << 20
#: Key of the record that begins a partition.
BEGIN = b"~begin"
#: Header of a record: number of this chunk in its flush, number of chunks.
_PART = "part"
_LEVEL = 3
#: Bytes of the size of what is unpacked, and of its checksum (xxh3 of 64 bits).
_SIZE, _SUM = 4, 8


class ChunkPlace(NamedTuple):
    """Where a chunk belongs, which its record says outside of its value."""

    model: str
    start: int
    end: int
    flush_start: int
    flush_end: int
    part: int
    parts: int

    @property
    def key(self) -> bytes:
        """Return the key of the record."""
        return f"{self.model}|{self.start}|{self.end}|{self.flush_start}|{self.flush_end}".encode()

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the headers of the record."""
        return ((_PART, f"{self.part}|{self.parts}".encode()),)

    @classmethod
    def of(cls, key: bytes, headers: tuple[tuple[str, bytes], ...]) -> Self:
        """Return the place that a record names.

        Raises:
            EventError: it names none.
        """
        try:
            model, *offsets = key.decode().rsplit("|", 4)
            start, end, flush_start, flush_end = map(int, offsets)
            part, parts = map(int, dict(headers)[_PART].split(b"|"))
            return cls(model, start, end, flush_start, flush_end, part, parts)
        except (ValueError, KeyError, TypeError) as error:
            raise EventError("not_a_chunk", "", f"expected a key and headers of a chunk, got {key[:80]!r} ({error!r})") from None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch with what makes it a part of one flush.

    Args:
        stretch: what one model took.
        seed: of the hash of ids.
        part: number of this chunk among the `parts` of the flush; only a flush with all its parts counts.
        flush: first and last offset of the flush.
    """

    stretch: TakenStretch
    seed: int
    part: int
    parts: int
    flush: tuple[int, int]

    @property
    def place(self) -> ChunkPlace:
        """Return its place in the log."""
        return ChunkPlace(self.stretch.model, self.stretch.start, self.stretch.end, *self.flush, self.part, self.parts)


class Begin(msgspec.Struct, frozen=True):
    """The record that begins a partition.

    Args:
        start: offset of events from which the log has everything.
        upgraded: whether what waited in Redis was taken over, and is there no more.
    """

    start: int
    upgraded: bool
    format: int = FORMAT


class _Rows(msgspec.Struct, array_like=True, frozen=True):
    """Columns of predictions or labels: their number, and the planes of each column."""

    n: int
    planes: bytes


class _ChunkWire(msgspec.Struct, array_like=True, frozen=True):
    format: int
    model: str
    start: int
    end: int
    flush: tuple[int, int]
    part: int
    parts: int
    seed: int
    seen: int
    newest: float
    level: int
    floor: int
    within: float
    total: int
    looks: list[tuple[int, float, float]]
    levels: list[tuple[int, int]]
    words: dict[int, str | int]
    whats: dict[int, tuple[str, str | None, str | None]]
    clients: dict[int, str | None]
    predictions: _Rows
    labels: _Rows
    waits: bytes
    extras: dict[int, bytes]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_ChunkWire)
_begin = msgspec.json.Decoder(Begin)


def chunks_of(stretches: list[TakenStretch], seed: int, flush: tuple[int, int]) -> list[Chunk]:
    """Return the stretches of one flush as chunks, none of them too large for a record."""
    pieces = [piece for stretch in stretches for piece in stretch.split(PIECE_BYTES)]
    return [Chunk(piece, seed, part, len(pieces), flush) for part, piece in enumerate(pieces)]


def encode(chunk: Chunk) -> bytes:
    """Return the bytes of a chunk."""
    stretch = chunk.stretch
    halves = stretch.halves
    wire = _ChunkWire(
        format=FORMAT,
        model=stretch.model,
        start=stretch.start,
        end=stretch.end,
        flush=chunk.flush,
        part=chunk.part,
        parts=chunk.parts,
        seed=chunk.seed,
        seen=stretch.seen,
        newest=stretch.newest,
        level=stretch.level,
        floor=stretch.floor,
        within=stretch.within,
        total=stretch.total,
        looks=[tuple(look) for look in stretch.looks],  # type: ignore[misc] # as long as a look
        levels=[tuple(level) for level in stretch.levels],  # type: ignore[misc] # as long as a level
        words=stretch.words,
        whats={code: tuple(what) for code, what in stretch.whats.items()},  # type: ignore[misc] # as long as a what
        clients=stretch.clients,
        predictions=_packed(halves.predictions, leave_out="truth"),
        labels=_packed(halves.labels),
        waits=b"" if halves.waits is None else np.packbits(halves.waits).tobytes(),
        extras=halves.extras,
    )
    plain = _encoder.encode(wire)
    return len(plain).to_bytes(_SIZE, "little") + xxh3_64_digest(plain) + bytes(cramjam.zstd.compress(plain, level=_LEVEL))


def decode(value: bytes) -> Chunk:
    """Return the chunk in a record.

    Raises:
        EventError: it is none.
    """
    try:
        return _chunk(_decoder.decode(_unpacked(value)))
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, cramjam.DecompressionError) as error:
        raise EventError("not_a_chunk", "", f"expected a chunk of the join, got {len(value)} bytes ({error})") from None


def decode_begin(value: bytes) -> Begin:
    """Return the beginning in a record.

    Raises:
        EventError: it is none.
    """
    try:
        return _begin.decode(value)
    except msgspec.DecodeError as error:
        raise EventError("not_a_chunk", "", f"expected the beginning of a log, got {value[:40]!r} ({error})") from None


def encode_begin(begin: Begin) -> bytes:
    """Return the bytes of a beginning."""
    return msgspec.json.encode(begin)


def _chunk(wire: _ChunkWire) -> Chunk:
    if wire.format != FORMAT:
        raise ValueError(f"format {wire.format}, this Driftline reads {FORMAT}")
    predictions, labels = _rows(wire.predictions, PREDICTION, leave_out="truth"), _rows(wire.labels, LABEL)
    predictions["truth"] = UNKNOWN
    waits = np.unpackbits(np.frombuffer(wire.waits, np.uint8), count=len(labels)).astype(bool)
    if len(waits) != len(labels):
        raise ValueError(f"{len(labels)} labels, and {len(waits)} flags")
    if not 0 <= wire.level <= MOST_LEVEL or any(not 0 <= level <= MOST_LEVEL for _, level in wire.levels):
        raise ValueError("a level out of range")
    if not 0 <= wire.start < wire.end or not wire.flush[0] <= wire.start or not wire.end <= wire.flush[1]:
        raise ValueError(f"offsets {wire.start} to {wire.end} of flush {wire.flush}")
    if not 0 <= wire.part < wire.parts:
        raise ValueError(f"part {wire.part} of {wire.parts}")
    _check_rows(wire, predictions, labels)
    stretch = TakenStretch(
        model=wire.model,
        start=wire.start,
        end=wire.end,
        seen=wire.seen,
        newest=wire.newest,
        level=wire.level,
        floor=wire.floor,
        within=wire.within,
        total=wire.total,
        looks=tuple(Look(*look) for look in wire.looks),
        levels=tuple(Level(*level) for level in wire.levels),
        halves=Halves(predictions, labels, wire.extras, waits),
        words=wire.words,
        whats={code: What(*what) for code, what in wire.whats.items()},
        clients=wire.clients,
    )
    return Chunk(stretch, wire.seed, wire.part, wire.parts, wire.flush)


def _check_rows(wire: _ChunkWire, predictions: Columns, labels: Columns) -> None:
    """Return if rows lie in their stretch, and their numbers stand for something.

    Raises:
        ValueError: they do not.
    """
    for rows in (predictions, labels):
        offsets = rows["offset"]
        if len(offsets) and not (offsets[0] >= wire.start and offsets[-1] < wire.end and bool((np.diff(offsets) > 0).all())):
            raise ValueError("offsets of rows that do not grow, or lie outside")
        if not bool(np.isfinite(rows["ts"]).all()):
            raise ValueError("a time that is none")
        if not bool(rows["key"].all()):
            raise ValueError("a key of 0")
    codes = word_codes(np.concatenate([predictions["answer"], labels["truth"]]))
    for numbers, values in ((codes, wire.words), (predictions["what"], wire.whats), (labels["what"], wire.clients)):
        if not set(np.unique(numbers).tolist()) <= values.keys():
            raise ValueError("a number that stands for nothing")


def _packed(rows: Columns, leave_out: str = "") -> _Rows:
    if not len(rows):
        return _Rows(0, b"")
    planes = []
    for name in rows.dtype.names or ():
        if name != leave_out:
            column = np.ascontiguousarray(rows[name])
            if name == "offset":
                column = np.diff(column, prepend=np.int64(0))
            planes.append(column.view(np.uint8).reshape(len(rows), -1).T.tobytes())
    return _Rows(len(rows), b"".join(planes))


def _rows(packed: _Rows, kind: np.dtype[Any], leave_out: str = "") -> Columns:
    n = packed.n
    names = [name for name in kind.names or () if name != leave_out]
    width = sum(kind[name].itemsize for name in names)
    if n < 0 or len(packed.planes) != n * width:
        raise ValueError(f"{len(packed.planes)} bytes for {n} rows of {width}")
    if n == 0:
        return empty(kind)
    rows = np.zeros(n, kind)
    planes = np.frombuffer(packed.planes, np.uint8)
    done = 0
    for name in names:
        size = kind[name].itemsize
        column = np.ascontiguousarray(planes[done : done + n * size].reshape(size, n).T).view(kind[name]).reshape(n)
        rows[name] = np.cumsum(column) if name == "offset" else column
        done += n * size
    return rows


def _unpacked(value: bytes) -> bytes:
    size = int.from_bytes(value[:_SIZE], "little")
    if len(value) <= _SIZE + _SUM or size > MOST_BYTES:
        raise ValueError(f"{size} bytes when unpacked, at most {MOST_BYTES} are read")
    plain = bytearray(size)
    if cramjam.zstd.decompress_into(value[_SIZE + _SUM :], plain) != size:
        raise ValueError("fewer bytes than named")
    if xxh3_64_digest(plain) != value[_SIZE : _SIZE + _SUM]:
        raise ValueError("its checksum is another one")
    return bytes(plain)
