"""A retrain request: what the judge, or an operator, asks for.

>>> from streams.records.cloudevents import RETRAIN, encode
>>> data = {"model": "fraud", "reason": "drift", "alert": "alert-1", "began_at": 60.0, "requested_at": 90.0}
>>> parse(encode(RETRAIN, "retrain-1", "fraud", 90.0, data))
Request(id='retrain-1', model='fraud', reason='drift', alert='alert-1', began_at=60.0, requested_at=90.0, features=(), segment='')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from detectors.errors import EventError
from streams.records.cloudevents import RETRAIN, decode
from streams.records.times import rfc3339

Reason = Literal["drift", "performance", "on_demand"]

_LONGEST_ID = 200


@dataclass(frozen=True, slots=True)
class Request:
    """One retrain asked for; times are epoch seconds of event time, `began_at` is the estimated change point."""

    id: str
    model: str
    reason: Reason
    alert: str | None
    began_at: float
    requested_at: float
    features: tuple[str, ...]
    segment: str


class _Data(msgspec.Struct, frozen=True):
    model: str
    reason: Reason
    began_at: float
    requested_at: float
    alert: str | None = None
    features: tuple[str, ...] = ()
    segment: str = ""


def parse(value: bytes | None) -> Request:
    """Return the request that a record of the retrains topic carries.

    Raises:
        EventError: not a CloudEvent of this type, or a field is missing or of the wrong type.
    """
    envelope = decode(value or b"", RETRAIN)
    try:
        data = msgspec.convert(envelope["data"], _Data)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `$")
        raise EventError("wrong_type", f"data{place.rstrip('`')}", detail) from None
    if not 0 < len(envelope["id"]) <= _LONGEST_ID:
        raise EventError("out_of_range", "id", f"expected 1 to {_LONGEST_ID} characters, got {len(envelope['id'])}")
    for name, seconds in (("began_at", data.began_at), ("requested_at", data.requested_at)):
        try:
            rfc3339(seconds)
        except (ValueError, OverflowError, OSError):
            raise EventError("out_of_range", f"data.{name}", f"expected epoch seconds, got {seconds!r}") from None
    return Request(
        id=envelope["id"],
        model=data.model,
        reason=data.reason,
        alert=data.alert,
        began_at=data.began_at,
        requested_at=data.requested_at,
        features=data.features,
        segment=data.segment,
    )
