"""What a fetch brought, record by record as the parser has it: aiokafka would make another object for each.

Rules:
1. Records of aborted transactions and control records are left out; offsets grow; gaps are the log's own.
2. A batch that fails its checksum ends what is handed out before it. The next fetch begins with it, and raises.
3. A fetch is handed out whole (`broker_max_poll_records=None`), so the position moves batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from aiokafka.consumer import fetcher  # type: ignore[import-untyped] # aiokafka carries no types
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords  # type: ignore[import-untyped] # as above
from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped] # as above

__all__ = ["install"]


class ParsedRecords(PartitionRecords):  # type: ignore[misc] # as above
    """The records of one partition of a fetch, with `offset`, `timestamp`, `key`, `value` and `headers`."""

    next_fetch_offset: int

    def __iter__(self) -> Iterator[Any]:
        """Iterate without a call for each record."""
        return iter(self._records_iterator)

    def _unpack_records(self) -> Iterator[Any]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[Any]]:
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
                # A batch is fetched whole, so it may begin before the offset that was asked for.
                yield list(batch) if batch.base_offset >= wanted else [record for record in batch if record.offset >= wanted]

    def _is_data(self, batch: Any) -> bool:
        """Tell whether the records of a batch are to be read, keeping track of aborted transactions."""
        if self._isolation_level == READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch:
                if self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in self._aborted_producers:
                return False
        return not batch.is_control_batch


def install() -> None:
    """Let the consumers of this process hand out parsed records; aiokafka has no setting for it."""
    fetcher.PartitionRecords = ParsedRecords
