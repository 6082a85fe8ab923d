"""Sizes of memory as people write them: "512MB". The units are powers of 1,024, as memory has them.

>>> size("512MB"), size("1.5 GB"), size("64KiB")
(536870912, 1610612736, 65536)
>>> format_size(536870912), format_size(1000)
('512MB', '1000B')
"""

from __future__ import annotations

import re

_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?(B|[KMGT](?:i?B)?)", re.IGNORECASE)


def size(text: str) -> int:
    """Return the whole bytes that a text such as "512MB" stands for.

    Raises:
        ValueError: the text is not a number with one of B, KB, MB, GB, TB.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or not found[1].isascii():
        raise ValueError(f"not a size: {text!r}")
    unit = found[2].upper().replace("I", "")
    return round(float(found[1]) * _UNITS[unit if unit.endswith("B") else f"{unit}B"])


def format_size(size_bytes: int) -> str:
    """Return the shortest text that `size` reads back as the same bytes.

    >>> format_size(1 << 40), format_size(1536 << 10)
    ('1TB', '1536KB')
    """
    for unit, factor in reversed(_UNITS.items()):
        if size_bytes >= factor and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"
