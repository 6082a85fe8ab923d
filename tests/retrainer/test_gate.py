"""The gate: exact, fair to equals, blind to order."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrainer.gate import decide, sign_test

pytestmark = pytest.mark.fast

LOSSES = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), max_size=60)
ERRORS = st.floats(0, 100, allow_nan=False)
PAIRS = st.lists(st.tuples(ERRORS, ERRORS), max_size=40)


def chance(wins: int, throws: int) -> Fraction:
    """Chance of at least `wins` heads, from the definition."""
    return sum((Fraction(math.comb(throws, heads), 2**throws) for heads in range(wins, throws + 1)), Fraction(0))


@given(st.integers(0, 80), st.integers(0, 80))
def test_the_p_value_is_the_exact_binomial_tail(wins: int, losses: int) -> None:
    """The p-value is the chance of so many wins with a fair coin, to the last bit."""
    assert sign_test(wins, losses) == float(chance(wins, wins + losses))


@pytest.mark.parametrize("max_error", [0.05, 0.01, 0.2, 0.003])
@pytest.mark.parametrize("differing", [1, 4, 5, 17, 75, 400])
def test_an_equal_candidate_is_promoted_no_more_often_than_allowed(max_error: float, differing: int) -> None:
    """Whatever the number of rows where they differ, luck promotes an equal candidate with chance at most `max_error`."""
    promoted = Fraction(0)
    for wins in range(differing + 1):
        candidate = [0.0] * wins + [1.0] * (differing - wins)
        if decide(candidate, [1.0 - loss for loss in candidate], max_error=max_error).promote:
            promoted += Fraction(math.comb(differing, wins), 2**differing)
    assert promoted <= Fraction(max_error)


@given(PAIRS, st.randoms())
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    """Shuffled rows give the same decision."""
    shuffled = list(pairs)
    random.shuffle(shuffled)
    first, second = (decide([new for new, _ in rows], [old for _, old in rows], max_error=0.05) for rows in (pairs, shuffled))
    assert first == second


@given(LOSSES)
def test_the_gate_is_symmetric(pairs: list[tuple[float, float]]) -> None:
    """Changing sides swaps wins and losses; both cannot be promoted, and the two chances overlap in the tie alone."""
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    forwards, backwards = decide(new, old, max_error=0.3), decide(old, new, max_error=0.3)
    assert (forwards.wins, forwards.losses) == (backwards.losses, backwards.wins)
    assert not (forwards.promote and backwards.promote)
    assert forwards.p_value + backwards.p_value >= 1.0


@given(LOSSES, st.integers(0, 50))
def test_rows_with_equal_losses_carry_no_evidence(pairs: list[tuple[float, float]], agreed: int) -> None:
    """Rows on which both lose the same change no p-value."""
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    more = decide(new + [1.0] * agreed, old + [1.0] * agreed, max_error=0.05)
    assert more.p_value == decide(new, old, max_error=0.05).p_value


@given(LOSSES)
def test_one_more_win_never_weakens_the_evidence(pairs: list[tuple[float, float]]) -> None:
    """A further row that only the candidate gets right never raises the p-value."""
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    assert decide([*new, 0.0], [*old, 1.0], max_error=0.05).p_value <= decide(new, old, max_error=0.05).p_value


def test_the_reason_says_the_numbers() -> None:
    """The reason can be read without the data: wins, rows that differ, p-value, limit."""
    decision = decide([0.0] * 61 + [1.0] * 14, [1.0] * 61 + [0.0] * 14, max_error=0.05)
    assert decision.promote
    assert decision.reason == "candidate right on 61 of 75 rows where they differ, p = 1.9e-08 <= 0.05"


def test_identical_models_are_not_swapped() -> None:
    """Without a row where they differ there is nothing to promote for."""
    decision = decide([1.0, 0.0], [1.0, 0.0], max_error=0.05)
    assert (decision.promote, decision.p_value) == (False, 1.0)


def test_nearer_on_most_rows_is_not_enough_when_the_mean_is_worse() -> None:
    """A regressor with a few huge errors is refused though it wins most rows."""
    decision = decide([0.9] * 50 + [1000.0], [1.0] * 51, max_error=0.05, verb="nearer")
    assert not decision.promote
    assert decision.p_value < 0.05
    assert "mean loss is larger" in decision.reason


def test_a_candidate_without_an_answer_is_refused() -> None:
    """An infinite loss (no answer) keeps a candidate out however often it wins."""
    decision = decide([0.1] * 50 + [math.inf], [1.0] * 50 + [math.inf], max_error=0.05)
    assert not decision.promote
    assert "no answer" in decision.reason


@pytest.mark.parametrize(("new", "old"), [([0.0], []), ([math.nan], [0.0]), ([-1.0], [0.0])])
def test_losses_that_cannot_be_compared_are_refused(new: list[float], old: list[float]) -> None:
    """Other rows, NaN and negative losses are programming errors, not decisions."""
    with pytest.raises(ValueError, match="expected losses"):
        decide(new, old, max_error=0.05)
