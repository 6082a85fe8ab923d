"""Outcomes: a prediction joined with its label, as JSON on the outcomes topic."""

from __future__ import annotations

from typing import cast

import msgspec

from detectors.errors import EventError
from detectors.windows.row import ERROR, Row, Value


class PredictionValue(msgspec.Struct, frozen=True):
    """A prediction: its label, its score, or both."""

    label: Value = None
    score: float | None = None


class SourceOffset(msgspec.Struct, frozen=True):
    """Partition and offset in the events topic of the later of prediction and label: the identity of the outcome."""

    partition: int
    offset: int


class Outcome(msgspec.Struct, frozen=True, tag_field="type", tag="outcome"):
    """One joined pair; times are epoch seconds of event time.

    Args:
        ts: event time of the label.
        predicted_at: event time of the prediction.
        label: the true label.
        source: the same in a repeat after a crash.
    """

    id: str
    model: str
    segment: str
    ts: float
    predicted_at: float
    model_version: str | None
    features: dict[str, Value]
    prediction: PredictionValue
    label: Value
    source: SourceOffset
    v: int = 1


class OutcomeTick(msgspec.Struct, frozen=True, tag_field="type", tag="tick"):
    """A tick: it moves the event time of a model in a partition of outcomes on, without an outcome."""

    model: str
    ts: float
    v: int = 1


#: Types of numbers; a bool is none.
_NUMBERS = (int, float)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Outcome | OutcomeTick)


def encode(outcome: Outcome) -> bytes:
    """Return the bytes of an outcome."""
    return _encoder.encode(outcome)


def parse(value: bytes | None) -> Outcome | OutcomeTick:
    """Return the outcome or tick in a message.

    Raises:
        EventError: it is neither.
    """
    try:
        return cast("Outcome | OutcomeTick", _decoder.decode(value or b""))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError("not_an_outcome", "", str(error)) from None


def error_of(outcome: Outcome) -> float | None:
    """Return the error of an outcome, by `error_between`.

    >>> def pair(prediction, truth):
    ...     return Outcome("a", "m", "", 1.0, 0.0, None, {}, prediction, truth, SourceOffset(0, 1))
    >>> error_of(pair(PredictionValue(True), False)), error_of(pair(PredictionValue(12.5), 10))
    (1.0, 2.5)
    """
    return error_between(outcome.prediction.label, outcome.prediction.score, outcome.label)


def error_between(predicted: Value, score: float | None, truth: Value) -> float | None:
    """Return the absolute error for a number, 1 or 0 for a wrong or right class, None if neither is known.

    A value with a fraction in its JSON (`12.0`) is a number. Integers, booleans and strings are classes, but an
    integer beside such a number is a number too. A score without a label is a number.
    """
    if truth is None:
        return None
    if predicted is None:
        return None if score is None or isinstance(truth, str) else abs(score - truth)
    if type(predicted) in _NUMBERS and type(truth) in _NUMBERS and float in (type(predicted), type(truth)):
        return float(abs(predicted - truth))  # type: ignore[operator] # both are numbers
    return float(predicted != truth)


def row_of(offset: int, record: Outcome | OutcomeTick) -> Row | None:
    """Return the row of an outcome in a window of outcomes, None if it has no error."""
    if isinstance(record, OutcomeTick):
        return Row(offset, record.model, record.ts, "", None)
    error = error_of(record)
    return None if error is None else Row(offset, record.model, record.ts, record.segment, {ERROR: error})
