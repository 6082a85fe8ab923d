"""A decision: how a retrain request ended, as the judge reads it in the windows topic."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["promoted", "rejected", "abandoned"]


class Decision(msgspec.Struct, frozen=True, tag="decision"):
    """The end of one retrain request.

    Args:
        id: of the swap event.
        request: id of the request it answers.
        outcome: only `promoted` changes what is served, and so what is normal.
        version: served from now on, None unless promoted.
        features: that drifted, as the request named them.
    """

    id: str
    model: str
    request: str
    outcome: Outcome
    version: int | None
    features: list[str]
    v: int = 1
