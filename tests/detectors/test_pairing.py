"""Pairing: many records at once and one at a time say the same; sizes, hash collisions and the sample."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.pairing import pairing
from detectors.pairing.bounds import ROW_BYTES, Bounds, Look, limit
from detectors.pairing.columns import LABEL, PREDICTION, Halves, What
from detectors.pairing.keys import keys_of
from detectors.pairing.pairing import take
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.partition import BrokerClock, PartitionPairs
from detectors.pairing.stretch import TakenStretch
from detectors.pairing.table import RowTable, firsts
from detectors.pairing.taken import Pairing, TakenPairs
from detectors.pairing.values import NULL, UNKNOWN, Boxes, Words, with_codes, word_codes

pytestmark = pytest.mark.fast

_VALUES = st.one_of(
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.floats(allow_nan=False),
    st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([1 << 49, (1 << 49) - 1, -(1 << 49), -(1 << 49) - 1, 0, 1, "1", 1.0, "true"]),
)


def predictions(keys: Any, offsets: Any, *, ts: Any = 0.0, checks: Any = 0) -> np.ndarray:
    """Return predictions."""
    rows = np.zeros(len(keys), PREDICTION)
    rows["key"], rows["offset"], rows["ts"], rows["check"] = keys, offsets, ts, checks
    rows["truth"] = UNKNOWN
    return rows


def labels(keys: Any, offsets: Any, *, ts: Any = 1.0, truths: Any = 8, checks: Any = 0) -> np.ndarray:
    """Return labels."""
    rows = np.zeros(len(keys), LABEL)
    rows["key"], rows["offset"], rows["ts"], rows["truth"], rows["check"] = keys, offsets, ts, truths, checks
    return rows


def many_keys(n: int, seed: int = 1) -> np.ndarray:
    """Return different keys."""
    return np.unique(np.random.default_rng(seed).integers(1, 2**64 - 1, 2 * n + 10, dtype=np.uint64))[:n]


# -- values ----------------------------------------------------------------------------------------


@effort(max_examples=300)
@given(st.lists(_VALUES, max_size=20))
def test_a_value_comes_back_from_its_number_with_its_type(values: list[Any]) -> None:
    """Every value is one number, at once or alone; -0.0 comes back as 0.0, the only other bits."""
    boxes = Boxes()
    boxed = boxes.boxed(values)
    assert boxed.tolist() == [boxes.box(value) for value in values]
    back = boxes.values_of(boxed)
    assert [(type(value), value) for value in back] == [(type(value), value) for value in values]
    assert all(math.copysign(1.0, value) == 1.0 for value in back if value == 0 and isinstance(value, float))


@given(_VALUES, _VALUES)
def test_numbers_are_equal_where_values_of_one_type_are(one: Any, other: Any) -> None:
    """True, 1, 1.0 and "1" are four values."""
    boxes = Boxes()
    assert (boxes.box(one) == boxes.box(other)) == ((type(one), one) == (type(other), other))


def test_what_is_no_number_is_null_and_no_value_looks_like_no_label() -> None:
    """NaN has no meaning of its own; `UNKNOWN` is the number of no value."""
    boxes = Boxes()
    assert boxes.boxed([float("nan"), None]).tolist() == [int(NULL)] * 2
    assert boxes.values_of(np.array([UNKNOWN])) == [None]


@given(st.lists(_VALUES, max_size=20), st.lists(st.text(max_size=3), max_size=5))
def test_numbers_are_carried_to_other_boxes_with_their_words(values: list[Any], known: list[str]) -> None:
    """What refers to words of one object is translated to those of another, which knows others already."""
    mine, theirs = Boxes(), Boxes()
    theirs.boxed(known)
    boxed = mine.boxed(values)
    old = word_codes(boxed)
    words = mine.words.values_of(old.tolist())
    new = np.array([theirs.words.code(word) for word in words], np.int64)
    assert list(map(repr, theirs.values_of(with_codes(boxed, old, new)))) == list(map(repr, mine.values_of(boxed)))


def test_words_that_are_forgotten_give_their_numbers_away() -> None:
    """Those that are kept stay what they are."""
    words: Words[str] = Words()
    words.codes(list("abcd"))
    words.keep(np.array([1, 3]))
    assert (len(words), words.values_of([1, 3])) == (2, ["b", "d"])
    assert sorted(words.codes(["x", "y"]).tolist()) == [0, 2]
    assert words.code("b") == 1


# -- keys, index, table ----------------------------------------------------------------------------


def test_keys_follow_from_id_and_seed_alone() -> None:
    """The same id has the same key in any company; another seed gives others; no key is 0."""
    ids = [f"id-{number}" for number in range(10_000)]
    keys, checks = keys_of(ids, 7)
    assert keys_of(ids[5:6], 7)[0][0] == keys[5]
    assert len(np.unique(keys)) == len(ids)
    assert keys.all()
    assert not (keys_of(ids, 8)[0] == keys).any()
    assert len(np.unique(checks)) > 9_990
    # The parts of a key that choose its place and its level are spread evenly.
    assert abs((keys < limit(1)).mean() - 0.5) < 0.03
    assert abs(((keys & np.uint64(0x80000000)) > 0).mean() - 0.5) < 0.03


def _row(key: int, check: int, offset: int) -> np.ndarray:
    return labels([key], [offset], checks=[check])


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(1, 400), max_size=60, unique=True)),
        st.tuples(st.just("release"), st.lists(st.integers(1, 400), max_size=60, unique=True)),
        st.tuples(st.just("many"), st.lists(st.integers(1_000, 1_000_000), min_size=1, max_size=1)),
    ),
    max_size=30,
)


@effort(max_examples=150)
@given(_STEPS)
def test_a_table_is_a_dictionary(steps: list[tuple[str, list[int]]]) -> None:
    """Rows are found by key and check through adding, giving back, and using slots again, also while the index grows."""
    table, known = RowTable(LABEL), {}
    spread = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        for number, (what, drawn) in enumerate(steps):
            names = list(range(drawn[0], drawn[0] + 700)) if what == "many" else drawn
            keys = np.array(names, np.uint64) * spread
            if what == "release":
                keys = np.array([key for key in keys.tolist() if key in known], np.uint64)
                table.release(table.find(keys, np.zeros(len(keys), np.uint32)))
                for key in keys.tolist():
                    del known[key]
            else:
                keys = np.array([key for key in keys.tolist() if key not in known], np.uint64)
                table.add(labels(keys, np.full(len(keys), number)))
                known |= dict.fromkeys(keys.tolist(), number)
            every = np.array([*known, *(key + 1 for key in list(known)[:50])], np.uint64)
            slots = table.find(every, np.zeros(len(every), np.uint32))
            assert table.rows["offset"][slots[: len(known)]].tolist() == list(known.values())
            assert (slots[len(known) :] == -1).all()
            for key in list(known)[:3]:
                assert table.find_one(key, 0) == table.find(np.array([key], np.uint64), np.zeros(1, np.uint32))[0]
    assert table.count == len(known) == len(table.taken())


@pytest.mark.parametrize("n", [0, 1, 65_535, 65_536, 200_000])
def test_tables_of_any_size_find_their_rows_while_they_grow(n: int) -> None:
    """At the borders of 16 bits, and with two arrays at a time, nothing is missing and nothing else is found."""
    keys = many_keys(n)
    table, grew = RowTable(LABEL), False
    for low in range(0, n, 3_000):
        some = keys[low : low + 3_000]
        table.add(labels(some, np.arange(low, low + len(some))))
        if table.growing:
            grew = True
            assert (table.find(keys[: low + len(some)], np.zeros(low + len(some), np.uint32)) >= 0).all()
    assert table.find(keys, np.zeros(n, np.uint32)).tolist() == list(range(n))
    assert (table.find(many_keys(1000, 9), np.zeros(1000, np.uint32)) == -1).all()
    assert grew or n < 100_000


def test_outcomes_are_the_same_while_the_index_has_two_arrays() -> None:
    """Pairs made by labels that come while entries are moved are those of one record at a time."""
    n = 120_000
    keys, pairs, grew, found = many_keys(n), ModelPairs(within=1e9), 0, 0
    for low in range(0, n, 2_000):
        some = keys[low : low + 2_000]
        take(pairs, Halves(predictions(some, np.arange(2 * low, 2 * low + 4_000, 2))))
        grew += pairs.waiting.growing
        early = keys[: low + 2_000 : 97]
        taken = take(pairs, Halves(labels=labels(early, np.full(len(early), 2 * low + 4_001), truths=low + 16)))
        found += len(taken.pairs)
        assert (np.sort(taken.pairs["key"]) == early).all()
    assert grew
    assert found == sum(len(keys[: low + 2_000 : 97]) for low in range(0, n, 2_000))


def test_ids_of_one_key_are_kept_apart_by_their_check() -> None:
    """Two ids whose keys of 64 bits are equal never share a label; the second of them is not kept for a label of the first."""
    for short in (0, 100):
        pairs = ModelPairs(within=1e9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairing, "_SHORT", short)
            take(pairs, Halves(predictions([5], [0], checks=1)))
            assert len(take(pairs, Halves(labels=labels([5], [1], checks=2))).pairs) == 0
            taken = take(pairs, Halves(labels=labels([5], [2], checks=1)))
        assert taken.pairs["check"].tolist() == [1]


def test_firsts_are_the_first_of_each_key() -> None:
    """Places grow; a column of different keys needs none."""
    assert firsts(np.array([3, 1, 2], np.uint64)) is None
    assert (firsts(np.array([3, 1, 3, 1, 2], np.uint64)) == np.array([0, 1, 4])).all()


# -- many of everything ----------------------------------------------------------------------------


def _seconds_of(n: int) -> tuple[float, TakenPairs]:
    pairs = ModelPairs(within=1e9)
    take(pairs, Halves(predictions([5], [0])))
    told = labels(np.full(n, 5, np.uint64), np.arange(1, n + 1), truths=np.arange(n) % 3 + 16)
    began = time.process_time()
    taken = take(pairs, Halves(labels=told))
    return time.process_time() - began, taken


def test_a_million_labels_of_one_id_take_linear_time() -> None:
    """Ten times the labels take no more than some thirty times as long, and each corrects the one before."""
    few, _ = min((_seconds_of(100_000) for _ in range(3)), key=lambda one: one[0])
    many, taken = _seconds_of(1_000_000)
    assert len(taken.pairs) == 1_000_000
    assert (taken.pairs["was"][1:] == taken.pairs["truth"][:-1]).all()
    assert taken.counts == {Pairing.JOINED: 1, Pairing.CORRECTED: 999_999}
    assert many < 30 * few + 1.0


def test_more_words_than_16_bits_are_kept_and_forgotten() -> None:
    """More than 65,535 different texts stand for themselves, through what is stored; those of nobody are forgotten."""
    n = 70_000
    partition = PartitionPairs({"m": 1e9}, most_bytes=10**9)
    pairs = partition.models["m"]
    pairs.whats.code(What())
    rows = predictions(many_keys(n), np.arange(n))
    texts = [f"answer {number}" for number in range(n)]
    rows["answer"] = pairs.boxes.boxed(texts)
    partition.take({"m": Halves(rows)}, BrokerClock(np.arange(n), np.zeros(n)))
    (stretch,) = partition.stored(0, n)
    other = PartitionPairs({"m": 1e9}, most_bytes=10**9)
    other.models["m"].boxes.words.codes(["something", "else"])
    other.load(stretch)
    held = other.models["m"].waiting.rows[other.models["m"].waiting.find(rows["key"], rows["check"])]
    assert other.models["m"].boxes.values_of(np.ascontiguousarray(held["answer"])) == texts
    pairs.boxes.words.codes([f"of nobody {number}" for number in range(2 * n)])
    pairs.forget_words()
    assert len(pairs.boxes.words) == n


# -- bounds and the sample -------------------------------------------------------------------------


def test_rows_die_by_both_clocks() -> None:
    """Neither the clock of the broker nor event time alone lets a row expire."""
    for clock, newest, floor in ((200.0, 50.0, 0), (50.0, 200.0, 0), (200.0, 200.0, 16), (101.0, 101.0, 16), (100.0, 100.0, 0)):
        bounds = Bounds(100.0, every=16)
        bounds.look(Look(16, 0.0, 0.0))
        bounds.look(Look(32, clock, newest))
        assert bounds.floor == floor
        assert bounds.alive(np.array([5, 5], np.uint64), np.array([15, 16])).tolist() == [floor == 0, True]


def test_bytes_are_counted_until_rows_die() -> None:
    """The count is that of the rows that are neither expired nor beyond the level."""
    keys = many_keys(1000)
    bounds = Bounds(100.0, every=16)
    bounds.add(keys, np.arange(1000))
    assert bounds.total == 1000 * ROW_BYTES
    bounds.set_level(1000, 2)
    assert bounds.total == int((keys < limit(2)).sum()) * ROW_BYTES
    bounds.raise_floor(512)
    assert bounds.total == int((keys[512:] < limit(2)).sum()) * ROW_BYTES
    assert bounds.share(np.array([600, 1000])) is not None


def _sampled(cut: int, n: int = 40_000) -> list[tuple[int, float, bool]]:
    """Return (source, share, truth) of outcomes of a log that is too large for its bound, taken in fetches of that size."""
    partition = PartitionPairs({"m": 1e9}, most_bytes=ROW_BYTES * 1500, look_every=256)
    keys = keys_of([f"i{number}" for number in range(n)], 3)[0]
    found: list[tuple[int, float, bool]] = []
    for low in range(0, 2 * n, cut):
        offsets = np.arange(low, min(low + cut, 2 * n))
        # Each prediction is followed by its label 2,000 records later.
        made, told = offsets[offsets % 2 == 0], offsets[(offsets % 2 == 1) & (offsets > 2_000)]
        rows = predictions(keys[made // 2], made, ts=made.astype(float))
        answers = labels(keys[(told - 2_000) // 2], told, ts=told.astype(float), truths=np.where((told // 2) % 3 == 0, 17, 16))
        for _, taken in partition.take({"m": Halves(rows, answers)}, BrokerClock(offsets, offsets.astype(float))):
            share = np.ones(len(taken.pairs)) if taken.share is None else taken.share
            truths = (taken.pairs["truth"] == 17).tolist()
            found += zip(taken.pairs["source"].tolist(), share.tolist(), truths, strict=True)
    return found


def test_a_sample_is_the_same_whatever_the_fetches() -> None:
    """Two deployments with other fetches join the same ids and say the same share."""
    assert _sampled(3_000, 6_000) == _sampled(77, 6_000)


def test_sums_divided_by_the_share_are_right_within_their_error() -> None:
    """Each outcome stands for `1 / share` of them: counts and sums estimated so are those of all, within four standard errors."""
    found = _sampled(3_000)
    share = np.array([one for _, one, _ in found])
    truth = np.array([one for _, _, one in found])
    assert share.min() < 1.0
    joined = 40_000 - 1_000
    for values, whole in ((np.ones(len(share)), joined), (truth, joined / 3)):
        error = math.sqrt(float((values**2 * (1 - share) / share**2).sum()))
        assert abs(float((values / share).sum()) - whole) < 4 * error + 2


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 2000))
def test_pieces_of_a_stretch_load_to_the_same_state(kinds: list[int], most_bytes: int) -> None:
    """However small the pieces, loading them in order is loading the whole."""
    partition = PartitionPairs({"m": 1e9}, most_bytes=10**9, look_every=8)
    partition.models["m"].whats.code(What())
    partition.models["m"].clients.code(None)
    offsets = np.arange(len(kinds))
    keys = np.array(kinds, np.uint64) * np.uint64(77) + np.uint64(1)
    halves = Halves(predictions(keys[::2], offsets[::2]), labels(keys[1::2], offsets[1::2], truths=offsets[1::2] + 16))
    partition.take({"m": halves}, BrokerClock(offsets, offsets.astype(float)))
    (whole,) = partition.stored(0, len(kinds))
    pieces = whole.split(most_bytes)
    assert [pieces[0].start, *(one.end for one in pieces)] == [*(one.start for one in pieces), len(kinds)]
    assert _state([whole]) == _state(pieces)


def _state(stretches: list[TakenStretch]) -> Any:
    partition = PartitionPairs({"m": 1e9}, most_bytes=10**9, look_every=8)
    for stretch in stretches:
        partition.load(stretch)
    pairs = partition.models["m"]
    return (
        np.sort(pairs.waiting.rows[pairs.waiting.taken()], order="offset").tolist(),
        np.sort(pairs.early.rows[pairs.early.taken()], order="offset").tolist(),
        (pairs.bounds.total, pairs.bounds.floor, pairs.bounds.looks, pairs.bounds.levels, partition.seen, pairs.newest),
    )
