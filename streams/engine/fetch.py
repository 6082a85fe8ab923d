"""A fetch in columns. aiokafka's consumer would make an object of each record, which outlives the fetch.

Rules:
1. Records of aborted transactions and control records are left out. Offsets grow; gaps are those of the log.
2. When a batch fails its checksum, the batches before it are handed out. The next fetch begins with it, and raises.
3. A fetch is handed out whole (`broker_max_poll_records=None`), so the position moves batch by batch.
4. The parser's objects are freed before the next batch is parsed. By the end of the fetch they would have left the
   processor's cache, and freeing them would bring each one back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from aiokafka.consumer import fetcher  # type: ignore[import-untyped] # aiokafka carries no types
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords  # type: ignore[import-untyped] # as above
from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped] # as above

from streams.kafka.batch import RecordColumns

#: The timestamp that Kafka gives for a record of the first message format, which had none.
_NO_TIME = -1


class ParsedRecords(PartitionRecords):  # type: ignore[misc] # as above
    """The records of one partition of a fetch, as one `RecordColumns` for each batch of the producers."""

    next_fetch_offset: int

    def __iter__(self) -> Iterator[RecordColumns]:
        """Return the iterator itself: the library would add a call for each record."""
        return iter(self._records_iterator)

    def _unpack_records(self) -> Iterator[RecordColumns]:
        begun = False
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                if begun:
                    return
                raise CorruptRecordException(f"a batch of {self._tp} from offset {self.next_fetch_offset} fails its checksum")
            begun = True
            wanted, self.next_fetch_offset = self.next_fetch_offset, batch.next_offset
            if self._is_data(batch):
                records = list(batch)
                if records and records[0].offset < wanted:
                    # A batch is fetched whole, so it may begin before the offset that was asked for.
                    records = [record for record in records if record.offset >= wanted]
                if records:
                    offsets: Sequence[int] = range(records[0].offset, records[-1].offset + 1)
                    if len(offsets) != len(records):  # the log has gaps
                        offsets = [record.offset for record in records]
                    yield RecordColumns(
                        offsets,
                        np.array(
                            [_NO_TIME if record.timestamp is None else record.timestamp for record in records], dtype=np.int64
                        ),
                        [record.key for record in records],
                        [record.value for record in records],
                    )

    def _is_data(self, batch: Any) -> bool:
        """Return whether the records of a batch are to be read; remember aborted transactions."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch:
                if self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self._aborted_producers:
                return False
        return not batch.is_control_batch


def install() -> None:
    """Let the consumers of this process hand out `RecordColumns`; aiokafka has no setting for it."""
    fetcher.PartitionRecords = ParsedRecords
