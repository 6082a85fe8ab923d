"""Keys: the id of a prediction as 96 bits of a seeded hash, so that ids of any length take the same room.

xxh3 of 128 bits (https://github.com/Cyan4973/xxHash) with a seed of the deployment: who does not know the seed cannot
compute ids that collide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray


def keys_of(ids: Sequence[str], seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return (keys, checks) of ids: 64 bits that are never 0, and 32 more.

    >>> keys, checks = keys_of(["a", "b"], 7)
    >>> keys.shape, checks.dtype
    ((2,), dtype('uint32'))
    """
    digest = xxhash.xxh3_128_digest
    both = np.frombuffer(b"".join([digest(one.encode(), seed) for one in ids]), ">u8").astype(np.uint64)
    keys = both[1::2].copy()
    keys[keys == 0] = 1
    return keys, (both[::2] >> np.uint64(32)).astype(np.uint32)
