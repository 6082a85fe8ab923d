"""Events off the wire: whatever bytes come, each record is one event or one dead letter, and says why."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import EventError
from detectors.spec import ModelSpec
from streams.events.event import MAX_AHEAD_SECONDS, MAX_EVENT_BYTES, Event, event_time, tick
from streams.records.dead_letters import CUT, DETAIL, MAX_LETTER_BYTES, PATH, REASON, SOURCE, dead_letter
from streams.settings import KafkaSettings
from tests.support.records import NOW, NOW_MS, Fetched, decode, log_of

pytestmark = pytest.mark.fast

MODELS = {"m": ModelSpec("m", max_features=4), "c": ModelSpec("c", categorical=("code",))}
GOOD = b'{"model":"m","id":"a","features":{"x":1.5}}'
HUGE = "1" + "0" * 400


def event(value: Any, timestamp: int = NOW_MS) -> Event:
    """Return the event of one record, which must be good."""
    events, dead = decode([Fetched(value if isinstance(value, bytes) else orjson.dumps(value), timestamp=timestamp)], MODELS)
    assert not dead, dead[0].error
    return events[0]


def fault(value: bytes | None, timestamp: int = NOW_MS) -> EventError:
    """Return why a record is a dead letter, which it must be."""
    events, dead = decode([Fetched(value, timestamp=timestamp)], MODELS)
    assert not events, events
    return dead[0].error


def label(**fields: Any) -> dict[str, Any]:
    """Return a label with the fields it needs, and others."""
    return {"model": "m", "id": "a", "label": True, **fields}


def test_the_smallest_prediction_is_a_model_and_features() -> None:
    """What is not sent has a meaning: no id, no segment, and Kafka's time as event time."""
    assert event({"model": "m", "features": {"x": 12.5}}) == Event(
        "features", 0, "m", NOW, None, "", {"x": 12.5}, None, None, None
    )


def test_a_full_prediction_keeps_every_field() -> None:
    """Every field arrives unchanged."""
    full = event(
        {
            "v": 1,
            "type": "prediction",
            "id": "c0ffee-1",
            "ts": "2026-11-21T07:30:00.123Z",
            "model": "m",
            "model_version": "7",
            "segment": "eu",
            "client": "checkout-3",
            "entity": "card-81",
            "features": {"amount": 12.5, "country": "NO", "is_new": True, "age": None},
            "prediction": {"label": True, "score": 0.931, "probabilities": {"true": 0.931, "false": 0.069}},
            "tags": {"channel": "web", "attempt": 2, "rate": 0.5, "beta": False, "none": None},
        }
    )
    assert full == Event(
        kind="prediction",
        offset=0,
        model="m",
        ts=NOW + 0.123,
        id="c0ffee-1",
        segment="eu",
        features={"amount": 12.5, "country": "NO", "is_new": True, "age": None},
        label=True,
        score=0.931,
        model_version="7",
        client="checkout-3",
        entity="card-81",
        tags={"channel": "web", "attempt": 2, "rate": 0.5, "beta": False, "none": None},
        probabilities={"true": 0.931, "false": 0.069},
    )


@pytest.mark.parametrize("absent", [{}, {"client": None, "entity": None, "tags": None, "prediction": {"probabilities": None}}])
def test_what_is_not_said_is_not_known(absent: dict[str, Any]) -> None:
    """Without client, entity, tags and probabilities, or with null, the event has none."""
    found = event({"model": "m", "features": {"x": 1}, **absent})
    assert (found.client, found.entity, found.tags, found.probabilities) == (None, None, None, None)


def test_tags_are_what_features_are_but_for_their_categories() -> None:
    """Long integers become doubles; a tag of the name of a categorical feature keeps its number; no tag is a feature."""
    found = event(json.dumps({"model": "c", "features": {"x": 1}, "tags": {"code": 7, "big": 2**64, "most": 2**64 - 1}}).encode())
    assert found.tags == {"code": 7, "big": 2.0**64, "most": 2**64 - 1}
    assert [type(value) for value in found.tags.values()] == [int, float, int]
    assert found.features == {"x": 1}
    assert event({"model": "m", "features": {"x": 1}, "tags": {}}).tags == {}
    most = {f"{number:0128}": "t" * 128 for number in range(20)}
    assert event({"model": "m", "features": {"x": 1}, "tags": most}).tags == most
    long = {**most, "beyond": 1, "first": "t"}
    assert event({"model": "m", "features": {"x": 1}, "tags": long}).tags == most
    assert event({"model": "m", "features": {"x": 1}, "tags": {"a": "t" * 9_000}}).tags == {"a": "t" * 128}


