"""Arrivals: a batch is taken for lost when it cannot come any more, and not before."""

from __future__ import annotations

import numpy as np
import pytest
from faust.types import TP

from streams.engine.lost_batches import QUIET_SECONDS, Arrivals
from streams.engine.transport import Reach
from streams.kafka.batch import Batch, RecordColumns
from tests.support.clock import Clock

pytestmark = pytest.mark.fast

HERE, THERE = TP("t.events", 0), TP("t.events", 1)


def batch(tp: TP, number: int) -> Batch:
    """Return a batch of one record."""
    return Batch(tp, 1, 0, [RecordColumns([0], np.array([1000]), [None], [b"x"])], number)


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock(100.0)


def test_a_later_batch_tells_that_an_earlier_one_is_lost(clock: Clock) -> None:
    """Batches of a topic come to an agent in the order of their numbers; those of other topics and agents say nothing."""
    arrivals = Arrivals(clock)
    lost = Reach(1, 1, 5, clock.now)
    with arrivals.at_work("a", batch(THERE, 5)), arrivals.at_work("a", batch(TP("t.windows", 0), 7)):
        assert not arrivals.all_came("a", "t.events", lost)
    with arrivals.at_work("a", batch(THERE, 6)):
        assert arrivals.all_came("a", "t.events", lost)
        assert not arrivals.all_came("b", "t.events", lost)


def test_silence_tells_that_nothing_is_on_its_way(clock: Clock) -> None:
    """Two seconds after the last fetch and the last batch nothing waits in a queue any more, unless somebody is at work."""
    arrivals = Arrivals(clock)
    lost = Reach(1, 1, 5, clock.now + 1.0)
    clock.now += 1.0 + QUIET_SECONDS
    assert not arrivals.all_came("a", "t.events", lost)
    clock.now += 0.1
    assert arrivals.all_came("a", "t.events", lost)
    with arrivals.at_work("b", batch(HERE, 4)):
        clock.now += 60.0
        assert not arrivals.all_came("a", "t.events", lost)
    assert not arrivals.all_came("a", "t.events", lost)
    clock.now += QUIET_SECONDS + 0.1
    assert arrivals.all_came("a", "t.events", lost)
