"""The head of a reference set: what it was learned from, and by which program."""

from __future__ import annotations

import msgspec


class ReferenceHead(msgspec.Struct, frozen=True, kw_only=True):
    """All of a reference set but the references themselves.

    Args:
        version: hash of the rest of the set; empty while it is being made.
        model: name of the model.
        window_seconds: width of the windows of features.
        outcome_window_seconds: width of the windows of outcomes.
        timezone: of the seasons.
        holidays: calendar of the seasons.
        features: those that the configuration named; empty for all that appeared.
        categorical: features that the configuration named as categories although they look like numbers.
        driftline: version of Driftline that learned.
        river: version of River that it learned with.
    """

    version: str
    model: str
    window_seconds: float
    outcome_window_seconds: float
    timezone: str
    holidays: str
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    driftline: str
    river: str