def test_a_label_says_who_sent_it() -> None:
    """Client, entity and tags are fields of every kind of event."""
    found = event(label(client=3, entity="e", tags={"by": "hand"}))
    assert (found.client, found.entity, found.tags) == ("3", "e", {"by": "hand"})


@pytest.mark.parametrize("probabilities", [{"a": 1}, {"a": 0.99}, {"a": 1.0, "b": 0.01}, {"a": 0.0, "n" * 128: 1}])
def test_probabilities_add_up_to_1_give_or_take_a_rounding(probabilities: dict[str, float]) -> None:
    """Integers are doubles, and a sum from 0.99 to 1.01 is 1."""
    found = event({"model": "m", "prediction": {"probabilities": probabilities}})
    assert found.kind == "prediction"
    assert found.probabilities == probabilities
    assert set(map(type, found.probabilities.values())) == {float}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"id": "a", "label": None}, "label"),
        ({"id": "a", "label": None, "features": {}}, "label"),
        ({"id": "a", "label": None, "type": "label"}, "label"),
        ({"id": "a", "label": None, "type": "label", "features": {"x": 1}, "prediction": True}, "label"),
        ({"id": "a", "label": None, "type": "prediction", "prediction": 7}, "prediction"),
        ({"id": "a", "label": "l" * 257, "type": "prediction", "prediction": 7}, "prediction"),
    ],
)
def test_a_label_that_is_null_is_a_truth_of_its_own(fields: dict[str, Any], kind: str) -> None:
    """There will never be a label; a prediction that has a label beside it is a prediction as before."""
    found = event({"model": "m", **fields})
    assert (found.kind, found.id) == (kind, "a")
    assert found.label == (None if kind == "label" else 7)


def test_the_longest_labels_have_256_characters() -> None:
    """A label and a predicted label may have as many characters, however many bytes they are."""
    longest = "\u00e6" * 256
    assert event(label(label=longest)).label == longest
    assert event({"model": "m", "prediction": longest}).label == longest
    assert event({"model": "m", "prediction": {"label": longest}}).label == longest
    assert event(label(label="")).label == ""


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        (b"null", None),
        (b'"a"', "a"),
        (b'" "', " "),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"' + "\u00e6".encode() * 256 + b'"', "\u00e6" * 256),
        (b"0", "0"),
        (b"-7", "-7"),
        (b"9223372036854775807", "9223372036854775807"),
        (b"9223372036854775808", "9223372036854775808"),
        (b"18446744073709551616", "18446744073709551616"),
        (b"-9223372036854775809", "-9223372036854775809"),
        (b"1" * 256, "1" * 256),
    ],
)
def test_an_id_is_its_text(written: bytes, identity: str | None) -> None:
    """Any text or integer of 1 to 256 characters is an id, to the last digit; null is none, which a label must not be."""
    assert event(b'{"model":"m","id":' + written + b',"features":{"x":1}}').id == identity
    assert event(b'{"model":"m","id":' + written + b',"type":"prediction","prediction":1}').id == identity
    sent = b'{"model":"m","id":' + written + b',"label":true}'
    if identity is None:
        found = fault(sent)
        assert (found.reason, found.path) == ("missing", "id")
    else:
        assert event(sent).id == identity


