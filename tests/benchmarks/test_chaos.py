"""The chaos benchmark can say what is not exact, and ends everything it started when it is interrupted.

That every scenario is exact is a check of the quick lane.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.exactness.chaos import account
from benchmarks.exactness.chaos.evidence import Copies, Evidence, judged_windows
from benchmarks.exactness.chaos.expected import ExpectedResults, expected
from benchmarks.exactness.chaos.log import BEGIN, InputLog, input_log
from benchmarks.exactness.chaos.monitors import WINDOW_SECONDS
from detectors.windows.record import Mark, Window
from streams.kafka import Record
from streams.records import window_records
from streams.settings import KafkaSettings
from tests.support.paths import ROOT


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.usefixtures("startable_servers")
def test_ctrl_c_ends_every_process() -> None:
    """Interrupted in the middle of its work it ends with 130, and so does everything it has started."""
    deadline = time.monotonic() + 180
    chaos = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos", "--quick", "--only", "zombie"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        while len(children := _children(chaos.pid)) < 3:  # the broker, Redis and a worker
            assert time.monotonic() < deadline
            assert chaos.poll() is None
            time.sleep(0.1)
        chaos.send_signal(signal.SIGINT)
        assert chaos.wait(60) == 130
    finally:
        chaos.kill()
    while left := [child for child in children if Path(f"/proc/{child}").exists()]:  # the kernel ends what was just being started
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


# -- the account can tell ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> InputLog:
    """A small log."""
    return input_log(5, partitions=2, windows=60, rows=10)


@pytest.fixture(scope="module")
def wanted(log: InputLog) -> ExpectedResults:
    """What has to come of it."""
    return expected(log)


def _alert(identity: str, **data: Any) -> tuple[str, tuple[bytes | None, ...]]:
    return identity, (b"fraud", json.dumps({"id": identity, "data": data}).encode() + b" ")


@pytest.fixture
def perfect(log: InputLog, wanted: ExpectedResults) -> Evidence:
    """What a run leaves behind that did everything right, with an incident for each known drift."""
    alerts = []
    for number, drift in enumerate(log.drifts):
        told = {
            "incident": f"incident-{number}",
            "status": "opened",
            "model": drift.model,
            "segment": drift.segment,
            "raised_at": BEGIN + (drift.first + 2) * WINDOW_SECONDS,
            "features": [{"feature": drift.feature}],
        }
        alerts.append(_alert(f"alert-{number}", **told))
    return Evidence(
        alerts=Copies.of(alerts),
        retrains=Copies.of([("request", (b"fraud", b"{}"))]),
        outcomes=Copies.of((place, (b"key", str(place).encode())) for place in wanted.outcomes),
        dead=Copies.of(
            (f"events/{partition}/{offset}", (reason.encode(), key, value))
            for (partition, offset), (reason, key, value) in wanted.dead.items()
        ),
        windows={key: (n, f"{key} {n}".encode()) for key, n in wanted.windows.items()},
        unjudged=frozenset(),
        window_repeats=0,
        ticks=0,
    )


def _verdict(found: Evidence, perfect: Evidence, log: InputLog, wanted: ExpectedResults) -> list[str]:
    differences = [
        *account.against_log(found, wanted),
        *account.missed_drifts(found, log.drifts),
        *account.against_reference(found, perfect),
    ]
    return [str(difference) for difference in differences]


def test_a_perfect_run_has_no_difference(perfect: Evidence, log: InputLog, wanted: ExpectedResults) -> None:
    """Nothing is said of a run that left what it had to, and the log has late rows, open rows and dead letters to judge it by."""
    assert _verdict(perfect, perfect, log, wanted) == []
    assert wanted.dead
    assert min(wanted.late["features"], wanted.late["outcomes"], wanted.open["features"], wanted.open["outcomes"]) > 0


def test_a_repeat_is_counted_and_no_difference(perfect: Evidence, log: InputLog, wanted: ExpectedResults) -> None:
    """The same bytes once more are a repeat."""
    again = replace(perfect, alerts=_copied(perfect.alerts, "alert-0"))
    assert _verdict(again, perfect, log, wanted) == []
    assert account.repeats(again)["alerts"] == 1
    assert account.repeats(perfect).total() == 0


def _copied(copies: Copies[Any], name: Any) -> Copies[Any]:
    return Copies({**copies.found, name: Counter({content: 2 * count for content, count in copies.found[name].items()})})


def _without(copies: Copies[Any], name: Any = None) -> Copies[Any]:
    gone = next(iter(copies.found)) if name is None else name
    return Copies({key: content for key, content in copies.found.items() if key != gone})


def _altered(copies: Copies[Any]) -> Copies[Any]:
    """Change the last byte of the first record, an alert's into one that still is JSON."""
    name, of = next(iter(copies.found.items()))
    (*head, value), count = next(iter(of.items()))
    changed = (value or b"")[:-1] + (b"\n" if (value or b"")[-1:] == b" " else b"!")
    return Copies({**copies.found, name: Counter({(*head, changed): count})})


