"""A row: what one event contributes to a window, after decoding and before any arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = float | int | str | bool | None

#: Pseudo-features that the prediction itself contributes to a window.
PREDICTION_LABEL = "prediction.label"
PREDICTION_SCORE = "prediction.score"
PREDICTION = (PREDICTION_LABEL, PREDICTION_SCORE)
#: The pseudo-feature that stands for the number of rows.
VOLUME = "prediction.volume"
#: The one feature of a window of outcomes: 0 or 1 for labels, the absolute error for numbers.
ERROR = "prediction.error"


@dataclass(frozen=True, slots=True)
class Row:
    """One event of one source partition.

    Args:
        offset: in the source partition; grows from row to row.
        model: name of the model.
        ts: event time, epoch seconds.
        segment: "" when the model has none.
        values: feature -> value; None for a tick, which only moves event time.
    """

    offset: int
    model: str
    ts: float
    segment: str
    values: Mapping[str, Value] | None
