"""The JSON of one event: fields with their types, or an error that names the wrong field.

streams/events/event.py has the rules that types cannot express.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from detectors.errors import EventError
from detectors.windows.row import Value

MAX_NAME_LENGTH = 128
#: Brackets that may be open at once.
MAX_NESTING = 200
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


class Wire(msgspec.Struct, gc=False):
    """An event as clients write it."""

    v: int | None = None
    model: str | None = None
    type: str | None = None
    id: str | int | None = None
    ts: str | int | float | None = None
    segment: str | None = None
    features: dict[str, Value] | None = None
    prediction: Value | dict[str, Any] = None
    label: Value | msgspec.UnsetType = msgspec.UNSET
    model_version: str | int | None = None
    client: str | int | None = None
    entity: str | int | None = None
    tags: dict[str, Value] | None = None
    specversion: str | None = None
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw()  # a union with None would refuse everything but null


_wire = msgspec.json.Decoder(Wire)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_scalar = msgspec.json.Decoder(Value)


def read(value: bytes | msgspec.Raw, within: str) -> Wire:
    """Return the fields of an event; `within` is the path of the value in its record.

    Raises:
        EventError: it is not JSON, or a field is of another type.
    """
    try:
        return _wire.decode(value)
    except msgspec.ValidationError as error:
        raise _fault(value, str(error), within) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(
            "not_json", within, f"expected a JSON object, got something else ({error}){_hint(bytes(value))}"
        ) from None


def is_too_deep(value: bytes) -> bool:
    """Return whether more than `MAX_NESTING` brackets are open at once.

    The decoders fail at the depth of Python's stack, which differs from caller to caller. Whether a record is an event
    must not depend on the caller.

    >>> is_too_deep(b"[" * 200 + b"]" * 200), is_too_deep(b"[" * 201 + b"]" * 201), is_too_deep(b'["' + b"[" * 500 + b'"]')
    (False, True, False)
    """
    # A value that is short, or has few brackets, cannot be deep: nearly always that is enough.
    if len(value) <= 2 * MAX_NESTING or value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub(b"", value)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def _hint(value: bytes) -> str:
    if b"NaN" in value or b"Infinity" in value:
        return "; NaN and Infinity are not JSON, send null for a missing value"
    if value.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "; send UTF-8 without a byte order mark"
    return "; \\ud800 to \\udfff stand for characters in pairs only" if b"\\ud" in value.lower() else ""


def _fault(value: bytes | msgspec.Raw, said: str, within: str) -> EventError:
    """Return the error with its path; the fast decoder does not say which feature or tag it is."""
    what, _, path = said.partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    path, entry, _ = path.partition("[...]")
    if entry and path in ("features", "tags"):
        path, what = _faulty_entry(value, path) or (path, what)
    path = f"{within}.{path}".strip(".")
    if what.startswith("nested"):
        return EventError("nested", path, "expected a number, string, boolean or null: flatten it")
    if what.endswith("out of range"):
        return EventError("out_of_range", path, "expected a number that a double can hold: send null, or a string")
    return EventError("wrong_type", path, what)


def _faulty_entry(value: bytes | msgspec.Raw, field: str) -> tuple[str, str] | None:
    """Return path and fault of the first feature or tag that is no scalar; None if the rest is not JSON."""
    try:
        for name, entry in _fields.decode(_fields.decode(value)[field]).items():
            fault = _fault_of(entry)
            if fault is not None:
                return f"{field}.{name[:MAX_NAME_LENGTH]}", fault
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return None


def _fault_of(entry: msgspec.Raw) -> str | None:
    try:
        _scalar.decode(entry)
    except msgspec.ValidationError as error:
        return "nested" if bytes(entry).startswith((b"{", b"[")) else str(error)
    return None