@pytest.mark.parametrize(
    ("written", "reason", "path"),
    [
        (b'""', "wrong_length", "id"),
        (b'"' + b"i" * 257 + b'"', "wrong_length", "id"),
        (b'"' + b"i" * 10_240 + b'"', "wrong_length", "id"),
        (b'"' + b"\\u0000" * 257 + b'"', "wrong_length", "id"),
        (b"1" * 257, "wrong_length", "id"),
        (b"-" + b"1" * 256, "wrong_length", "id"),
        (b"1" * 10_240, "out_of_range", "id"),
        (b"1.0", "wrong_type", "id"),
        (b"1e3", "wrong_type", "id"),
        (b"true", "wrong_type", "id"),
        (b'["a"]', "wrong_type", "id"),
        (b'{"a":1}', "wrong_type", "id"),
        (b'"\\ud800"', "not_json", ""),
        (b'"\\udc00\\ud800"', "not_json", ""),
        (b'"\xed\xa0\x80"', "not_json", ""),
        (b'"\xff\xfe"', "not_json", ""),
        (b'"\x00"', "not_json", ""),
        (b"\x80\x81", "not_json", ""),
        (b"007", "not_json", ""),
    ],
)
@pytest.mark.parametrize("rest", [b'"features":{"x":1}', b'"prediction":true', b'"label":true', b'"label":null'])
def test_an_id_that_is_none_is_a_dead_letter(written: bytes, reason: str, path: str, rest: bytes) -> None:
    """Ids that are empty, too long, of another type or no text at all are refused, with a sentence of bounded length."""
    found = fault(b'{"model":"m","id":' + written + b"," + rest + b"}")
    assert (found.reason, found.path) == (reason, path)
    assert found.detail
    assert len(found.detail) < 250


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"features": {"x": 1}}, "features"),
        ({"features": {"x": 1}, "prediction": None}, "features"),
        ({"features": {"x": 1}, "prediction": False}, "prediction"),
        ({"prediction": {}}, "prediction"),
        ({"id": "a", "label": False}, "label"),
        ({"id": "a", "label": False, "features": None}, "label"),
        ({"id": "a", "label": 0, "type": "label", "features": {"x": 1}}, "label"),
        ({"type": "prediction"}, "prediction"),
        ({"type": "prediction", "label": 1, "features": {"x": 1}}, "prediction"),
        ({"type": None, "features": {"x": 1}}, "features"),
        ({"type": "tick"}, "tick"),
    ],
)
def test_the_type_is_inferred_from_what_is_there(fields: dict[str, Any], kind: str) -> None:
    """A label makes a label, a prediction a prediction, features alone features; a type that is given is kept."""
    assert event({"model": "m", **fields}).kind == kind


@pytest.mark.parametrize(
    ("prediction", "label_and_score"),
    [
        (True, (True, None)),
        ("spam", ("spam", None)),
        (3, (3, None)),
        (0.25, (None, 0.25)),
        ({"label": 12.5, "score": None}, (12.5, None)),
        ({"label": "spam", "score": 1}, ("spam", 1.0)),
        ({"value": 2.5}, (None, 2.5)),
        ({"score": None, "value": 2.5}, (None, None)),
        ({"score": 10**30}, (None, 1e30)),
        (10**30, (1e30, None)),
        (None, (None, None)),
    ],
)
def test_a_bare_prediction_is_a_class_unless_it_has_a_fraction(prediction: Any, label_and_score: tuple[Any, Any]) -> None:
    """A bare float is a score; an object says itself what is which."""
    found = decode(log_of([json.dumps({"model": "m", "type": "prediction", "prediction": prediction}).encode()]), MODELS)[0][0]
    assert (found.label, found.score) == label_and_score
    assert type(found.label) is type(label_and_score[0])


@pytest.mark.parametrize(
    ("ts", "seconds"),
    [
        ("2026-11-21T07:30:00Z", NOW),
        ("2026-11-21t07:30:00z", NOW),
        ("2026-11-21T07:30:00", NOW),
        ("2026-11-21T08:30:00+01:00", NOW),
        ("2026-11-21 07:30:00.123456789Z", NOW + 0.123456),
        ("2026-11-21", 1_795_219_200.0),
        (NOW, NOW),
        (int(NOW), NOW),
        (NOW_MS, NOW),
        (NOW_MS + 123, NOW + 0.123),
        (0, 0.0),
        (NOW + MAX_AHEAD_SECONDS, NOW + MAX_AHEAD_SECONDS),
        (None, NOW),
    ],
)
def test_times_are_read_in_every_usual_form(ts: Any, seconds: float) -> None:
    """RFC 3339 with a zone or in UTC, seconds and milliseconds since 1970 mean the same moment."""
    assert event({"model": "m", "features": {"x": 1}, "ts": ts}).ts == pytest.approx(seconds, abs=1e-6)
    assert event_time(ts, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        ("yesterday", "wrong_time"),
        ("1795246200", "wrong_time"),
        ("2026-13-01T00:00:00Z", "wrong_time"),
        ("0001-01-01T00:00:00+23:59", "wrong_time"),
        ("1969-12-31T23:59:59Z", "wrong_time"),
        ("9999-12-31T23:59:59-23:59", "wrong_time"),
        ("x" * 5000, "wrong_time"),
        (-1, "wrong_time"),
        (-(10**400), "wrong_time"),
        (10**400, "wrong_time"),
        (NOW + MAX_AHEAD_SECONDS + 1, "future"),
        ("9999-12-31T23:59:59Z", "future"),
        (NOW_MS * 1000, "wrong_time"),
    ],
)
def test_times_that_cannot_be_are_refused(ts: Any, reason: str) -> None:
    """No time, before 1970, beyond the year 9999, or ahead of the broker's clock: a dead letter that names ts."""
    found = fault(json.dumps({"model": "m", "features": {"x": 1}, "ts": ts}).encode())
    assert (found.reason, found.path) == (reason, "ts")
    assert len(found.detail) < 250


