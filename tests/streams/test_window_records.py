"""The windows topic: what is written can be read again, and always fits into a message."""

from __future__ import annotations

import random

import pytest

from detectors.errors import EventError
from detectors.incidents.decision import Decision
from detectors.windows.feature import Feature, column_of
from detectors.windows.record import Mark, Window
from streams.records import window_codec, window_records
from streams.settings import KafkaSettings
from streams.topics import WINDOWS

pytestmark = pytest.mark.fast

KAFKA = KafkaSettings()


def _window(features: dict[str, Feature], rows: int) -> Window:
    return Window("m", "", "features", 0, 60.0, 60.0, 1, 2, rows, features)


def test_every_kind_of_record_is_read_as_it_was_written() -> None:
    """A window, a mark and a decision come back equal, in the partition of their model."""
    records = [
        _window({"x": column_of([1.0, 2.0, "red", None, True]).feature(5)}, 5),
        Mark("m", "features", 0, 4, 120.0),
        Decision("swap-1", "m", "retrain-1", "promoted", 2, ["x"]),
    ]
    for record in records:
        message = window_records.outgoing(KAFKA, record)
        assert message.key == b"m"
        assert window_codec.parse(message.value) == record


@pytest.mark.slow
def test_a_window_too_large_for_a_message_keeps_its_most_frequent_categories() -> None:
    """Hundreds of features with long categories shrink to a message that fits, with every value still counted."""
    draw = random.Random(1)
    features: dict[str, Feature] = {}
    for number in range(500):
        rare = ["".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(64)) for _ in range(100)]
        features[f"f{number}"] = column_of(["often"] * 20 + rare).feature(120)
    message = window_records.outgoing(KAFKA, _window(features, 120))
    assert len(message.value or b"") <= WINDOWS.max_message_bytes - (128 << 10)
    assert message == window_records.outgoing(KAFKA, _window(features, 120))
    parsed = window_codec.parse(message.value)
    assert isinstance(parsed, Window)
    assert parsed.features.keys() == features.keys()
    for feature in parsed.features.values():
        assert feature.categories["often"] == 20
        assert sum(feature.categories.values()) + feature.other == 120


@pytest.mark.parametrize("value", [None, b"", b"garbage", b'{"model": "m"}', b"\x80"])
def test_what_is_no_record_is_said_to_be_none(value: bytes | None) -> None:
    """Bytes of another kind raise an EventError, which becomes a dead letter."""
    with pytest.raises(EventError):
        window_codec.parse(value)
