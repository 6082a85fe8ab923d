"""Outcomes: predictions joined with their labels, as JSON on the outcomes topic.

Rules:
1. The outcomes of one fetch of events are one record of columns, `OutcomeColumns`; lists of equal length, in order of
   `source`. A list that would hold nothing but its default is left out. `[outcomes] format = "rows"` writes
   a record for each outcome instead. Both are version 2. Version 1, a record for each outcome with the features of its
   prediction, stays readable.
2. Readers pass over fields that they do not know.
3. The identity of an outcome is the partition and offset of the later of its two events, `source`. Sources grow within a
   partition, so an outcome that is not newer is a repeat after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import msgspec

from detectors.errors import EventError
from detectors.windows.row import Value

__all__ = [
    "Outcome",
    "OutcomeColumns",
    "OutcomeTick",
    "PredictionValue",
    "SourceOffset",
    "encode",
    "error_between",
    "error_of",
    "outcomes_of",
    "parse",
]

#: Groups of a prediction: name of a feature or tag -> its value.
Groups = dict[str, Value]
#: Class -> probability.
Probabilities = dict[str, float]


class PredictionValue(msgspec.Struct, frozen=True):
    """A prediction: its label, its score, or both."""

    label: Value = None
    score: float | None = None


class SourceOffset(msgspec.Struct, frozen=True):
    """Partition and offset in the events topic of the later of prediction and label: the identity of the outcome."""

    partition: int
    offset: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="outcome"):
    """One joined pair; times are epoch seconds of event time.

    Args:
        ts: event time of the label.
        predicted_at: event time of the prediction.
        label: the true label; None takes an earlier label back.
        source: the same in a repeat after a crash.
        at: offset of the prediction in the partition of `source`; None in version 1.
        corrects: whether an earlier label of the prediction is replaced; `was` is that label.
        share: part of the predictions that were kept for the join at that time; one outcome stands for `1 / share`.
        client: who sent the prediction, and `label_client` who sent the label; None where it is not known.
        entity: whom or what the prediction is about.
        probabilities: class -> probability, as predicted.
        groups: the features and tags that the model declares as groups.
        features: those of the prediction, in version 1 only.
    """

    id: str
    model: str
    segment: str = ""
    ts: float
    predicted_at: float
    model_version: str | None = None
    prediction: PredictionValue
    label: Value
    source: SourceOffset
    at: int | None = None
    corrects: bool = False
    was: Value = None
    share: float = 1.0
    client: str | None = None
    label_client: str | None = None
    entity: str | None = None
    probabilities: Probabilities | None = None
    groups: Groups | None = None
    features: dict[str, Value] | msgspec.UnsetType = msgspec.UNSET
    v: int = 2


class OutcomeColumns(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="outcomes"):
    """The outcomes of one model in one fetch of events, as lists of equal length, in order of `source`.

    `label` and `score` are those of the prediction, `truth` is the true label; `source` and `at` are offsets in
    `partition` of the events topic. Everything else is as in `Outcome`. None stands for a list of defaults.
    """

    model: str
    partition: int
    id: list[str]
    ts: list[float]
    predicted_at: list[float]
    label: list[Value] | None = None
    score: list[float | None] | None = None
    truth: list[Value]
    at: list[int]
    source: list[int]
    segment: list[str] | None = None
    model_version: list[str | None] | None = None
    corrects: list[bool] | None = None
    was: list[Value] | None = None
    share: list[float] | None = None
    client: list[str | None] | None = None
    label_client: list[str | None] | None = None
    entity: list[str | None] | None = None
    probabilities: list[Probabilities | None] | None = None
    groups: list[Groups | None] | None = None
    v: int

    def __len__(self) -> int:
        """Return the number of outcomes."""
        return len(self.source)

    def cut(self, low: int, high: int) -> OutcomeColumns:
        """Return the outcomes `low` to `high` (not included)."""
        columns = {name: column[low:high] for name in ("id", *_COLUMNS) if (column := getattr(self, name)) is not None}
        return msgspec.structs.replace(self, **columns)

    def rows(self) -> Iterator[Outcome]:
        """Yield the outcomes one by one."""
        n = len(self)
        optional = {name: column for name in _OPTIONAL if (column := getattr(self, name)) is not None}
        labels, scores = self.label or [None] * n, self.score or [None] * n
        for k in range(n):
            yield Outcome(
                id=self.id[k],
                model=self.model,
                ts=self.ts[k],
                predicted_at=self.predicted_at[k],
                prediction=PredictionValue(labels[k], scores[k]),
                label=self.truth[k],
                source=SourceOffset(self.partition, self.source[k]),
                at=self.at[k],
                **{name: column[k] for name, column in optional.items()},
            )


#: Columns that may be left out, by the names that they have in `Outcome` too.
_OPTIONAL = (
    "segment",
    "model_version",
    "corrects",
    "was",
    "share",
    "client",
    "label_client",
    "entity",
    "probabilities",
    "groups",
)
#: Every column but the ids.
_COLUMNS = ("ts", "predicted_at", "label", "score", "truth", "at", "source", *_OPTIONAL)


class OutcomeTick(msgspec.Struct, frozen=True, tag_field="type", tag="tick"):
    """A tick: it moves the event time of a model in a partition of outcomes on, without an outcome.

    `source` is its offset in the same partition of the events topic; None in version 1.
    """

    model: str
    ts: float
    source: int | None = None
    v: int = 1


#: Offsets are smaller; whole numbers have 64 bits, as in events.
_MOST_OFFSET = 1 << 62
_LEAST, _GREATEST = -(1 << 63), (1 << 64) - 1
#: Types of numbers; a bool is none.
_NUMBERS = (int, float)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Outcome | OutcomeColumns | OutcomeTick)


def encode(record: Outcome | OutcomeColumns | OutcomeTick) -> bytes:
    """Return the bytes of a record."""
    return _encoder.encode(record)


def parse(value: bytes | None) -> Outcome | OutcomeColumns | OutcomeTick:
    """Return the outcome, the outcomes of a fetch, or the tick in a message.

    Raises:
        EventError: it is none of them.
    """
    try:
        found = cast("Outcome | OutcomeColumns | OutcomeTick", _decoder.decode(value or b""))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError("not_an_outcome", "", str(error)) from None
    if isinstance(found, OutcomeColumns):
        _check(found)
    return found


def _check(found: OutcomeColumns) -> None:
    """Return if all columns are as long as the ids, and sources grow.

    Raises:
        EventError: they are not.
    """
    n = len(found.id)
    for name in _COLUMNS:
        column = getattr(found, name)
        if column is not None and len(column) != n:
            raise EventError("not_an_outcome", name, f"expected {n} values, as there are ids, got {len(column)}")
    if n and not (found.source[0] >= 0 and found.source[-1] < _MOST_OFFSET and all(-1 <= at < _MOST_OFFSET for at in found.at)):
        raise EventError("not_an_outcome", "source", f"expected offsets from 0 to {_MOST_OFFSET}")
    if found.share is not None and not all(0.0 < share <= 1.0 for share in found.share):
        raise EventError("not_an_outcome", "share", "expected shares above 0 and up to 1")
    for name in ("label", "truth", "was"):
        column = getattr(found, name) or ()
        if int in set(map(type, column)) and any(type(one) is int and not _LEAST <= one <= _GREATEST for one in column):
            raise EventError("not_an_outcome", name, "expected whole numbers of 64 bits")
    if any(later <= earlier for earlier, later in zip(found.source, found.source[1:], strict=False)):
        raise EventError("not_an_outcome", "source", "expected offsets that grow")


def outcomes_of(value: bytes | None) -> list[Outcome]:
    """Return the outcomes in a message, one by one; none for a tick.

    Raises:
        EventError: it holds neither.
    """
    record = parse(value)
    if isinstance(record, OutcomeColumns):
        return list(record.rows())
    return [record] if isinstance(record, Outcome) else []


def error_of(outcome: Outcome) -> float | None:
    """Return the error of an outcome, by `error_between`.

    >>> def pair(prediction, truth):
    ...     return Outcome(
    ...         id="a", model="m", ts=1.0, predicted_at=0.0, prediction=prediction, label=truth, source=SourceOffset(0, 1)
    ...     )
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