def test_an_ancient_time_is_no_fault() -> None:
    """A time long ago is taken: whether it is late is for the windows to say."""
    assert event({"model": "m", "features": {"x": 1}, "ts": "1970-01-02T00:00:00Z"}).ts == 86_400.0


@pytest.mark.parametrize("timestamp", [-1, 2**62])
def test_a_broker_clock_that_cannot_be_is_refused_as_event_time(timestamp: int) -> None:
    """A record without a time, from a producer without a clock, is a dead letter and closes no window."""
    assert fault(b'{"model":"m","features":{"x":1}}', timestamp).reason == "wrong_time"


PROBABILITIES = "prediction.probabilities"


def _answered(probabilities: bytes) -> bytes:
    """Return a prediction with these probabilities."""
    return b'{"model":"m","prediction":{"label":"a","probabilities":' + probabilities + b"}}"


_TOO_LONG = b'{"model":"m","features":{"x":"' + b"x" * MAX_EVENT_BYTES + b'"}}'
_TWO_MEGABYTES = b'{"model":"m","features":{"x":"' + b"x" * (2 << 20) + b'"}}'


@pytest.mark.parametrize(
    ("value", "reason", "path"),
    [
        (None, "empty", ""),
        (b"", "empty", ""),
        (b" ", "not_json", ""),
        (b"hello", "not_json", ""),
        (b"\x00\x01\x02\xff", "not_json", ""),
        (GOOD[:-1], "not_json", ""),
        (GOOD + b"}", "not_json", ""),
        (GOOD + b"," + GOOD, "not_json", ""),
        (b"\xef\xbb\xbf" + GOOD, "not_json", ""),
        (GOOD.decode().encode("utf-16"), "not_json", ""),
        (b'{"model":"m","features":{"x":NaN}}', "not_json", ""),
        (b'{"model":"m","features":{"x":-Infinity}}', "not_json", ""),
        (b'{"model":"m","id":"\\ud800","features":{"x":1}}', "not_json", ""),
        (b'{"model":"m","features":{"\\ud800":1}}', "not_json", ""),
        (b'{"model":"m","id":"\xed\xa0\x80","features":{"x":1}}', "not_json", ""),
        (b'{"model":"m","prediction":{"a":' + b"[" * 60_000 + b"]" * 60_000 + b"}}", "too_deep", ""),
        (b"[" * 200_000, "too_deep", ""),
        (b"[]", "wrong_type", ""),
        (b"null", "wrong_type", ""),
        (b"17", "wrong_type", ""),
        (b'{"model":7,"features":{"x":1}}', "wrong_type", "model"),
        (b'{"model":"m","features":[1]}', "wrong_type", "features"),
        (b'{"model":"m","features":{"x":1},"id":true}', "wrong_type", "id"),
        (b'{"model":"m","features":{"x":1},"id":1.5}', "wrong_type", "id"),
        (b'{"model":"m","features":{"x":1},"ts":false}', "wrong_type", "ts"),
        (b'{"model":"m","features":{"x":1},"segment":5}', "wrong_type", "segment"),
        (b'{"model":"m","id":"a","label":[1]}', "wrong_type", "label"),
        (b'{"model":"m","prediction":[1]}', "wrong_type", "prediction"),
        (b'{"model":"m","prediction":{"label":[1]}}', "wrong_type", "prediction.label"),
        (b'{"model":"m","prediction":{"score":"high"}}', "wrong_type", "prediction.score"),
        (b'{"model":"m","prediction":{"score":true}}', "wrong_type", "prediction.score"),
        (b'{"model":"m","features":{"ok":1,"card":{"limit":5}}}', "nested", "features.card"),
        (b'{"model":"m","features":{"ok":1,"items":[1,2]}}', "nested", "features.items"),
        (b'{"model":"m","features":{"x":1e400}}', "out_of_range", "features.x"),
        (f'{{"model":"m","features":{{"x":{HUGE}}}}}'.encode(), "out_of_range", "features.x"),
        (f'{{"model":"m","features":{{"x":{"9" * 5000}}}}}'.encode(), "out_of_range", "features.x"),
        (f'{{"model":"m","id":"a","label":{HUGE}}}'.encode(), "out_of_range", "label"),
        (f'{{"model":"m","prediction":{HUGE}}}'.encode(), "out_of_range", "prediction"),
        (f'{{"model":"m","prediction":{{"score":-{HUGE}}}}}'.encode(), "out_of_range", "prediction.score"),
        (f'{{"model":"m","id":{HUGE},"features":{{"x":1}}}}'.encode(), "wrong_length", "id"),
        (b'{"model":"m","id":"","features":{"x":1}}', "wrong_length", "id"),
        (b'{"model":"m","id":"' + b"i" * 257 + b'","features":{"x":1}}', "wrong_length", "id"),
        (b'{"model":"m","segment":"' + b"s" * 129 + b'","features":{"x":1}}', "wrong_length", "segment"),
        (b'{"model":"m","model_version":"' + b"v" * 129 + b'","features":{"x":1}}', "wrong_length", "model_version"),
        (b'{"model":"m","features":{"":1}}', "wrong_name", "features."),
        (b'{"model":"m","features":{"' + b"n" * 129 + b'":1}}', "wrong_name", "features." + "n" * 40),
        (b'{"model":"m","features":{"a":1,"b":1,"c":1,"d":1,"e":1}}', "too_many_features", "features"),
        (_TOO_LONG, "too_large", ""),
        (_TWO_MEGABYTES, "too_large", ""),
        (b"{}", "missing", "model"),
        (b'{"features":{"x":1}}', "missing", "model"),
        (b'{"model":"","features":{"x":1}}', "missing", "model"),
        (b'{"model":"m"}', "missing", "features"),
        (b'{"model":"m","features":{}}', "missing", "features"),
        (b'{"model":"m","label":true}', "missing", "id"),
        (b'{"model":"m","label":null}', "missing", "id"),
        (b'{"model":"m","id":"a","label":null,"features":{"x":1}}', "ambiguous", "type"),
        (b'{"model":"m","id":"a","label":null,"prediction":true}', "ambiguous", "type"),
        (b'{"model":"m","id":"a","type":"label","prediction":true}', "missing", "label"),
        (b'{"model":"m","id":"a","label":"' + b"l" * 257 + b'"}', "wrong_length", "label"),
        (b'{"model":"m","prediction":"' + b"l" * 257 + b'"}', "wrong_length", "prediction"),
        (b'{"model":"m","prediction":{"label":"' + b"l" * 257 + b'"}}', "wrong_length", "prediction.label"),
        (b'{"model":"m","features":{"x":1},"client":""}', "wrong_length", "client"),
        (b'{"model":"m","features":{"x":1},"client":"' + b"c" * 129 + b'"}', "wrong_length", "client"),
        (b'{"model":"m","features":{"x":1},"client":' + b"1" * 129 + b"}", "wrong_length", "client"),
        (b'{"model":"m","features":{"x":1},"client":1.5}', "wrong_type", "client"),
        (b'{"model":"m","features":{"x":1},"client":{"name":"c"}}', "wrong_type", "client"),
        (b'{"model":"m","features":{"x":1},"entity":""}', "wrong_length", "entity"),
        (b'{"model":"m","features":{"x":1},"entity":"' + b"e" * 257 + b'"}', "wrong_length", "entity"),
        (b'{"model":"m","features":{"x":1},"entity":false}', "wrong_type", "entity"),
        (b'{"model":"m","features":{"x":1},"tags":["a"]}', "wrong_type", "tags"),
        (b'{"model":"m","features":{"x":1},"tags":"a"}', "wrong_type", "tags"),
        (b'{"model":"m","features":{"x":1},"tags":{"ok":1,"a":{"b":1}}}', "nested", "tags.a"),
        (b'{"model":"m","features":{"x":1},"tags":{"ok":1,"a":[1]}}', "nested", "tags.a"),
        (b'{"model":"m","features":{"x":1},"tags":{"":1}}', "wrong_name", "tags."),
        (b'{"model":"m","features":{"x":1},"tags":{"' + b"n" * 129 + b'":1}}', "wrong_name", "tags." + "n" * 40),
        (b'{"model":"m","features":{"x":1},"tags":{"a":1e400}}', "out_of_range", "tags.a"),
        (f'{{"model":"m","features":{{"x":1}},"tags":{{"a":{HUGE}}}}}'.encode(), "out_of_range", "tags.a"),
        (b'{"model":"m","features":{"x":1},"tags":{"a":"\xff"}}', "not_json", ""),
        (_answered(b"[1]"), "wrong_type", PROBABILITIES),
        (_answered(b"0.5"), "wrong_type", PROBABILITIES),
        (_answered(b'{"a":"1"}'), "wrong_type", PROBABILITIES + ".a"),
        (_answered(b'{"a":true}'), "wrong_type", PROBABILITIES + ".a"),
        (_answered(b'{"a":1,"b":null}'), "wrong_type", PROBABILITIES + ".b"),
        (_answered(b'{"a":1.5}'), "out_of_range", PROBABILITIES + ".a"),
        (_answered(b'{"a":1,"b":-0.001}'), "out_of_range", PROBABILITIES + ".b"),
        (_answered(b'{"a":' + HUGE.encode() + b"}"), "out_of_range", PROBABILITIES + ".a"),
        (_answered(b'{"a":1e400}'), "out_of_range", "prediction"),
        (b'{"model":"m","prediction":{"score":1e400}}', "out_of_range", "prediction"),
        (b'{"model":"m","features":{"a[...]b":{}}}', "nested", "features.a[...]b"),
        (_answered(b'{"a":0.5,"b":0.48}'), "wrong_sum", PROBABILITIES),
        (_answered(b'{"a":0.5,"b":0.52}'), "wrong_sum", PROBABILITIES),
        (_answered(b"{}"), "wrong_sum", PROBABILITIES),
        (_answered(b'{"":1}'), "wrong_name", PROBABILITIES + "."),
        (_answered(b'{"' + b"n" * 129 + b'":1}'), "wrong_name", PROBABILITIES + "." + "n" * 40),
        (_answered(orjson.dumps({str(number): 1 / 101 for number in range(101)})), "too_many_classes", PROBABILITIES),
        (b'{"model":"m","id":"a","type":"label"}', "missing", "label"),
        (b'{"model":"m","id":"a","label":true,"features":{"x":1}}', "ambiguous", "type"),
        (b'{"model":"m","id":"a","label":true,"prediction":false}', "ambiguous", "type"),
        (b'{"model":"m","features":{"x":1},"type":"forecast"}', "unknown_type", "type"),
        (b'{"model":"m","features":{"x":1},"v":2}', "unknown_version", "v"),
        (b'{"model":"other","features":{"x":1}}', "unknown_model", "model"),
        (b'{"specversion":"1.0","id":"a"}', "missing", "data"),
        (b'{"specversion":"1.0","data":null}', "wrong_type", "data"),
        (b'{"specversion":"1.0","data":"eyJ9"}', "wrong_type", "data"),
        (b'{"specversion":"1.0","data":{"specversion":"1.0","data":{}}}', "nested", "data"),
        (b'{"specversion":"1.0","data":{"model":"m","features":{"card":{}}}}', "nested", "data.features.card"),
        (b'{"specversion":"1.0","data":{"model":"\xff"}}', "not_json", "data"),
        (b'{"specversion":"1.0","data":{"model":7}}', "wrong_type", "data.model"),
        (b'{"specversion":"1.0","time":5,"data":{"model":"m","features":{"x":1}}}', "wrong_type", "time"),
        (b'{"specversion":"1.0","id":"","data":{"model":"m","features":{"x":1}}}', "wrong_length", "id"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: bytes | None, reason: str, path: str) -> None:
    """Every fault has a reason from the closed set and, where there is one, the path of the value."""
    found = fault(value)
    assert (found.reason, found.path) == (reason, path), found
    assert found.detail


def test_integers_that_no_format_holds_become_doubles() -> None:
    """64 bits stay exact, signed or unsigned; longer integers are the nearest double, so all that follows can store them."""
    values = {"a": 2**64 - 1, "b": -(2**63), "c": 2**64, "d": int(sys.float_info.max)}
    found = event(json.dumps({"model": "m", "features": values}).encode()).features
    assert found == {"a": 2**64 - 1, "b": -(2**63), "c": 2.0**64, "d": sys.float_info.max}
    assert [type(value) for value in found.values()] == [int, int, float, float]


def test_named_features_are_categories_whatever_they_look_like() -> None:
    """Numbers of features that the configuration calls categorical become their text; booleans and null stay."""
    for value, category in ((7, "7"), (7.5, "7.5"), (True, True), (None, None), ("x", "x"), (10**300, str(10**300))):
        assert event(json.dumps({"model": "c", "features": {"code": value}}).encode()).features["code"] == category


def test_numeric_ids_and_versions_are_their_decimal_text() -> None:
    """The id 7 of a prediction and the id "7" of its label are the same."""
    assert event({"model": "m", "id": 7, "features": {"x": 1}, "model_version": 3}).model_version == "3"
    assert event({"model": "m", "id": 7, "features": {"x": 1}}).id == event(label(id="7")).id == "7"


def test_the_last_of_equal_keys_counts() -> None:
    """Duplicate keys are no fault; as in most JSON readers the last one is taken."""
    found = event(b'{"model":"x","model":"m","features":{"a":1},"features":{"a":2,"a":3}}')
    assert (found.model, found.features) == ("m", {"a": 3})


def test_a_cloud_event_is_its_data_with_id_and_time_to_stand_in() -> None:
    """The envelope's id and time count where the event has none, and its type and other attributes do not."""
    envelope = {"specversion": "1.0", "type": "x", "source": "/s", "id": "e-1", "time": "2026-11-21T07:29:00Z"}
    bare = {"model": "m", "features": {"x": 1.5}, "prediction": True}
    found = event({**envelope, "data": bare})
    assert found == Event("prediction", 0, "m", NOW - 60, "e-1", "", {"x": 1.5}, True, None, None)
    own = event({**envelope, "data": {**bare, "id": "own", "ts": NOW}})
    assert (own.id, own.ts) == ("own", NOW)
    assert event({**envelope, "data": {"model": "m", "label": False}}).id == "e-1"


def test_a_tick_is_read_back() -> None:
    """The tick that the judge writes is an event of kind tick."""
    assert event(tick("m", 1234.5)) == Event("tick", 0, "m", 1234.5, None, "", {}, None, None, None)


def test_a_bad_record_harms_no_other() -> None:
    """Records that would run into each other if they were joined stay apart: each is judged by its own bytes."""
    values = [
        GOOD,
        b'{"model":"m","other":[{"x":1}',
        b'{"y":1}],"features":{"x":1}}',
        b"{},{}",
        b'{"a":"',
        b'","model":"m"}',
        GOOD,
    ]
    events, dead = decode(log_of(values), MODELS)
    assert [one.offset for one in events] == [0, 6]
    assert [letter.offset for letter in dead] == [1, 2, 3, 4, 5]


# -- whatever comes --------------------------------------------------------------------------------

_TEXT = st.text(max_size=8) | st.sampled_from(("m", "c", "label", "prediction", "tick", "x", "2026-11-21T07:30:00Z"))
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=8
)
_NAMES = (
    "v",
    "type",
    "id",
    "ts",
    "model",
    "model_version",
    "segment",
    "client",
    "entity",
    "tags",
    "features",
    "prediction",
    "label",
    "specversion",
    "time",
    "data",
    "junk",
)
_EVENTS = st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=6).map(lambda fields: {"model": "m", **fields})
_VALUES = st.one_of(
    st.none(),
    st.just(GOOD),
    st.binary(max_size=60),
    _JSON.map(lambda value: json.dumps(value).encode()),
    _EVENTS.map(lambda value: json.dumps(value).encode()),
    _EVENTS.map(lambda value: json.dumps({"specversion": "1.0", "id": "e", "data": value}, ensure_ascii=False).encode()),
    st.sampled_from((b"{},{}", b"{", b"}", b'"', b",", b'{"a":[{}', b"{}]}", b"NaN", b"\xff", b'{"model":"m","id":"\\ud800"}')),
    st.builds(lambda checkpoint, value: value[:checkpoint], st.integers(0, 40), st.just(GOOD)),
)


