"""Request bodies of the native routes: their fields, their limits, and one sentence for each mistake.

Rules:
1. A body is accepted or refused as a whole. An accepted body goes to the log unchanged, and its event is valid for
   streams/events/event.py: the limits are the same.
2. Every refusal names the field, the value and what to send instead. Long values are shortened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

from detectors.errors import EventError
from detectors.windows.row import Value
from streams.events.event import (
    MAX_EVENT_BYTES,
    MAX_ID_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_NAME_LENGTH,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    event_time,
)

MAX_BODY_BYTES = 256 << 10
#: Of one row: 16 KiB less than an event, for its other fields (model, version, answer).
MAX_ROW_BYTES = MAX_EVENT_BYTES - (16 << 10)

_SCALARS = frozenset((bool, int, float, str, type(None)))
_PREDICTION_FIELDS = ("features", "id", "ts", "segment", "client", "entity", "tags")
_LABEL_FIELDS = ("id", "label", "ts", "client")


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """One row to be answered; an optional field that was not sent is None."""

    features: dict[str, Value]
    id: str | None = None
    ts: str | float | None = None
    segment: str | None = None
    client: str | None = None
    entity: str | None = None
    tags: dict[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """The true label of one prediction."""

    id: str
    label: Value
    ts: str | float | None = None
    client: str | None = None


def read_prediction(body: bytes, max_features: int) -> PredictionRequest:
    """Return the row in a `:predict` body, with `max_features` features at most.

    Raises:
        EventError: the body has a mistake; the message names the field and what to send.
    """
    if len(body) > MAX_ROW_BYTES:
        raise EventError(
            "too_large", "body", f"expected at most {MAX_ROW_BYTES} bytes for one row, got {len(body)}; send fewer features"
        )
    fields = read_object(body, _PREDICTION_FIELDS)
    return PredictionRequest(
        features=_flat(fields, "features", 1, max_features),
        id=_identity(fields),
        ts=_time(fields),
        segment=_text(fields, "segment", MAX_NAME_LENGTH),
        client=_text(fields, "client", MAX_NAME_LENGTH),
        entity=_text(fields, "entity", MAX_ID_LENGTH),
        tags=_tags(fields) if fields.get("tags") is not None else None,
    )


def read_label(body: bytes) -> LabelRequest:
    """Return the label in a `:label` body.

    Raises:
        EventError: the body has a mistake; the message names the field and what to send.
    """
    fields = read_object(body, _LABEL_FIELDS)
    identity = _identity(fields)
    if identity is None:
        raise refusal("id", "the id that came with the prediction", None)
    if "label" not in fields:
        raise refusal("label", "true, false, a number or a string, or null if there will never be a label", None)
    label = fields["label"]
    if label.__class__ not in _SCALARS:
        raise refusal("label", "true, false, a number or a string, or null if there will never be a label", label)
    if label.__class__ is str and len(label) > MAX_LABEL_LENGTH:
        raise refusal("label", f"a string of at most {MAX_LABEL_LENGTH} characters", label)
    return LabelRequest(id=identity, label=label, ts=_time(fields), client=_text(fields, "client", MAX_NAME_LENGTH))


def read_object(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    """Return a JSON object that has known fields only.

    Raises:
        EventError: the body is no such object.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity are not JSON, send null for a missing value" if b"NaN" in body or b"Infinity" in body else ""
        raise EventError("not_json", "body", f"expected a JSON object, got {show(body)} ({error}){hint}") from None
    if not isinstance(fields, dict):
        raise refusal("body", "a JSON object", fields)
    for name in fields:
        if name not in known:
            raise EventError("unknown_field", name[:MAX_NAME_LENGTH], f"no such field; known are {', '.join(known)}")
    return fields


def refusal(path: str, expected: str, value: Any) -> EventError:
    """Return the error for a value of another type than expected; `path` is the field."""
    return EventError("wrong_type", path, f"expected {expected}, got {show(value)}")


def show(value: Any) -> str:
    """Return a value as text for a message: 60 characters at most; bytes as they are, anything else as JSON.

    >>> show({"a": [None, True]}), show(b"x" * 100)
    ('{"a":[null,true]}', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...')
    """
    text = (value[:240] if isinstance(value, bytes) else orjson.dumps(value)[:240]).decode(errors="replace")
    return text if len(text) <= 60 else text[:60] + "..."


def _flat(fields: dict[str, Any], path: str, least: int, most: int) -> dict[str, Value]:
    values = fields.get(path)
    if values.__class__ is not dict:
        raise refusal(path, 'an object such as {"amount": 12.5, "country": "NO"}', values)
    if not least <= len(values) <= most:
        raise refusal(path, f"{least} to {most} entries", len(values))
    for name, value in values.items():
        if value.__class__ not in _SCALARS:
            raise refusal(
                f"{path}.{name[:MAX_NAME_LENGTH]}",
                "a number, a string, true, false or null (nested values: send them flat)",
                value,
            )
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise refusal(f"{path}.{name[:60]}", f"a name of 1 to {MAX_NAME_LENGTH} characters", name)
    return values


def _tags(fields: dict[str, Any]) -> dict[str, Value]:
    tags = _flat(fields, "tags", 0, MAX_TAGS)
    for name, value in tags.items():
        if value.__class__ is str and len(value) > MAX_TAG_LENGTH:
            raise refusal(f"tags.{name}", f"a string of at most {MAX_TAG_LENGTH} characters", value)
    return tags


def _text(fields: dict[str, Any], path: str, most: int) -> str | None:
    value = fields.get(path)
    if value is None or (value.__class__ is str and 0 < len(value) <= most):
        return value
    raise refusal(path, f"a string of 1 to {most} characters", value)


def _identity(fields: dict[str, Any]) -> str | None:
    value = fields.get("id")
    return str(value) if value.__class__ is int else _text(fields, "id", MAX_ID_LENGTH)


def _time(fields: dict[str, Any]) -> str | float | None:
    value = fields.get("ts")
    if value is None:
        return None
    if value.__class__ not in (str, int, float):
        raise refusal("ts", 'an RFC 3339 time such as "2026-11-21T07:30:00.123Z", or epoch seconds', value)
    event_time(value, time.time())
    return value
