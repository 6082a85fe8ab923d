"""One event: bytes of any client -> an `Event`, or an error that says what is wrong.

Rules:
1. This file defines what an event means. streams/events/decoding.py reads most events faster, with the same result.
2. Every later step can store and send the result: integers have at most 64 bits (longer ones become
   doubles), strings are valid Unicode, times lie in the years 1970 to 9999.
3. The path of a fault is searched for only when a record has one.

docs/events.md and streams/schemas/event.v1.json describe which events are accepted, with all limits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol

import msgspec
import orjson

from detectors.errors import EventError
from detectors.windows.row import Value
from streams.events.values import (
    MAX_CLASSES,
    MAX_LABEL_LENGTH,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    answer_in,
    check_features,
    label_of,
    text_of,
    within_limits,
)
from streams.events.wire import MAX_NAME_LENGTH, MAX_NESTING, Wire, is_too_deep, read

__all__ = [
    "EVENT_KINDS",
    "MAX_AHEAD_SECONDS",
    "MAX_CLASSES",
    "MAX_EVENT_BYTES",
    "MAX_ID_LENGTH",
    "MAX_LABEL_LENGTH",
    "MAX_NAME_LENGTH",
    "MAX_TAGS",
    "MAX_TAG_LENGTH",
    "MILLISECONDS_FROM",
    "Event",
    "EventKind",
    "as_categories",
    "event_time",
    "outcome_tick",
    "parse",
    "tick",
]

EventKind = Literal["prediction", "features", "label", "tick", "outcome_tick"]
EVENT_KINDS: tuple[EventKind, ...] = ("prediction", "features", "label", "tick", "outcome_tick")

#: Largest event, in bytes; a larger one goes to the dead letters unread.
MAX_EVENT_BYTES = 256 << 10
#: Longest `id` and `entity`.
MAX_ID_LENGTH = 256
#: How far an event's time may be ahead of the broker's clock: one bad clock must not close windows.
MAX_AHEAD_SECONDS = 60.0
#: Numbers from this on mean milliseconds since the epoch; as seconds it is the year 5138.
MILLISECONDS_FROM = 1e11
#: Seconds since the epoch at the end of the year 9999, the last that RFC 3339 can write.
_LAST_SECOND = 253_402_300_799.0


class Event(msgspec.Struct, gc=False):
    """One event; `ts` is its event time, epoch seconds.

    Args:
        label: the predicted label of a prediction; the true label of a label, None if there will never be one.
        client: who sent the event.
        entity: whom or what the prediction is about.
        tags: what the sender says beside the features; never monitored.
        probabilities: class -> probability, as predicted.
    """

    kind: EventKind
    offset: int
    model: str
    ts: float
    id: str | None
    segment: str
    features: dict[str, Value]
    label: Value
    score: float | None
    model_version: str | None
    client: str | None = None
    entity: str | None = None
    tags: dict[str, Value] | None = None
    probabilities: dict[str, float] | None = None


class Limits(Protocol):
    """Limits on the events of one model; detectors.spec.ModelSpec has them."""

    @property
    def max_features(self) -> int:
        """Largest number of features in one event."""

    @property
    def categorical(self) -> tuple[str, ...]:
        """Features that are categories although they look like numbers."""


def parse(offset: int, timestamp: int, value: bytes | None, models: Mapping[str, Limits]) -> Event:
    """Return the event in a record.

    Args:
        offset: of the record in its partition.
        timestamp: the broker's clock, milliseconds since 1970.
        value: the bytes.
        models: the configured models by name; events of others are refused.

    Raises:
        EventError: the record has no event of ours; it says why.
    """
    return _event(offset, timestamp / 1000.0, _wire_of(value), models)


def _wire_of(value: bytes | None) -> Wire:
    if not value:
        raise EventError("empty", "", "expected a JSON object, got an empty message")
    if len(value) > MAX_EVENT_BYTES:
        raise EventError("too_large", "", f"expected at most {MAX_EVENT_BYTES} bytes, got {len(value)}: send fewer features")
    if is_too_deep(value):
        raise EventError("too_deep", "", f"expected at most {MAX_NESTING} brackets inside each other: flatten it")
    return read(value, "")


def _event(offset: int, now_seconds: float, wire: Wire, models: Mapping[str, Limits]) -> Event:
    if wire.specversion is not None:
        wire = _unwrap(wire)
    if wire.v not in (None, 1):
        raise EventError("unknown_version", "v", f"this Driftline reads version 1, got {str(wire.v)[:40]}")
    kind = _kind(wire)
    if not wire.model:
        raise EventError("missing", "model", "expected the name of a model")
    limits = models.get(wire.model)
    if limits is None:
        raise EventError(
            "unknown_model", "model", f"no [models.{wire.model[:64]}] in the configuration: add it, or mend the name"
        )
    features = wire.features or {}
    if limits.categorical:
        as_categories(features, limits.categorical)
    check_features(features, limits.max_features)
    if kind == "features" and not features:
        raise EventError("missing", "features", "expected at least one feature")
    identity, version = text_of(wire.id, "id", MAX_ID_LENGTH), text_of(wire.model_version, "model_version", MAX_NAME_LENGTH)
    segment = text_of(wire.segment, "segment", MAX_NAME_LENGTH, least=0) or ""
    client, entity = text_of(wire.client, "client", MAX_NAME_LENGTH), text_of(wire.entity, "entity", MAX_ID_LENGTH)
    tags = within_limits(wire.tags) if wire.tags else wire.tags
    if kind == "label" and identity is None:
        raise EventError("missing", "id", "a label needs the id of its prediction")
    label, score, probabilities = answer_in(wire.prediction)
    return Event(
        kind=kind,
        offset=offset,
        model=wire.model,
        ts=event_time(wire.ts, now_seconds),
        id=identity,
        segment=segment,
        features=features,
        label=_truth(wire) if kind == "label" else label,
        score=score,
        model_version=version,
        client=client,
        entity=entity,
        tags=tags,
        probabilities=probabilities,
    )


def _truth(wire: Wire) -> Value:
    """Return the true label; None is a truth of its own: there will never be a label."""
    if wire.label is msgspec.UNSET:
        raise EventError("missing", "label", "a label needs the truth: a scalar, or null if there will never be one")
    return label_of(wire.label, "label")


def _unwrap(wire: Wire) -> Wire:
    """Return the event inside a CloudEvents envelope; it inherits `id` and `time` of the envelope if it has none."""
    if not bytes(wire.data):
        raise EventError("missing", "data", "a CloudEvent needs the event as its data, as JSON")
    inner = read(wire.data, "data")
    if inner.specversion is not None:
        raise EventError("nested", "data", "expected an event, got another envelope")
    inner.id = wire.id if inner.id is None else inner.id
    inner.ts = wire.time if inner.ts is None else inner.ts
    return inner


def _kind(wire: Wire) -> EventKind:
    if wire.type is None:
        if wire.label is msgspec.UNSET:
            return "prediction" if wire.prediction is not None else "features"
        if wire.features or wire.prediction is not None:
            raise EventError(
                "ambiguous", "type", "a label beside features or a prediction: send the label as an event of its own"
            )
        return "label"
    if wire.type in EVENT_KINDS:
        return wire.type
    raise EventError("unknown_type", "type", f'expected "prediction", "features" or "label", got "{wire.type[:40]}"')


def as_categories(features: dict[str, Value], names: Collection[str]) -> None:
    """Turn the numbers of some features into names of categories, in place."""
    for name in names:
        value = features.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            features[name] = str(value)


def event_time(ts: str | float | None, now_seconds: float) -> float:
    """Return the event time that a `ts` means, epoch seconds; None means `now_seconds`, the broker's clock.

    Raises:
        EventError: it is no time (`wrong_time`), or too far ahead of that clock (`future`).

    >>> event_time("2026-11-21T07:30:00Z", 1.8e9), event_time(1795246200000, 1.8e9)
    (1795246200.0, 1795246200.0)
    """
    if ts is None:
        seconds = now_seconds
    elif isinstance(ts, str):
        seconds = _seconds_of(ts)
    else:
        seconds = float(max(-(MILLISECONDS_FROM**2), min(MILLISECONDS_FROM**2, ts)))  # an integer may be beyond a double
        seconds = seconds / 1000.0 if abs(seconds) >= MILLISECONDS_FROM else seconds
    if not 0.0 <= seconds <= _LAST_SECOND:
        raise EventError("wrong_time", "ts", f"expected a time from 1970 on and before 10000, got {_shown(ts, seconds)}")
    if seconds > now_seconds + MAX_AHEAD_SECONDS:
        raise EventError(
            "future",
            "ts",
            f"expected a time from 1970 on and at most {MAX_AHEAD_SECONDS:g} s ahead of the broker's clock, "
            f"got {_shown(ts, seconds)}: mend the sender's clock",
        )
    return seconds


def _seconds_of(text: str) -> float:
    try:
        when = datetime.fromisoformat(text.upper())
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        raise EventError(
            "wrong_time",
            "ts",
            f'expected an RFC 3339 time such as "2026-11-21T07:30:00.123Z", or epoch seconds, got "{text[:40]}"',
        ) from None


def _shown(ts: str | float | None, seconds: float) -> str:
    return str(seconds if ts is None else ts)[:40]


def tick(model: str, ts: float) -> bytes:
    """Return a tick: it moves the event time of a model in a partition on to `ts`, without an event."""
    return orjson.dumps({"v": 1, "type": "tick", "model": model, "ts": ts})


def outcome_tick(model: str, ts: float) -> bytes:
    """Return a tick for the partition of outcomes: the join passes it on behind the outcomes of the records before it."""
    return orjson.dumps({"v": 1, "type": "outcome_tick", "model": model, "ts": ts})
