"""Events off the wire: bytes of any client -> `Event`s, or dead letters that say what is wrong.

A whole fetch is decoded in one call; only when that fails is it done record by record, and only for
the records that fail again is the place of the fault looked for. What is accepted, with its limits,
is described in docs/events.md and streams/schemas/event.v1.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec
import orjson

from detectors.errors import EventError
from detectors.row import Value

EventKind = Literal["prediction", "features", "label", "tick"]

#: Largest event taken, in bytes; what is larger goes to the dead letters unread.
MAX_EVENT_BYTES = 256 << 10
MAX_ID_LENGTH = 256
MAX_NAME_LENGTH = 128
#: How far an event's time may be ahead of the broker's clock: one bad clock must not close windows.
MAX_AHEAD_SECONDS = 3600.0
#: Numbers above this are taken for milliseconds since the epoch: the year 5138 in seconds.
_MILLISECONDS_FROM = 1e11

Scalar = int | float | str | bool | None


class _Wire(msgspec.Struct, gc=False):
    """An event as it may come; every rule that needs more than types is in `_event`."""

    model: str | None = None
    type: str | None = None
    id: str | int | None = None
    ts: str | int | float | None = None
    segment: str | None = None
    features: dict[str, Scalar] | None = None
    prediction: Scalar | dict[str, Any] = None
    label: Scalar | msgspec.UnsetType = msgspec.UNSET
    model_version: str | int | None = None
    specversion: str | None = None
    time: str | None = None
    data: msgspec.Raw | None = None


class Event(msgspec.Struct, gc=False):
    """One event; `ts` is epoch seconds of event time, `offset` its place in its partition.

    `label` is the predicted one for a prediction and the true one for a label.
    """

    kind: EventKind
    offset: int
    model: str
    ts: float
    id: str | None
    segment: str
    features: dict[str, Scalar]
    label: Scalar
    score: float | None
    model_version: str | None


class Source(Protocol):
    """What a record of any client library has that is needed here; `timestamp` in milliseconds."""

    @property
    def offset(self) -> int:
        """Place in the partition."""

    @property
    def timestamp(self) -> int:
        """The broker's or producer's clock, milliseconds since the epoch."""

    @property
    def value(self) -> bytes | None:
        """The bytes."""


class Limits(Protocol):
    """What is asked of one model's events (detectors.spec.ModelSpec has it)."""

    @property
    def max_features(self) -> int:
        """Most features of one event."""

    @property
    def categorical(self) -> tuple[str, ...]:
        """Numeric-looking features that are categories."""


class DeadLetter(msgspec.Struct, gc=False):
    """A record that could not be used, and why."""

    offset: int
    error: EventError


_one = msgspec.json.Decoder(_Wire)
_many = msgspec.json.Decoder(list[_Wire])


def decode(records: Sequence[Source], models: Mapping[str, Limits]) -> tuple[list[Event], list[DeadLetter]]:
    """Return the events of one fetch in order, and the dead letters.

    Args:
        records: of one partition, in offset order.
        models: the configured models by name; events of others are dead letters.
    """
    events: list[Event] = []
    dead: list[DeadLetter] = []
    for record, wire in zip(records, _wires(records), strict=True):
        try:
            events.append(_event(record, wire if wire is not None else _parse(record), models))
        except EventError as error:
            dead.append(DeadLetter(record.offset, error))
    return events, dead


def _wires(records: Sequence[Source]) -> Sequence[_Wire | None]:
    """Return the decoded records if all of them can be decoded in one call, else None for each."""
    values = [record.value or b"" for record in records]
    if not any(len(value) > MAX_EVENT_BYTES for value in values):
        try:
            wires = _many.decode(b"[" + b",".join(values) + b"]")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            # A record that holds `{},{}` would shift the others: then none is trusted.
            if len(wires) == len(records):
                return wires
    return [None] * len(records)


