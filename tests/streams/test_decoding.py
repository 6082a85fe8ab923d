"""Two ways of reading a record: the learned one is quicker, and nobody can tell them apart by what comes out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.spec import ModelSpec
from detectors.windows.record import Mark, Window, WindowShape
from detectors.windows.windows import Windows
from streams.events.decoding import Decoded, Decoding
from streams.events.event import MAX_EVENT_BYTES
from streams.events.typed_records import row_of_event
from streams.events.wire import MAX_NESTING
from tests.support.records import NOW, NOW_MS, general

MODELS = {"m": ModelSpec("m", max_features=6), "c": ModelSpec("c", categorical=("code", "x")), "": ModelSpec("")}
SHAPES = {name: WindowShape(10.0, 5.0, max_features=4, max_segments=3, max_buffered_values=300) for name in MODELS}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63) - 1, 1 << 64, 1 << 70, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e308, 1e11, 1.5]),
    st.sampled_from(["", "red", "1.5", "nan", "x" * 70, "\u00e6", "true"]),
)
anything = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(["label", "score", "value", "other"]), scalars)
)
texts = st.sampled_from(["t" * 128, "\u00e6" * 129, "l" * 256, "l" * 257, "\u00e6" * 256, "\U0001f40d" * 257])
many_tags = st.sampled_from([{str(number): number for number in range(size)} for size in (20, 21)])
names = st.sampled_from(["x", "y", "code", "z", 'qu"ote', "tab\t", "", "n" * 129, "prediction.score", "w"])
#: Probabilities of a prediction: some that add up to 1, some that nearly do, and some that are none.
shares = st.one_of(
    st.dictionaries(names, st.sampled_from([0, 1, 0.5, 0.25, -0.0, 1.0]), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2),
    st.sampled_from(
        [{"a": 0.49, "b": 0.5}, {"a": 0.51, "b": 0.5}, {"a": 0.5, "b": 0.489}, {"a": 0.5, "b": 0.511}, {"a": 5e-324, "b": 1}]
    ),
    st.sampled_from([{str(number): 1 / size for number in range(size)} for size in (100, 101)]),
    scalars,
)
answers = st.fixed_dictionaries(
    {}, optional={"label": st.one_of(scalars, texts), "score": scalars, "value": scalars, "probabilities": shares}
)
times = st.one_of(
    st.none(),
    st.sampled_from(
        [NOW, NOW - 8, int(NOW), NOW_MS, NOW + 59, NOW + 61, -1, 1e300, 10**400, "2026-11-21T07:29:59Z", "now", True]
    ),
)


#: A record as an application sends it, now and then with another feature or a feature of another type.
good = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["m", "m", "c"]),
        "features": st.fixed_dictionaries(
            {},
            optional={
                "x": st.floats(-5, 5),
                "y": st.one_of(st.integers(-3, 3), st.none()),
                "code": st.sampled_from(["red", "blue", "", "true", None, "x" * 64]),
                "b": st.sampled_from([True, False, None]),
                "z": st.sampled_from([1.5, True, "red", "x" * 65]),
                "w": st.just(2),
            },
        ),
    },
    optional={
        "id": st.sampled_from(["a", "b", 7]),
        "prediction": st.sampled_from(
            [0.5, True, "yes", {"label": 3, "score": 0.25}, None, {"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}]
        ),
        "client": st.sampled_from(["web", 7, None]),
        "entity": st.sampled_from(["card-1", 1 << 70]),
        "tags": st.sampled_from([{}, {"app": "x", "try": 2}, {"b": True, "a": None, "r": 0.5}, {"big": 1 << 64}]),
        "segment": st.sampled_from(["eu", "us"]),
        "ts": st.sampled_from([NOW - 12, NOW - 3, NOW, "2026-11-21T07:29:41Z"]),
    },
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """One record: mostly good, with every field now and then of any kind, missing, twice, or in another order."""
    if draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from([b"", b"{", b"null", b"[]", b'{"model":"m"}', b'{},{"model":"m"}', b'"' * 5, b"\xff", b"1"]))
    if draw(st.booleans()):
        return json.dumps(draw(good)).encode()
    fields: dict[str, Any] = {"model": draw(st.sampled_from(["m", "m", "m", "c", "", "nobody's", 5]))}
    plain = draw(st.dictionaries(st.sampled_from(["x", "y"]), st.floats(-5, 5), max_size=2))
    fields["features"] = draw(st.one_of(st.just(plain), st.dictionaries(names, anything, max_size=7), anything))
    wild = {
        "ts": times,
        "segment": st.one_of(st.sampled_from(["", "eu", "us", "s" * 129]), anything),
        "id": st.one_of(st.sampled_from(["a", "", "i" * 257]), anything),
        "type": st.one_of(st.sampled_from(["prediction", "features", "label", "tick"]), anything),
        "prediction": st.one_of(anything, texts, answers),
        "label": st.one_of(anything, texts),
        "model_version": anything,
        "client": st.one_of(st.sampled_from(["", "c" * 128, "c" * 129, 10**127, 10**128]), anything),
        "entity": st.one_of(st.sampled_from(["", "e" * 256, "e" * 257]), anything),
        "v": st.sampled_from([1, 1.0, 2, None, "1", True]),
        "specversion": st.sampled_from(["1.0", None]),
        "tags": st.one_of(st.dictionaries(names, st.one_of(scalars, texts), max_size=4), many_tags, anything),
        "time": anything,
        "data": anything,
    }
    for name in draw(st.lists(st.sampled_from(sorted(wild)), max_size=4, unique=True)):
        fields[name] = draw(wild[name])
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)):
        del fields[name]
    pairs = draw(st.permutations(list(fields.items())))
    if pairs and draw(st.integers(0, 20)) == 0:
        pairs.append(draw(st.sampled_from(pairs)))
    return ("{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}").encode()


def read(decoding: Decoding, values: Sequence[bytes], first: int = 0) -> Decoded:
    """Return what a fetch of those records holds."""
    return decoding.decode(list(range(first, first + len(values))), [NOW_MS] * len(values), values)


def windows_of(decoded: Sequence[Decoded]) -> list[Window | Mark]:
    """Return what fetches make of windows, closed to the last, model by model."""
    windows = Windows("features", source=0, sources=1, shapes=SHAPES)
    written = [item for fetch in decoded for item in windows.add(fetch.blocks).records]
    end = [orjson.dumps({"type": "tick", "model": model, "ts": NOW + 50}) for model in MODELS if model]
    written += windows.add(read(Decoding(MODELS), end, first=10_000).blocks).records
    return sorted((item for item in written if isinstance(item, Window)), key=lambda item: (item.model, item.first))


def told(decoded: Sequence[Decoded]) -> tuple[list[Any], list[Any], dict[Any, list[int]]]:
    """Return events, dead letters and counts of some fetches as plain values."""
    events = [msgspec.to_builtins(event) for fetch in decoded for event in fetch.events()]
    dead = [(letter.offset, letter.error.reason, letter.error.path, letter.error.detail) for f in decoded for letter in f.dead]
    kinds: dict[Any, list[int]] = {}
    for fetch in decoded:
        for kind, offsets in fetch.kinds.items():
            kinds.setdefault(kind, []).extend(offsets.tolist())
    return events, dead, kinds


def told_generally(values: Sequence[bytes]) -> tuple[list[Any], list[Any]]:
    """Return events and dead letters of some records as plain values, each read by the rules of event.py alone."""
    events, dead = general(list(range(len(values))), [NOW_MS] * len(values), values, MODELS)
    return (
        [msgspec.to_builtins(event) for event in events],
        [(letter.offset, letter.error.reason, letter.error.path, letter.error.detail) for letter in dead],
    )


@given(
    st.lists(records(), max_size=12),
    st.lists(records(), min_size=1, max_size=25),
    st.integers(0, 25),
    st.fixed_dictionaries(
        {
            "streams.events.record_types._MOST_WORDS": st.sampled_from([0, 1, 3, 100]),
            "streams.events.record_types._WIDE": st.sampled_from([0, 2, 100]),
            "streams.events.decoding._LEAST_STRETCH": st.sampled_from([0, 1, 64]),
        }
    ),
)
def test_what_was_learned_changes_nothing(before: list[bytes], values: list[bytes], cut: int, limits: dict[str, int]) -> None:
    """Events, dead letters, counts and windows are the same, whatever the decoder has seen and however the log was fetched."""
    learned = Decoding(MODELS)
    with contextlib.ExitStack() as stack:
        for name, limit in limits.items():
            stack.enter_context(mock.patch(name, limit))
        for _ in range(2):
            read(learned, before)
        quick = [read(learned, values[:cut]), read(learned, values[cut:], first=len(values[:cut]))]
    one_by_one = [read(Decoding(MODELS), [value], first=place) for place, value in enumerate(values)]
    assert told(quick) == told(one_by_one)
    assert windows_of(quick) == windows_of(one_by_one)
    assert told(quick)[:2] == told_generally(values)
    assert len(told(quick)[0]) + len(told(quick)[1]) == len(values)


def test_records_of_a_known_shape_are_read_the_quick_way() -> None:
    """After one fetch the next one needs no event objects at all: it comes out as one block of columns."""
    values = [
        orjson.dumps({"model": "m", "features": {"x": float(n), "y": n, "code": "ab"[n % 2], "b": n < 5, "id": f"{n:064}"}})
        for n in range(50)
    ]
    decoding = Decoding(MODELS)
    with mock.patch("streams.events.record_types._MOST_WORDS", 10):
        read(decoding, values)
    (block,) = read(decoding, values).blocks
    assert block.columns.names == ("x", "y")
    assert block.columns.coded.names == ("code", "b")
    assert block.columns.coded.values == (("a", "b"), (False, True))
    assert block.columns.coded.codes.tolist() == [[0.0, 1.0] * 25, [1.0] * 5 + [0.0] * 45]
    assert set(block.columns.texts) == {"id"}
    assert not block.columns.others
    assert block.columns.numbers.tolist() == [list(map(float, range(50)))] * 2


def test_a_fault_in_one_record_does_not_slow_the_others_down() -> None:
    """The good records around a bad one stay one block; the bad one is a dead letter with its offset."""
    good = orjson.dumps({"model": "m", "features": {"x": 1.0}})
    decoding = Decoding(MODELS)
    read(decoding, [good])
    found = read(decoding, [good, b"{", good, b"x" * (MAX_EVENT_BYTES + 1), good])
    assert [letter.offset for letter in found.dead] == [1, 3]
    (block,) = found.blocks
    assert block.offsets.tolist() == [0, 2, 4]


def test_one_odd_record_leaves_the_others_their_columns() -> None:
    """A record that has to go the general way is a block between those of its neighbours, in the order of the log."""
    usual = orjson.dumps({"model": "m", "features": {"x": 1.0}})
    odd = orjson.dumps({"model": "m", "features": {"x": 1 << 63}})
    decoding = Decoding(MODELS)
    read(decoding, [usual])
    found = read(decoding, [usual] * 100 + [odd] * 2 + [usual] * 100)
    assert [len(block) for block in found.blocks] == [100, 2, 100]
    assert [int(block.offsets[0]) for block in found.blocks] == [0, 100, 102]
    assert [event.offset for event in found.events()] == list(range(202))


def test_a_null_says_nothing_of_what_is_to_come() -> None:
    """A feature that was null at first is read as what it turns out to be."""
    decoding = Decoding(MODELS)
    read(decoding, [orjson.dumps({"model": "m", "features": {"x": None, "code": None, "y": None}})] * 2)
    read(decoding, [orjson.dumps({"model": "m", "features": {"x": 1.0, "code": "a", "y": None}})])
    assert decoding._learned["m"].kinds == {"x": "number", "code": "word", "y": "number"}


@pytest.mark.parametrize(("depth", "reason"), [(MAX_NESTING, None), (MAX_NESTING + 1, "too_deep"), (5000, "too_deep")])
def test_how_deep_a_record_may_be_does_not_depend_on_who_asks(depth: int, reason: str | None) -> None:
    """Brackets inside each other are counted, read either way and however deep Python's own stack is."""
    inside = depth - 1
    value = b'{"model":"m","features":{"x":1.5},"other":' + b"[" * inside + b"]" * inside + b"}"
    decoding = Decoding(MODELS)
    read(decoding, [orjson.dumps({"model": "m", "features": {"x": 1.0}})])

    def reasons(left: int) -> list[str]:
        if left:
            return reasons(left - 1)
        return [letter.error.reason for way in (decoding, Decoding(MODELS)) for letter in read(way, [value]).dead]

    assert reasons(0) == reasons(300) == ([] if reason is None else [reason] * 2)


