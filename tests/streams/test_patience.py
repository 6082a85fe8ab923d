"""Patience: once a minute is logged, and pauses double."""

from __future__ import annotations

import pytest

from streams.patience import Backoff, LogLimit
from tests.support.clock import Clock

pytestmark = pytest.mark.fast


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


def test_a_kind_is_due_once_a_minute(clock: Clock) -> None:
    """The first message is due, those of the minute after it are not, and the next minute begins with the next message."""
    limit = LogLimit(clock=clock)
    due = []
    for clock.now in (0.0, 59.9, 60.0, 119.9, 200.0, 259.9):
        due.append(limit.due())
    assert due == [True, False, True, False, True, False]


def test_kinds_do_not_silence_each_other(clock: Clock) -> None:
    """A message of one kind leaves the minute of every other kind alone."""
    limit = LogLimit(clock=clock)
    assert [limit.due("kafka"), limit.due("redis"), limit.due("kafka")] == [True, True, False]


def test_what_was_reset_is_due_at_once(clock: Clock) -> None:
    """After a reset the next message of that kind is due, whatever was logged before, and other kinds still wait."""
    limit = LogLimit(clock=clock)
    limit.due("kafka"), limit.due("redis")
    limit.reset("kafka")
    limit.reset("never logged")
    assert [limit.due("kafka"), limit.due("redis")] == [True, False]


def test_pauses_double_up_to_the_longest() -> None:
    """The pause after none is the first; each later one is twice as long, and none exceeds the longest."""
    backoff, pause, pauses = Backoff(0.5, 3.0), 0.0, []
    for _ in range(5):
        pause = backoff.after(pause)
        pauses.append(pause)
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]
