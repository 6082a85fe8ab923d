"""The join against its rules: whatever owners do to a partition and its log, the outcomes are those of one record at a time.

DRIFTLINE_JOIN_LOGS=20000 takes so many logs, drawn at random, instead of a few hundred.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.join_owners import InLogOrder, key_without_end, played

pytestmark = pytest.mark.fast

_LOGS = int(os.environ.get("DRIFTLINE_JOIN_LOGS", "200"))
#: A planted bug is found within so many logs.
_SOON = 400


@pytest.mark.parametrize("part", range(4))
def test_outcomes_are_those_of_one_record_at_a_time(part: int, say: Callable[[str], None]) -> None:
    """Kills at every step, two owners, chunks written twice and compaction at any time change no outcome."""
    kills = outcomes = 0
    for seed in range(part, _LOGS, 4):
        wrong, world = played(seed)
        assert wrong == [], f"log {seed}: {wrong[:5]}"
        kills += world.kills
        outcomes += len(world.outcomes)
    say(f"{_LOGS // 4} logs, {kills} kills, {outcomes} outcomes with repeats, 0 differ")


@pytest.mark.parametrize(
    ("says", "bug"),
    [
        ("chunks are sent before outcomes", {"chunks_first": True}),
        ("the key of a chunk has no last offset", {"key": key_without_end}),
        ("chunks are loaded in the order of the log", {"kind": InLogOrder}),
    ],
)
def test_a_planted_bug_is_found(says: str, bug: dict[str, Any], say: Callable[[str], None]) -> None:
    """Each of the ways in which this is easily got wrong makes outcomes differ in one of a few hundred logs."""
    for seed in range(_SOON):
        if played(seed, **bug)[0]:
            say(f"{says}: found with log {seed}")
            return
    pytest.fail(f"{says}, and nothing differs in {_SOON} logs")
