"""The test files as a whole: which ones take long, and how many tests are fast."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.paths import ROOT

#: Files of half a minute or more, the longest first, as `make test ARGS="--durations=0"` shows.
LONG_FILES = (
    "test_smoke",
    "test_loop",
    "test_fault_points",
    "test_guards",
    "test_rebuild",
    "test_routing",
    "test_graceful_stop",
    "test_retrainer",
    "test_compose",
    "test_routing_worker",
    "test_replay",
    "test_backpressure",
    "test_readme",
    "test_cli",
    "test_watermarks",
    "test_servers",
    "test_model_monitor",
)
#: Share of the tests that are fast, at least: what `make test-fast` runs is worth running after every edit.
LEAST_FAST = 0.5
#: Of a whole collection, (fast tests, all tests); absent when only some files were collected.
COUNTED = pytest.StashKey[tuple[int, int]]()


def files_of_tests() -> set[str]:
    """Return the paths of all test files of the project, relative to its root."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}


def is_fast(test: pytest.Item) -> bool:
    """Return whether `make test-fast` runs a test: it or its file is marked fast, and it is not marked slow."""
    return test.get_closest_marker("fast") is not None and test.get_closest_marker("slow") is None


def counted(items: Sequence[pytest.Item]) -> tuple[int, int] | None:
    """Return how many of the tests are fast and how many there are, None unless they come from all test files."""
    collected = {item.path.relative_to(ROOT).as_posix() for item in items}
    if not files_of_tests() <= collected:
        return None
    return sum(is_fast(item) for item in items), len(items)