_DESCRIBED: dict[str, Any] = {
    "client": "web",
    "entity": 81,
    "tags": {"channel": "web", "attempt": 2, "beta": True, "none": None, "rate": 0.5},
    "prediction": {"label": "a", "score": 0.75, "probabilities": {"a": 0.75, "b": 0.25, "c": 0}},
}


def test_what_an_event_says_beside_its_features_is_read_the_quick_way() -> None:
    """Client, entity, tags and probabilities make no record slow, and both ways give them with the same types."""
    decoding = Decoding(MODELS)
    plain = {"model": "m", "id": "a", "features": {"x": 1.5}, "prediction": True}
    read(decoding, [orjson.dumps(plain)])
    described = read(decoding, [orjson.dumps({**plain, **_DESCRIBED})] * 3)
    assert not described._general
    (block,) = described.blocks
    assert set(block.columns.names) == {"x", "prediction.score"}
    (general,) = read(Decoding({"m": ModelSpec("m")}), [orjson.dumps({**plain, **_DESCRIBED})]).events()
    for event in (*described.events(), general):
        assert (event.client, event.entity) == ("web", "81")
        assert list((event.tags or {}).items()) == list(_DESCRIBED["tags"].items())
        assert event.probabilities == {"a": 0.75, "b": 0.25, "c": 0.0}
        assert set(map(type, event.probabilities.values())) == {float}
        assert (event.label, event.score) == ("a", 0.75)
    assert read(decoding, [orjson.dumps(plain)]).events()[0].tags is None


