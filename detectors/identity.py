"""An id is a hash of its causes, so the same causes give the same id in every run.

>>> identity("alert", "fraud", "eu", 170)
'alert-0abe0a28845ff2ea'
>>> identity("alert", "fraud", "eu", 170) == identity("alert", "fraud", "eu", 171)
False
"""

from __future__ import annotations

import hashlib

Cause = str | int | float | None


def identity(kind: str, *causes: Cause) -> str:
    """Return `kind-` and 16 hex digits of BLAKE2b over the causes, order and type included."""
    text = "\x1f".join(f"{type(cause).__name__}:{cause!r}" for cause in causes)
    return f"{kind}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def seed(*causes: Cause) -> int:
    """Return a 32-bit seed that depends on the names alone, for a River object that draws."""
    return int(identity("seed", *causes)[-8:], 16)