def _parse(record: Source) -> _Wire:
    value = record.value
    if not value:
        raise EventError("empty", "", "expected a JSON object, got an empty message")
    if len(value) > MAX_EVENT_BYTES:
        raise EventError("too_large", "", f"expected at most {MAX_EVENT_BYTES} bytes, got {len(value)}: send fewer features")
    try:
        return _one.decode(value)
    except msgspec.ValidationError as error:
        raise _fault(value, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not_json", "", f"expected a JSON object, got something else ({error})") from None


def _fault(value: bytes, said: str) -> EventError:
    """Return the error with the path of the offending feature, which the fast decoder does not name."""
    path = said.rpartition(" at `")[2].rstrip("`").removeprefix("$").removeprefix(".") if " at `" in said else ""
    try:
        features = orjson.loads(value).get("features")
    except (orjson.JSONDecodeError, AttributeError):
        features = None
    if path.startswith("features") and isinstance(features, dict):
        for name, feature in features.items():
            if isinstance(feature, (dict, list)):
                return EventError("nested", f"features.{name}", "expected a number, string, boolean or null: flatten it")
    return EventError("wrong_type", path, said.partition(" - at ")[0])


def _event(record: Source, wire: _Wire, models: Mapping[str, Limits]) -> Event:
    if wire.specversion is not None:
        wire = _unwrap(wire)
    kind = _kind(wire)
    if not wire.model:
        raise EventError("missing", "model", "expected the name of a model")
    limits = models.get(wire.model)
    if limits is None:
        raise EventError(
            "unknown_model", "model", f"no [models.{wire.model[:64]}] in the configuration: add it, or mend the name"
        )
    features = wire.features or {}
    _check_limits(wire, kind, features, limits)
    if limits.categorical:
        _as_categories(features, limits.categorical)
    label, score = _prediction(wire.prediction)
    if kind == "label":
        label = None if wire.label is msgspec.UNSET else wire.label
    version = None if wire.model_version is None else str(wire.model_version)
    identity = None if wire.id is None else str(wire.id)
    at = _time(wire.ts, record)
    return Event(kind, record.offset, wire.model, at, identity, wire.segment or "", features, label, score, version)


def _check_limits(wire: _Wire, kind: EventKind, features: Mapping[str, Scalar], limits: Limits) -> None:
    if wire.id is not None and not 0 < len(str(wire.id)) <= MAX_ID_LENGTH:
        raise EventError("wrong_id", "id", f"expected 1 to {MAX_ID_LENGTH} characters, got {len(str(wire.id))}")
    if kind == "label" and wire.id is None:
        raise EventError("missing", "id", "a label needs the id of its prediction")
    if kind == "features" and not features:
        raise EventError("missing", "features", "expected at least one feature")
    if len(features) > limits.max_features:
        raise EventError("too_many_features", "features", f"expected at most {limits.max_features}, got {len(features)}")
    if wire.segment is not None and len(wire.segment) > MAX_NAME_LENGTH:
        raise EventError("wrong_segment", "segment", f"expected at most {MAX_NAME_LENGTH} characters, got {len(wire.segment)}")
    for name in features:
        if len(name) > MAX_NAME_LENGTH:
            raise EventError("wrong_name", f"features.{name[:40]}...", f"a name has at most {MAX_NAME_LENGTH} characters")


def _unwrap(wire: _Wire) -> _Wire:
    """Return the event inside a CloudEvents envelope; `id` and `time` of the envelope stand in."""
    if wire.data is None:
        raise EventError("missing", "data", "a CloudEvent needs the event as its data")
    try:
        inner = _one.decode(wire.data)
    except msgspec.DecodeError as error:
        raise EventError("wrong_type", "data", str(error)) from None
    if inner.specversion is not None:
        raise EventError("nested", "data", "expected an event, got another envelope")
    inner.id = wire.id if inner.id is None else inner.id
    inner.ts = wire.time if inner.ts is None else inner.ts
    return inner


def _kind(wire: _Wire) -> EventKind:
    if wire.type is None:
        if wire.label is not msgspec.UNSET:
            return "label"
        return "prediction" if wire.prediction is not None else "features"
    if wire.type in ("prediction", "features", "label", "tick"):
        return wire.type  # type: ignore[return-value] # narrowed by the tuple
    raise EventError("unknown_type", "type", f'expected "prediction", "features" or "label", got "{wire.type[:40]}"')


def _as_categories(features: dict[str, Value], names: tuple[str, ...]) -> None:
    for name in names:
        value = features.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            features[name] = str(value)


def _prediction(prediction: Scalar | dict[str, Any]) -> tuple[Scalar, float | None]:
    """Return (label, score): a bare number that is no class is a score, of an object both are taken."""
    if isinstance(prediction, dict):
        label, score = prediction.get("label"), prediction.get("score", prediction.get("value"))
        if not isinstance(label, (str, int, float, bool, type(None))):
            raise EventError(
                "wrong_type", "prediction.label", f"expected a number, string or boolean, got {type(label).__name__}"
            )
        if isinstance(score, bool) or not isinstance(score, (int, float, type(None))):
            raise EventError("wrong_type", "prediction.score", f"expected a number, got {type(score).__name__}")
        return label, score
    if isinstance(prediction, float):
        return None, prediction
    return prediction, None


def _time(ts: str | float | None, record: Source) -> float:
    now = record.timestamp / 1000.0
    if ts is None:
        return now
    if isinstance(ts, str):
        try:
            when = datetime.fromisoformat(ts)
        except ValueError:
            raise EventError("wrong_time", "ts", f'expected RFC 3339 such as "2026-11-21T07:30:00Z", got "{ts[:40]}"') from None
        try:
            seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError):
            raise EventError("wrong_time", "ts", f'"{ts[:40]}" is out of range') from None
    else:
        seconds = ts / 1000.0 if abs(ts) >= _MILLISECONDS_FROM else float(ts)
    if not math.isfinite(seconds) or seconds < 0:
        raise EventError("wrong_time", "ts", f"expected a time from 1970 on, got {str(ts)[:40]}")
    if seconds > now + MAX_AHEAD_SECONDS:
        raise EventError(
            "future", "ts", f"{str(ts)[:40]} is more than {MAX_AHEAD_SECONDS:g} s ahead of the broker's clock: mend the sender's"
        )
    return seconds


def tick(model: str, ts: float) -> bytes:
    """Return a tick: event time of a model in a partition has come this far, though nothing was sent."""
    return orjson.dumps({"v": 1, "type": "tick", "model": model, "ts": ts})
