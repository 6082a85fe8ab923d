"""Values in an event: texts, scalars, labels, tags, predictions; each within its limits, or an error with its path.

Rules:
1. Lengths are counted in characters, as Python does.
2. An integer of more than 64 bits becomes the nearest double, so every later step can store and send it.
3. What a model answers and what a tag says is kept in memory until the label comes: nothing here is without a limit.
"""

from __future__ import annotations

import math
import sys
from itertools import islice
from typing import Annotated, Any

import msgspec

from detectors.errors import EventError
from detectors.windows.row import Value
from streams.events.wire import MAX_NAME_LENGTH

#: Longest text that is a label or a predicted label.
MAX_LABEL_LENGTH = 256
#: Tags of one event, and the longest text of one.
MAX_TAGS, MAX_TAG_LENGTH = 20, 128
#: Classes that have a probability.
MAX_CLASSES = 100
#: What the probabilities of a prediction may add up to: senders round them.
LEAST_SUM, GREATEST_SUM = 0.99, 1.01
#: Integers that both MessagePack and JSON libraries can write.
_LEAST_INTEGER, _GREATEST_INTEGER = -(1 << 63), (1 << 64) - 1
_GREATEST_NUMBER = int(sys.float_info.max)
_PROBABILITIES = "prediction.probabilities"
_ClassName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
_Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class _Answer(msgspec.Struct):
    """Probabilities without a fault; msgspec keeps what it knows of a struct, and of no other type."""

    probabilities: Annotated[dict[_ClassName, _Probability], msgspec.Meta(max_length=MAX_CLASSES)]


def text_of(value: str | int | None, path: str, most: int, *, least: int = 1) -> str | None:
    """Return the text, or the decimal text of an integer; `least` to `most` characters.

    Raises:
        EventError: it is too short or too long.
    """
    if value is None:
        return None
    text = str(value)
    if not least <= len(text) <= most:
        raise EventError("wrong_length", path, f"expected {least} to {most} characters, got {len(text)}")
    return text


def scalar_of(value: Value, path: str) -> Value:
    """Return the value; an integer of more than 64 bits becomes the nearest double.

    Raises:
        EventError: no double can hold it.
    """
    if value.__class__ is not int or _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
        return value
    if abs(value) > _GREATEST_NUMBER:
        raise EventError("out_of_range", path, "expected a number that a double can hold: send null, or a string")
    return float(value)


def label_of(value: Value, path: str) -> Value:
    """Return a label or predicted label, as `scalar_of` does.

    Raises:
        EventError: it is a text of more than `MAX_LABEL_LENGTH` characters, or no double can hold it.
    """
    if value.__class__ is str and len(value) > MAX_LABEL_LENGTH:
        raise EventError("wrong_length", path, f"expected at most {MAX_LABEL_LENGTH} characters, got {len(value)}")
    return scalar_of(value, path)


def check_features(features: dict[str, Value], most: int) -> None:
    """Turn integers that are too long into doubles, in place; `most` is the largest number of features.

    Raises:
        EventError: there are more, or a name is empty or too long, or no double can hold a value.
    """
    if len(features) > most:
        raise EventError("too_many_features", "features", f"expected at most {most}, got {len(features)}")
    for name, value in features.items():
        _check_name(name, "features")
        if value.__class__ is int and not _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
            features[name] = scalar_of(value, f"features.{name}")


def within_limits(tags: dict[str, Value]) -> dict[str, Value]:
    """Return the first `MAX_TAGS` tags, with texts cut to `MAX_TAG_LENGTH` characters: nothing is judged by them.

    Raises:
        EventError: a name is empty or too long, or no double can hold a value.
    """
    found: dict[str, Value] = {}
    for name, value in islice(tags.items(), MAX_TAGS):
        _check_name(name, "tags")
        found[name] = value[:MAX_TAG_LENGTH] if isinstance(value, str) else scalar_of(value, f"tags.{name}")
    return found


def answer_in(prediction: Value | dict[str, Any]) -> tuple[Value, float | None, dict[str, float] | None]:
    """Return (label, score, class -> probability) of a `prediction`; each is None where there is none.

    A number with a fraction is a score, any other scalar a label; an object has all three.

    Raises:
        EventError: one of them is of another type, or beyond its limits.
    """
    if isinstance(prediction, dict):
        label, score = prediction.get("label"), prediction.get("score", prediction.get("value"))
        if not isinstance(label, (str, int, float, bool, type(None))):
            raise EventError(
                "wrong_type", "prediction.label", f"expected a number, string or boolean, got {type(label).__name__}"
            )
        if isinstance(score, bool) or not isinstance(score, (int, float, type(None))):
            raise EventError("wrong_type", "prediction.score", f"expected a number, got {type(score).__name__}")
        score = scalar_of(score, "prediction.score")
        known = prediction.get("probabilities")
        return (
            label_of(label, "prediction.label"),
            None if score is None else float(score),
            None if known is None else probabilities_in(known),
        )
    if isinstance(prediction, float):
        return None, prediction, None
    return label_of(prediction, "prediction"), None, None


def probabilities_in(value: Any) -> dict[str, float]:
    """Return class -> probability, as doubles.

    Args:
        value: what stands in `prediction.probabilities`, any JSON but null.

    Raises:
        EventError: it is no object, has more than `MAX_CLASSES`, a name is empty or too long, a value is no number from 0
            to 1, or their sum is not 1.

    >>> probabilities_in({"cat": 1, "dog": 0})
    {'cat': 1.0, 'dog': 0.0}
    """
    try:
        found = msgspec.convert({"probabilities": value}, _Answer).probabilities
    except msgspec.ValidationError as error:
        raise _fault_of(value) or EventError("wrong_type", _PROBABILITIES, str(error)) from None
    total = math.fsum(found.values())
    if not LEAST_SUM <= total <= GREATEST_SUM:
        raise EventError("wrong_sum", _PROBABILITIES, f"expected numbers that add up to 1, give or take 0.01, got {total:.6g}")
    return found


def _fault_of(value: Any) -> EventError | None:
    """Return the first fault of probabilities."""
    if not isinstance(value, dict):
        return EventError("wrong_type", _PROBABILITIES, f"expected an object of class and number, got {type(value).__name__}")
    if len(value) > MAX_CLASSES:
        return EventError("too_many_classes", _PROBABILITIES, f"expected at most {MAX_CLASSES}, got {len(value)}")
    for name, number in value.items():
        path = f"{_PROBABILITIES}.{name}"
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            return _wrong_name(name, _PROBABILITIES)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return EventError("wrong_type", path, f"expected a number, got {type(number).__name__}")
        if not 0 <= number <= 1:
            return EventError("out_of_range", path, f"expected a number from 0 to 1, got {_shown(number)}")
    return None


def _shown(number: float) -> str:
    try:
        return f"{number:.6g}"
    except OverflowError:  # an integer beyond a double
        return "a number that no double can hold"


def _check_name(name: str, path: str) -> None:
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise _wrong_name(name, path)


def _wrong_name(name: str, path: str) -> EventError:
    return EventError("wrong_name", f"{path}.{name[:40]}", f"expected 1 to {MAX_NAME_LENGTH} characters, got {len(name)}")
