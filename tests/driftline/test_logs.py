"""The log of a process: what is said once, and what is said each time."""

from __future__ import annotations

import logging

import pytest

from driftline.cli.logs import OncePerMinute

pytestmark = pytest.mark.fast


def _record(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, None)


def test_a_library_that_repeats_itself_is_heard_once_a_minute() -> None:
    """Twenty lines a second about one lost broker become one a minute, which says how many were held back."""
    now = 100.0
    only = OncePerMinute(lambda: now)
    template = "Unable connect to node with id %s: %s"
    heard = [only.filter(_record("aiokafka", template, 1, f"refused {number}")) for number in range(500)]
    assert heard == [True] + [False] * 499
    now += 60.0
    again = _record("aiokafka", template, 1, "refused")
    assert only.filter(again)
    assert again.getMessage() == "Unable connect to node with id 1: refused (and 499 more like it before)"


def test_another_message_and_another_logger_are_heard() -> None:
    """What is of another kind is not held back by the first."""
    only = OncePerMinute(lambda: 0.0)
    records = [_record("aiokafka", "a"), _record("aiokafka", "b"), _record("aiokafka.consumer.fetcher", "a")]
    assert [only.filter(record) for record in records] == [True, True, True]


def test_our_own_loggers_are_never_held_back() -> None:
    """Driftline's lines pass each time: they are bounded where they are written."""
    only = OncePerMinute(lambda: 0.0)
    assert all(only.filter(_record("driftline.worker", "again")) for _ in range(3))
