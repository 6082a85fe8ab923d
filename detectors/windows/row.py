"""A row: the values that one event contributes to a window, after decoding and before any arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = float | int | str | bool | None

#: Pseudo-features: label and score of the prediction itself.
PREDICTION_LABEL = "prediction.label"
PREDICTION_SCORE = "prediction.score"
PREDICTION = (PREDICTION_LABEL, PREDICTION_SCORE)
#: Pseudo-feature: the number of rows.
VOLUME = "prediction.volume"
#: The only feature of a window of outcomes: 0 or 1 for classes, the absolute error for numbers.
ERROR = "prediction.error"


@dataclass(frozen=True, slots=True)
class Row:
    """One event of one source partition.

    Args:
        offset: in the source partition; ascending.
        model: name of the model.
        ts: event time, epoch seconds.
        segment: "" if the model has no segments.
        values: feature -> value; None for a tick, which only moves event time.
    """

    offset: int
    model: str
    ts: float
    segment: str
    values: Mapping[str, Value] | None