def _both(copies: Copies[Any]) -> Copies[Any]:
    """Repeat the first record with other bytes."""
    name = next(iter(copies.found))
    return Copies({**copies.found, name: copies.found[name] + _altered(copies).found[name]})


def _window(found: Evidence, change: Callable[[int, bytes], tuple[int, bytes] | None]) -> dict[Any, tuple[int, bytes]]:
    key = next(iter(found.windows))
    changed = change(*found.windows[key])
    rest = {one: content for one, content in found.windows.items() if one != key}
    return rest if changed is None else {**rest, key: changed}


_DOCTORED: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "an alert is missing": (lambda found: replace(found, alerts=_without(found.alerts)), "1 alerts missing: alert-0"),
    "an alert is too many": (
        lambda found: replace(found, alerts=Copies({**found.alerts.found, "new": Counter()})),
        "1 alerts too many: new",
    ),
    "a byte of an alert": (lambda found: replace(found, alerts=_altered(found.alerts)), "1 alerts with other bytes: alert-0"),
    "an alert says two things": (
        lambda found: replace(found, alerts=_both(found.alerts)),
        "1 alerts were repeated with other bytes: alert-0",
    ),
    "no incident for a drift": (
        lambda found: replace(found, alerts=_without(found.alerts, "alert-1")),
        "1 known drifts in no incident: Drift(model='churn'",
    ),
    "a request is missing": (
        lambda found: replace(found, retrains=_without(found.retrains)),
        "1 retrain requests missing: request",
    ),
    "a byte of a request": (
        lambda found: replace(found, retrains=_altered(found.retrains)),
        "1 retrain requests with other bytes: request",
    ),
    "an outcome is missing": (lambda found: replace(found, outcomes=_without(found.outcomes)), "1 outcomes missing: ("),
    "a byte of an outcome": (lambda found: replace(found, outcomes=_altered(found.outcomes)), "1 outcomes with other bytes: ("),
    "a window is missing": (
        lambda found: replace(found, windows=_window(found, lambda _n, _content: None)),
        "1 windows missing: (",
    ),
    "a row is counted twice": (
        lambda found: replace(found, windows=_window(found, lambda n, content: (n + 1, content))),
        "rows of features of",
    ),
    "a byte of a window": (
        lambda found: replace(found, windows=_window(found, lambda n, content: (n, content + b"!"))),
        "1 window bytes differ: (",
    ),
    "a window nobody judged": (
        lambda found: replace(found, unjudged=frozenset([min(found.windows)])),
        "1 windows came after their own mark and were never judged: (",
    ),
    "a dead letter is missing": (lambda found: replace(found, dead=_without(found.dead)), "1 dead letters missing: events/"),
    "a dead letter was changed": (
        lambda found: replace(found, dead=_altered(found.dead)),
        "1 dead letters are not the event with its reason: events/",
    ),
    "a good event is dead": (
        lambda found: replace(found, dead=Copies({**found.dead.found, "events/0/0": Counter()})),
        "1 dead letters too many: events/0/0",
    ),
}


@pytest.mark.parametrize("doctored", _DOCTORED)
def test_whatever_is_wrong_is_named(doctored: str, perfect: Evidence, log: InputLog, wanted: ExpectedResults) -> None:
    """A result that is not exact in one place is not exact, and the account names the place."""
    change, said = _DOCTORED[doctored]
    assert any(said in line for line in _verdict(change(perfect), perfect, log, wanted))


def test_a_window_counts_once_and_only_before_its_mark() -> None:
    """The first part of a window is the judged one, others are repeats; one that first comes after its mark was never judged."""

    def window(start: float, n: int) -> Window:
        return Window("m", "", "features", 0, start, 10.0, 1, n, n, {})

    written = [
        window(0.0, 3),
        window(0.0, 2),
        Mark("m", "features", 0, 1, 20.0),
        window(0.0, 3),
        window(10.0, 4),
        window(20.0, 5),
    ]
    values = [window_records.outgoing(KafkaSettings(), record).value for record in written]
    records = [Record("t.windows", 0, offset, 0.0, b"m", value) for offset, value in enumerate(values)]
    judged, unjudged, repeats = judged_windows(records)
    assert {key[4]: n for key, (n, _) in judged.items()} == {0.0: 3, 20.0: 5}
    assert [key[4] for key in unjudged] == [10.0]
    assert repeats == 2


def test_the_log_is_the_same_for_the_same_seed(log: InputLog) -> None:
    """Seed and size give every byte; another seed gives another log."""
    assert input_log(5, partitions=2, windows=60, rows=10) == log
    assert input_log(6, partitions=2, windows=60, rows=10) != log
