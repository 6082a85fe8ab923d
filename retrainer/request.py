"""A retrain request, read from its topic: the judge writes it, or an operator.

>>> from streams.records.cloudevents import RETRAIN, encode
>>> data = {"model": "fraud", "reason": "drift", "alert": "alert-1", "began_at": 60.0, "requested_at": 90.0}
>>> request = parse(encode(RETRAIN, "retrain-1", "fraud", 90.0, data))
>>> request.id, request.alert, request.features
('retrain-1', 'alert-1', [])
"""

from __future__ import annotations

import msgspec

from detectors.errors import EventError
from detectors.incidents.retrain import Request
from streams.records.cloudevents import RETRAIN, decode
from streams.records.times import rfc3339

_LONGEST_ID = 200


def parse(value: bytes | None) -> Request:
    """Return the request that a record of the retrains topic carries; its id is that of the CloudEvent.

    Raises:
        EventError: not a CloudEvent of this type, or a field is missing or of the wrong type.
    """
    envelope = decode(value or b"", RETRAIN)
    try:
        request = msgspec.convert({**envelope["data"], "id": envelope["id"]}, Request)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$")
        raise EventError("wrong_type", f"data{path.rstrip('`')}", detail) from None
    if not 0 < len(request.id) <= _LONGEST_ID:
        raise EventError("out_of_range", "id", f"expected 1 to {_LONGEST_ID} characters, got {len(request.id)}")
    for name, seconds in (("began_at", request.began_at), ("requested_at", request.requested_at)):
        try:
            rfc3339(seconds)
        except (ValueError, OverflowError, OSError):
            raise EventError("out_of_range", f"data.{name}", f"expected epoch seconds, got {seconds!r}") from None
    return request
