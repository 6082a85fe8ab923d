"""The partition that a key goes to: what our senders compute inside librdkafka, as Java does (`murmur2_random`)."""

from __future__ import annotations

from aiokafka.partitioner import murmur2  # type: ignore[import-untyped] # aiokafka carries no types


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key.

    >>> partition_of(b"a", 8), partition_of("ä12".encode(), 8)
    (4, 5)
    """
    return (int(murmur2(key)) & 0x7FFFFFFF) % partitions