def _outcome(records: Sequence[Fetched]) -> tuple[list[Event], list[tuple[int, str, str, str]]]:
    events, dead = decode(records, MODELS)
    return events, [(one.offset, one.error.reason, one.error.path, one.error.detail) for one in dead]


@pytest.mark.slow
@effort(max_examples=600, deadline=None)
@given(st.lists(_VALUES, max_size=8))
def test_every_record_ends_once_and_by_itself(values: list[bytes | None]) -> None:
    """Nothing raises; each record is one event or one dead letter, in order, the same as if it had come alone."""
    records = [Fetched(value, 10 + 3 * number) for number, value in enumerate(values)]
    events, dead = _outcome(records)
    assert sorted([one.offset for one in events] + [one[0] for one in dead]) == [record.offset for record in records]
    assert [one.offset for one in events] == sorted(one.offset for one in events)
    assert [one[0] for one in dead] == sorted(one[0] for one in dead)
    alone = [_outcome([record]) for record in records]
    assert [one for found, _ in alone for one in found] == events
    assert [one for _, found in alone for one in found] == dead


@pytest.mark.slow
@effort(max_examples=600, deadline=None)
@given(st.one_of(_VALUES, st.binary(max_size=30).map(lambda junk: GOOD.replace(b'"a"', b'"' + junk + b'"'))))
def test_what_comes_out_can_be_stored_and_sent(value: bytes | None) -> None:
    """An event goes through MessagePack and JSON unchanged, a dead letter's headers are bytes of bounded length."""
    events, dead = decode([Fetched(value, topic="t.events", partition=3, offset=17)], MODELS)
    for found in events:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Event) == found
        assert orjson.loads(orjson.dumps(msgspec.to_builtins(found))) == msgspec.to_builtins(found)
        assert found.id is None or found.id.encode()
    for letter in dead:
        sent = dead_letter(KafkaSettings(prefix="t"), TP("t.events", 3), Fetched(value, 17), letter.error)
        headers = dict(sent.headers)
        assert sent.value == value
        assert headers[REASON] == letter.error.reason.encode()
        assert headers[SOURCE] == b"t.events/3/17"
        assert len(headers[PATH]) + len(headers[DETAIL]) < 4000
        assert CUT not in headers