def test_a_label_that_is_null_is_read_the_quick_way() -> None:
    """A label that says that there will never be one is as quick as any other."""
    decoding = Decoding(MODELS)
    read(decoding, [orjson.dumps({"model": "m", "features": {"x": 1.5}})])
    found = read(
        decoding, [b'{"model":"m","id":"a","label":null,"client":"c"}', b'{"model":"m","type":"label","id":7,"label":null}']
    )
    assert not found._general
    assert [(event.kind, event.id, event.label, event.client) for event in found.events()] == [
        ("label", "a", None, "c"),
        ("label", "7", None, None),
    ]


def test_a_flood_of_new_names_does_not_make_types_without_end() -> None:
    """Names beyond `max_features` are read the general way, and are not kept in memory."""
    decoding = Decoding(MODELS)
    for number in range(300):
        read(decoding, [orjson.dumps({"model": "m", "features": {f"f{number}": 1.0}})])
    learned = decoding._learned["m"]
    assert len(learned.kinds) == MODELS["m"].max_features


def test_a_feature_that_never_runs_out_of_new_words_is_read_as_texts() -> None:
    """Beyond a hundred words no type is made for another one, and records with new texts go the quick way again."""
    decoding = Decoding(MODELS)
    values = [orjson.dumps({"model": "m", "features": {"slow": f"{n // 20}", "fast": f"{n}"}}) for n in range(1200)]
    for first in range(0, 1000, 10):
        read(decoding, values[first : first + 10])
    learned = decoding._learned["m"]
    assert learned.kinds == {"slow": "text", "fast": "text"}
    made = learned._types_made
    assert made < 32
    (block,) = read(decoding, values[1000:]).blocks
    assert set(block.columns.texts) == {"slow", "fast"}
    assert learned._types_made == made


