"""An outage in the log: its begin, a line a minute, its end."""

from __future__ import annotations

import doctest
import logging

import pytest

import retrainer.outage
from retrainer.outage import Outage
from tests.support.clock import Clock

pytestmark = pytest.mark.fast


def test_an_outage_is_logged_when_it_begins_every_minute_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Failures in between are silent, a success without an outage too, and the next outage begins anew."""
    clock = Clock(100.0)
    outage = Outage(logging.getLogger("test"), clock=clock)
    outage.over()
    for clock.now in (100.0, 130.0, 159.0, 160.0, 219.0, 221.0):
        outage.lasts("no Redis")
    clock.now = 225.0
    outage.over()
    clock.now = 226.0
    outage.lasts("no Kafka")
    assert [record.getMessage() for record in caplog.records] == [
        "no Redis; trying on, nothing is lost",
        "no Redis; for 60 s now, trying on",
        "no Redis; for 121 s now, trying on",
        "all neighbours are back after 125 s",
        "no Kafka; trying on, nothing is lost",
    ]


def test_the_pause_doubles_up_to_five_seconds_and_begins_anew_after_a_success() -> None:
    """A quarter of a second first, five seconds at most."""
    outage = Outage(logging.getLogger("test"), clock=Clock())
    assert [outage.lasts("away") for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    outage.over()
    assert outage.lasts("away") == 0.25


def test_the_example_in_the_docstring_holds() -> None:
    """The example of `retrainer.outage` gives what it shows."""
    found = doctest.testmod(retrainer.outage)
    assert found.attempted > 0
    assert found.failed == 0
