"""Chunks of the join: what is written is read, and what lies is refused without harm."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import EventError
from detectors.pairing.partition import PartitionPairs
from streams.records.join_chunks import (
    MOST_BYTES,
    Begin,
    Chunk,
    ChunkPlace,
    chunks_of,
    decode,
    decode_begin,
    encode,
    encode_begin,
)
from tests.support.join_owners import SEED, case, take

pytestmark = pytest.mark.fast


def chunks(seed: int) -> list[Chunk]:
    """Return the chunks of a flush over a random log."""
    one = case(seed)
    partition = PartitionPairs(one.within, most_bytes=one.most_bytes, look_every=one.every)
    take(partition, one.log, one.names)
    flush = (0, one.log[-1].offset + 1)
    return chunks_of(partition.stored(*flush), SEED, flush)


def _plain(chunk: Chunk) -> Any:
    """Return everything in a chunk as plain values."""
    stretch = chunk.stretch
    halves = stretch.halves
    waits = None if halves.waits is None else halves.waits.tolist()
    rest = {name: getattr(stretch, name) for name in stretch.__dataclass_fields__ if name not in ("halves", "floors")}
    return (rest, halves.predictions.tobytes(), halves.labels.tobytes(), halves.extras, waits, chunk.place, chunk.seed)


@effort(max_examples=60)
@given(st.integers(0, 10_000))
def test_a_chunk_that_is_written_is_read(seed: int) -> None:
    """Every column, word and change of level comes back, and the place is what key and headers say."""
    for chunk in chunks(seed):
        assert _plain(decode(encode(chunk))) == _plain(chunk)
        assert ChunkPlace.of(chunk.place.key, chunk.place.headers) == chunk.place


@pytest.mark.parametrize("model", ["m", "a|b", "|", "1|2|3|4|5", "é"])
def test_a_place_is_read_from_its_key_whatever_the_model_is_called(model: str) -> None:
    """Names with the separator in them stay whole, and other keys are refused."""
    place = ChunkPlace(model, 1, 20, 0, 30, 1, 3)
    assert ChunkPlace.of(place.key, place.headers) == place
    for key, headers in (
        (b"m|1|2", place.headers),
        (place.key, ()),
        (b"\xff|1|2|3|4", place.headers),
        (b"m|a|2|3|4", place.headers),
    ):
        with pytest.raises(EventError, match="expected a key and headers of a chunk"):
            ChunkPlace.of(key, headers)


@pytest.mark.parametrize("seed", range(6))
def test_a_record_that_lies_is_refused_or_the_same(seed: int) -> None:
    """Cut anywhere, or with any bit altered, it is an error or the same chunk: no crash, and not much memory."""
    draw = random.Random(seed)
    chunk = chunks(seed)[0]
    value, wanted = encode(chunk), _plain(chunk)
    tracemalloc.start()
    refused = 0
    for number in range(400):
        altered = bytearray(value)
        if number % 4 == 0:
            altered = altered[: draw.randrange(len(altered))]
        else:
            altered[draw.randrange(len(altered))] ^= 1 << draw.randrange(8)
        try:
            chunk = decode(bytes(altered))
        except EventError:
            refused += 1
        else:
            assert _plain(chunk) == wanted
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 300
    assert peak < MOST_BYTES + (4 << 20)


def test_a_record_that_names_many_bytes_is_not_unpacked() -> None:
    """More than a chunk may have, or another number than there are, is refused."""
    value = encode(chunks(1)[0])
    for size in (MOST_BYTES + 1, (1 << 32) - 1, 0, int.from_bytes(value[:4], "little") + 1):
        with pytest.raises(EventError, match="expected a chunk of the join"):
            decode(size.to_bytes(4, "little") + value[4:])


@pytest.mark.parametrize("name", ["words", "whats", "clients"])
def test_a_chunk_without_the_values_of_its_numbers_is_refused(name: str) -> None:
    """A reader would not know what these rows say."""
    chunk = next(one for one in chunks(5) if one.stretch.words and len(one.stretch.halves.labels))
    with pytest.raises(EventError, match="a number that stands for nothing"):
        decode(encode(replace(chunk, stretch=replace(chunk.stretch, **{name: {}}))))


def test_a_beginning_that_is_written_is_read() -> None:
    """Anything else is refused."""
    begin = Begin(17, upgraded=False)
    assert decode_begin(encode_begin(begin)) == begin
    for value in (b"", b"{}", b"\xff", b"[]"):
        with pytest.raises(EventError, match="expected the beginning of a log"):
            decode_begin(value)