def test_wide_records_in_another_order_are_read_as_dictionaries() -> None:
    """Senders that write a hundred names in different orders cost no search for each name, and one order costs no dictionary."""
    names = [f"f{number}" for number in range(100)]
    one = orjson.dumps({"model": "w", "features": dict.fromkeys(names, 1.5)})
    other = orjson.dumps({"model": "w", "features": dict.fromkeys(reversed(names), 2.5)})
    partly = orjson.dumps({"model": "w", "features": dict.fromkeys(names[10:], None)})
    decoding = Decoding({"w": ModelSpec("w")})
    for _ in range(3):
        read(decoding, [one, partly])
    assert not next(iter(decoding._by_type.values())).loose
    for _ in range(2):
        read(decoding, [one, other])
    assert next(iter(decoding._by_type.values())).loose
    (block,) = read(decoding, [one, other]).blocks
    assert block.rows_at(np.array([1, 0])).columns.numbers.tolist() == [[2.5, 1.5]] * 100
    new = orjson.dumps({"model": "w", "features": {"new": 1, **dict.fromkeys(names, 1.5)}})
    (block,) = read(decoding, [one, other, partly]).blocks
    assert block.row(0).values == dict.fromkeys(names, 1.5)
    assert block.row(1).values == dict.fromkeys(names, 2.5)
    assert block.row(2).values == dict.fromkeys(names[10:])
    assert "new" in read(decoding, [new]).events()[0].features
    assert "new" in decoding._learned["w"].kinds