def test_a_dead_letter_is_cut_only_where_no_message_could_hold_it() -> None:
    """A record of 2 MB is kept whole; one that was larger than any message before compression is cut and says so."""
    settings, error = KafkaSettings(prefix="t"), EventError("too_large", "", "too large")
    whole = dead_letter(settings, TP("t.events", 0), Fetched(b"x" * (2 << 20), key=b"k"), error)
    assert (whole.key, len(whole.value or b""), len(whole.headers)) == (b"k", 2 << 20, 4)
    for key, value in ((b"k", b"x" * (20 << 20)), (b"k" * (4 << 20), b"x"), (None, b"x" * (MAX_LETTER_BYTES + 1))):
        checkpoint = dead_letter(settings, TP("t.events", 0), Fetched(value, key=key), error)
        assert dict(checkpoint.headers)[CUT] == str(len(key or b"") + len(value)).encode()
        assert len(checkpoint.key or b"") + len(checkpoint.value or b"") < 1 << 20
        assert value.startswith(checkpoint.value or b"")


def test_dead_letters_know_their_offset() -> None:
    """A dead letter carries the offset of its record, not its place in the fetch."""
    assert [letter.offset for letter in decode([Fetched(GOOD, 40), Fetched(b"x", 41)], MODELS)[1]] == [41]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (b'{"x":NaN}', "send null"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"x":"\\uDC00"}', "in pairs only"),
    ],
)
def test_the_commonest_faults_come_with_the_way_out(value: bytes, hint: str) -> None:
    """NaN, a byte order mark and half a surrogate pair are told apart from other broken JSON."""
    assert hint in fault(value).detail
