"""What the smoke tests share: a skip where this machine lacks the servers that a benchmark starts."""

from __future__ import annotations

import pytest

from benchmarks.lanes.quick import missing
from tests.support.absent import absent


@pytest.fixture(scope="session")
def startable_servers() -> None:
    """Start nothing: a benchmark starts its own Kafka and Redis. A test is skipped where it could not."""
    if reason := missing(frozenset({"servers"})):
        absent(reason)
