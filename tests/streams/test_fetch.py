"""Parsed records are those that aiokafka's own consumer would have handed out, checksums and aborted transactions included."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c_py
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.fetch import ParsedRecords

pytestmark = pytest.mark.fast

TP = TopicPartition("t", 0)
PRODUCERS = (7, 8)
#: Where a record batch says what it is, and where its checksum is (the part behind it is what the sum is over).
ATTRIBUTES_AT, CHECKSUM_AT, SUMMED_FROM = 21, 17, 21
CONTROL = 0x20


def batch(first: int, values: Sequence[bytes], *, producer: int = -1, transactional: bool = False, codec: int = 0) -> bytes:
    """Return a record batch as it stands in the log."""
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), producer, 0, 0, 1 << 20)
    for place, value in enumerate(values):
        builder.append(place, timestamp=1000 + place, key=b"k" if place % 2 else None, value=value, headers=[])
    return struct.pack(">q", first) + bytes(builder.build())[8:]


def ending(first: int, producer: int, *, aborted: bool) -> bytes:
    """Return the control batch that ends a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 20)
    builder.append(0, timestamp=1, key=struct.pack(">hh", 0, 0 if aborted else 1), value=b"", headers=[])
    raw = bytearray(builder.build())
    (attributes,) = struct.unpack_from(">h", raw, ATTRIBUTES_AT)
    struct.pack_into(">h", raw, ATTRIBUTES_AT, attributes | CONTROL)
    struct.pack_into(">I", raw, CHECKSUM_AT, calc_crc32c_py(bytes(raw[SUMMED_FROM:])))
    return struct.pack(">q", first) + bytes(raw)[8:]


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]], int]:
    """A stretch of a log, the aborted transactions in it as a broker tells of them, and its end."""
    log, aborted, open_since, offset = b"", [], dict.fromkeys(PRODUCERS, -1), draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 8))):
        producer = draw(st.sampled_from([-1, *PRODUCERS]))
        if producer != -1 and open_since[producer] >= 0 and draw(st.booleans()):
            abort = draw(st.booleans())
            if abort:
                aborted.append((producer, open_since[producer]))
            log, offset = log + ending(offset, producer, aborted=abort), offset + 1
            open_since[producer] = -1
            continue
        values = [b"%d" % (offset + place) for place in range(draw(st.integers(1, 4)))]
        log += batch(offset, values, producer=producer, transactional=producer != -1, codec=draw(st.sampled_from([0, 3])))
        if producer != -1 and open_since[producer] < 0:
            open_since[producer] = offset
        offset += len(values) + draw(st.integers(0, 2))
    return log, aborted, offset


def read(kind: type, log: bytes, aborted: list[tuple[int, int]], start: int, level: int) -> tuple[list[Any], int]:
    """Return offsets, times, keys and values of what is handed out, and where the next fetch begins."""
    records = kind(TP, MemoryRecords(log), aborted, start, None, None, True, level)
    if kind is PartitionRecords:
        return [(record.offset, record.timestamp, record.key, record.value) for record in records], records.next_fetch_offset
    stretches = list(records)
    assert all(stretch.offsets for stretch in stretches)
    columns = [(one.offsets, one.timestamps.tolist(), one.keys, one.values) for one in stretches]
    return [record for one in columns for record in zip(*one, strict=True)], records.next_fetch_offset


@given(logs(), st.integers(0, 12), st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]))
def test_the_records_are_those_of_the_library(log: tuple[bytes, list[tuple[int, int]], int], start: int, level: int) -> None:
    """The same offsets, times and values, the same next position, from wherever in the log the fetch was asked for."""
    raw, aborted, _end = log
    assert read(ParsedRecords, raw, aborted, start, level) == read(PartitionRecords, raw, aborted, start, level)


@pytest.mark.parametrize(("magic", "codec", "start"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 2)])
def test_records_of_old_message_formats_are_read(magic: int, codec: int, start: int) -> None:
    """Topics from before Kafka 0.11 hold records without batches, or in a compressed one: all are handed out."""
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 20)
    for place, value in enumerate((b"a", b"b", b"c")):
        builder.append(place, timestamp=1000 + place, key=None, value=value)
    raw = bytes(builder.build())
    (found, position), (wanted, position_wanted) = (
        read(kind, raw, [], start, READ_COMMITTED) for kind in (ParsedRecords, PartitionRecords)
    )
    assert [(offset, value) for offset, _, _, value in found] == [(offset, value) for offset, _, _, value in wanted]
    assert len(found) == 3 - start
    assert position == position_wanted


def test_a_broken_batch_ends_the_fetch_before_it_and_raises_at_its_own_offset() -> None:
    """What came before it is handed out and counted; the position stays at the batch, so nothing is passed over."""
    broken = bytearray(batch(2, [b"c"]))
    broken[-1] ^= 1
    found, position = read(ParsedRecords, batch(0, [b"a", b"b"]) + bytes(broken), [], 0, READ_COMMITTED)
    assert [offset for offset, *_ in found] == [0, 1]
    assert position == 2
    with pytest.raises(CorruptRecordException, match="offset 2"):
        read(ParsedRecords, bytes(broken), [], 2, READ_COMMITTED)
