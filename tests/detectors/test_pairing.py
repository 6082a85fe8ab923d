"""Pairing: what becomes of a prediction or a label, given what is kept of the two halves of its id."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.pairing.pairing import USING_UP, Half, Pairing, existing, half_of, in_order, kept_seconds, other, paired

WITHIN = 100.0


@dataclass(frozen=True)
class HalfEvent:
    """An event, as far as pairing looks at it."""

    ts: float


@dataclass(frozen=True)
class KeptHalf:
    """A half that is kept."""

    offset: int
    event: HalfEvent | None = None


def becomes(half: Half, ts: float, *, same: KeptHalf | None = None, partner: KeptHalf | None = None) -> Pairing:
    """Return what becomes of an event at offset 10."""
    return paired(half, HalfEvent(ts), 10, same=same, partner=partner, label_within_seconds=WITHIN)


@pytest.mark.parametrize("half", ["p", "l"])
def test_the_first_of_each_half_counts(half: Half) -> None:
    """An event whose half is kept from before is a duplicate, whether its partner came, waits or was used up."""
    for partner in (None, KeptHalf(4, HalfEvent(0.0)), KeptHalf(4)):
        for same in (KeptHalf(3, HalfEvent(0.0)), KeptHalf(3)):
            assert becomes(half, 1.0, same=same, partner=partner) is Pairing.DUPLICATE


@pytest.mark.parametrize("half", ["p", "l"])
def test_an_event_without_a_partner_waits(half: Half) -> None:
    """An event waits for its partner, read for the first time or again."""
    assert becomes(half, 1.0) is Pairing.WAITING
    assert becomes(half, 1.0, same=KeptHalf(10, HalfEvent(1.0))) is Pairing.WAITING


@pytest.mark.parametrize("half", ["p", "l"])
def test_a_record_that_is_read_again_makes_its_outcome_again(half: Half) -> None:
    """After a crash the same record makes the same outcome, as long as its partner was not used up."""
    assert becomes(half, 1.0, same=KeptHalf(10, HalfEvent(1.0)), partner=KeptHalf(4, HalfEvent(1.0))) is Pairing.JOINED
    assert becomes(half, 1.0, same=KeptHalf(10), partner=KeptHalf(4)) is Pairing.AGAIN


def test_the_time_from_prediction_to_label_counts() -> None:
    """A label within the time makes an outcome, one later makes none, whichever half came second; an early label is no fault."""
    for later, result in ((100.0, Pairing.JOINED), (100.1, Pairing.TOO_LATE), (-500.0, Pairing.JOINED)):
        assert becomes("l", later, partner=KeptHalf(4, HalfEvent(0.0))) is result
        assert becomes("p", 0.0, partner=KeptHalf(4, HalfEvent(later))) is result


def test_a_half_from_further_on_does_not_exist_yet() -> None:
    """What a run that crashed further on left behind is not seen by the events before it."""
    kept = KeptHalf(11, HalfEvent(0.0))
    assert existing(kept, 10) is None
    assert existing(kept, 11) is kept
    assert existing(None, 10) is None


def test_halves_have_their_kind_and_their_order() -> None:
    """A prediction is one half and a label the other; a pair is always prediction first."""
    assert (half_of("prediction"), half_of("label"), other("p"), other("l")) == ("p", "l", "l", "p")
    one, two = HalfEvent(1.0), HalfEvent(2.0)
    assert in_order("p", one, two) == in_order("l", two, one) == (one, two)


def test_halves_are_kept_two_days_longer_than_labels_may_take() -> None:
    """A half is kept while its partner may come, and two days more for an outage."""
    assert kept_seconds(WITHIN) == WITHIN + 172_800.0


@given(st.lists(st.tuples(st.sampled_from("pl"), st.floats(0.0, 300.0)), max_size=12))
def test_an_id_makes_one_outcome_at_most(events: list[tuple[Half, float]]) -> None:
    """However often predictions and labels of an id come, one pair is used up, and it is the first of each half."""
    kept: dict[Half, KeptHalf] = {}
    results = []
    for offset, (half, ts) in enumerate(events):
        same, partner = kept.get(half), kept.get(other(half))
        result = paired(half, HalfEvent(ts), offset, same=same, partner=partner, label_within_seconds=WITHIN)
        kept.setdefault(half, KeptHalf(offset, HalfEvent(ts)))
        if result in USING_UP:
            kept = {used: KeptHalf(of.offset) for used, of in kept.items()}
        results.append(result)
    assert sum(result in USING_UP for result in results) == (len({half for half, _ in events}) == 2)
    assert Pairing.AGAIN not in results
