"""Answers as columns are the answers one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events.record_types import _Predicted, answer_columns, answer_of, probabilities_of

pytestmark = pytest.mark.fast

LABELS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.floats(allow_nan=False))
SCORES = st.one_of(st.just(msgspec.UNSET), st.none(), st.integers(-5, 5), st.floats(allow_nan=False))
PROBABILITIES = st.one_of(st.none(), st.just({"a": 1.0}))
OBJECTS = st.builds(_Predicted, label=LABELS, score=SCORES, value=st.one_of(st.none(), st.just(2.5)), probabilities=PROBABILITIES)


@given(st.one_of(st.lists(OBJECTS), st.lists(st.one_of(OBJECTS, LABELS))))
def test_columns_of_answers_are_the_answers_one_by_one(predictions: list[Any]):
    """Labels, scores and probabilities are those that each prediction has alone, whatever forms they come in."""
    labels, scores, probabilities = answer_columns(predictions)
    alone = [answer_of(one) for one in predictions]
    assert [(type(label), label) for label in labels] == [(type(label), label) for label, _ in alone]
    assert [None if score is None else float(score) for score in scores] == [score for _, score in alone]
    known = [probabilities_of(one) for one in predictions]
    assert (probabilities or [None] * len(predictions)) == known
    assert (probabilities is None) == (known.count(None) == len(known))