def test_what_a_fetch_holds_can_be_asked_for_after_more_was_learned() -> None:
    """A record with a new feature changes what the next records are read with, not what was read before."""
    decoding = Decoding(MODELS)
    old, new = (
        {"model": "m", "id": "a", "prediction": 1.5, "features": features} for features in ({"x": 1.0}, {"a": 2.0, "x": 2.0})
    )
    read(decoding, [orjson.dumps(old)])
    found = read(decoding, [orjson.dumps(old), orjson.dumps(new)])
    assert [event.features for event in found.events()] == [{"x": 1.0}, {"a": 2.0, "x": 2.0}]


def test_rows_of_the_general_way_are_those_of_the_block() -> None:
    """A row read back from a block has the values of its event, numbers as doubles."""
    value = orjson.dumps(
        {"model": "m", "segment": "eu", "features": {"a": 1, "b": None, "c": "red", "d": True}, "prediction": 0.5}
    )
    (event,) = read(Decoding(MODELS), [value]).events()
    (block,) = read(Decoding(MODELS), [value]).blocks
    row = row_of_event(event)
    assert block.row(0) == row
    assert np.isnan(block.columns.numbers).sum() == 1
    decoding = Decoding(MODELS)
    read(decoding, [value])
    (block,) = read(decoding, [value]).blocks
    assert block.columns.coded.names == ("c", "d")
    assert block.row(0) == row


def test_names_that_never_come_again_cost_no_more_than_their_values() -> None:
    """Ten new names in each of a thousand events, or one of five hundred known ones, make no matrix that is mostly holes."""
    models = {"m": ModelSpec("m", max_features=500)}
    new = [orjson.dumps({"model": "m", "features": {f"f{number}-{of}": 1 for of in range(10)}}) for number in range(1000)]
    known = [orjson.dumps({"model": "m", "features": {f"f{number}": 1.0 for number in range(500)}})]
    one = [orjson.dumps({"model": "m", "features": {f"f{number % 500}": 1.0}}) for number in range(5000)]
    for before, values, wanted in ((known, new, 10_000), (known, one, 5000)):
        decoding = Decoding(models)
        read(decoding, before)
        blocks = read(decoding, values).blocks
        assert sum(len(block) for block in blocks) == len(values)
        assert sum(int(block.sizes.sum()) for block in blocks) == wanted
        assert sum(block.columns.numbers.size for block in blocks) < 100 * wanted
