"""Alerts, outliers, requests to retrain and swaps as CloudEvents 1.0, in structured JSON.

Types have a version, within which fields are only added: `io.driftline.alert.v1`, `.outlier.v1`,
`.retrain.v1`, `.swap.v1`. The schemas of their `data` are in streams/schemas/.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from detectors.errors import EventError
from detectors.incidents.alert import Alert
from detectors.incidents.retrain import Request
from streams.records.times import rfc3339

#: Longest id that is accepted; our own have about 25 characters.
MAX_ID_LENGTH = 256

ALERT = "io.driftline.alert.v1"
OUTLIER = "io.driftline.outlier.v1"
RETRAIN = "io.driftline.retrain.v1"
SWAP = "io.driftline.swap.v1"


def encode(kind: str, identity: str, model: str, time_seconds: float, data: dict[str, Any]) -> bytes:
    """Return one CloudEvent as canonical bytes: the same arguments give the same bytes.

    Args:
        kind: one of the types above.
        identity: the event's id, a hash of its causes.
        model: becomes the `subject`.
        time_seconds: event time of the occurrence, epoch seconds.
        data: JSON-able; keys are written sorted.
    """
    return orjson.dumps(
        {
            "specversion": "1.0",
            "type": kind,
            "id": identity,
            "source": "/driftline",
            "subject": model,
            "time": rfc3339(time_seconds),
            "datacontenttype": "application/json",
            "data": data,
        },
        option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY,
    )


def event_of(finding: Alert | Request) -> bytes:
    """Return the CloudEvent of an alert or a request to retrain: the bytes on the topic, which `driftline replay` prints too."""
    kind, at = (ALERT, finding.raised_at) if isinstance(finding, Alert) else (RETRAIN, finding.requested_at)
    return encode(kind, finding.id, finding.model, at, msgspec.to_builtins(finding))


def decode(value: bytes, *expected: str) -> dict[str, Any]:
    """Return the envelope (with `id`, `subject`, `time`, `data`) after checking that its type is one of those expected.

    Raises:
        EventError: not JSON, not a CloudEvent, of another type, without data, or with an id that no
            HTTP header could carry.
    """
    wanted = " or ".join(expected)
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise EventError("not_json", "", f"expected a CloudEvent of type {wanted}, got no JSON ({error})") from None
    if not isinstance(event, dict) or event.get("type") not in expected:
        found = event.get("type") if isinstance(event, dict) else type(event).__name__
        raise EventError("wrong_type", "type", f"expected {wanted}, got {str(found)[:80]!r}")
    identity = event.get("id")
    if (
        not isinstance(identity, str)
        or not 0 < len(identity) <= MAX_ID_LENGTH
        or not (identity.isascii() and identity.isprintable())
    ):
        raise EventError("wrong_type", "id", f"expected 1 to {MAX_ID_LENGTH} printable ASCII characters")
    if not isinstance(event.get("data"), dict):
        raise EventError("wrong_type", "data", "expected an object")
    return event
