"""Records of the windows topic as bytes: MessagePack, tagged by kind. A reader of a file of windows needs no Kafka."""

from __future__ import annotations

import math
from typing import cast

import msgspec

from detectors.errors import EventError
from detectors.incidents.decision import Decided
from detectors.windows.feature import condensed
from detectors.windows.record import Mark, Window
from detectors.windows.sample import POINTS
from streams.topics import WINDOWS

HistoryRecord = Window | Mark | Decided

#: Largest window written: below the topic's limit, with room for what Kafka adds.
_MOST_BYTES = WINDOWS.max_message_bytes - (256 << 10)
#: Categories by name that a window keeps if it is too large, step by step.
_FEWER_CATEGORIES = (25, 5, 1, 0)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(HistoryRecord)


def encode(record: HistoryRecord) -> bytes:
    """Return the bytes of one record.

    A window that is too large for a message keeps fewer categories by name, the most frequent ones; the others
    are counted as `other`. Their number depends on the window alone, so a repeat has the same bytes.
    """
    value = _encoder.encode(record)
    if isinstance(record, Window):
        for categories in _FEWER_CATEGORIES:
            if len(value) <= _MOST_BYTES:
                break
            features = {name: condensed(feature, categories) for name, feature in record.features.items()}
            value = _encoder.encode(msgspec.structs.replace(record, features=features))
    return value


def parse(value: bytes | None) -> HistoryRecord:
    """Return the record in a message of the windows topic.

    Raises:
        EventError: it is not one.
    """
    try:
        record = cast("HistoryRecord", _decoder.decode(value or b""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError("not_a_window", "", f"expected a window, mark, decision or acceptance, got {error}") from None
    # A well-formed record with impossible values would fail much later, in the bucket that it is merged into.
    if isinstance(record, Window):
        _check_window(record)
    elif isinstance(record, Mark) and (not 0 <= record.source < record.sources or not math.isfinite(record.until)):
        raise EventError("not_a_window", "source", f"source {record.source} of {record.sources}, until {record.until}")
    return record


def _check_window(window: Window) -> None:
    if not (math.isfinite(window.start) and 0.0 < window.seconds < math.inf and window.n > 0 and window.source >= 0):
        raise EventError(
            "not_a_window", "", f"{window.n} rows from {window.start}, {window.seconds} s long, of source {window.source}"
        )
    for name, feature in window.features.items():
        numeric = feature.numeric
        if numeric is not None and not 0 < len(numeric.points) <= 8 * POINTS:
            raise EventError("not_a_window", f"features.{name}", f"{len(numeric.points)} bytes of points")
        if numeric is not None and (len(numeric.points) % 8 or numeric.n * 8 < len(numeric.points)):
            raise EventError("not_a_window", f"features.{name}", f"{len(numeric.points)} bytes of points for {numeric.n} values")
        if min(feature.missing, feature.other, *feature.categories.values()) < 0:
            raise EventError("not_a_window", f"features.{name}", "a count below zero")
