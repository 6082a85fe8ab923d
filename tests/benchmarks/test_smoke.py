"""Smoke tests: every benchmark runs at a tiny size and prints what it promises; no figure is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lanes.catalogue import LANES
from benchmarks.quality.budget.changes import CHANGES
from benchmarks.quality.stock import cases
from detectors.judging.stock_rates import STOCK
from tests.support.paths import ROOT

_TIMEOUT_SECONDS = 240


def finished(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark into a pipe and return once it has ended."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )


def benchmark(name: str, *arguments: str, statuses: tuple[int, ...] = (0,)) -> tuple[dict[str, Any], str]:
    """Run a benchmark into a pipe, and return the object of its last line and all lines before it."""
    done = finished(name, *arguments)
    assert done.returncode in statuses, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "\x1b" not in done.stdout
    before, _, last = done.stdout.rstrip("\n").rpartition("\n")
    result: dict[str, Any] = json.loads(last)
    return result, before


needs_servers = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.usefixtures("startable_servers")]


def with_servers(test: Any) -> Any:
    """Mark a test whose benchmark starts servers."""
    for mark in needs_servers:
        test = mark(test)
    return test


@pytest.mark.parametrize("name", LANES)
def test_every_benchmark_says_how_it_is_run(name: str):
    """--help prints the usage, whatever stands in the help of its options."""
    done = finished(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m benchmarks.{name} ")


@with_servers
def test_throughput_compares_driftline_with_plain_faust_and_a_bare_loop():
    """Ratios by the clock and by CPU time and the rates of every variant are there, and the phases that the time goes to."""
    result, text = benchmark("throughput", "--events", "1000", "--repeats", "1", "--data", "mixed", "--brief")
    rates = result["events_per_second"]["mixed"]
    assert set(rates) == {"plain_faust", "bare_loop", "driftline"}
    assert result["events_per_second"]["least"] == rates
    assert result["ratio_to_plain_faust"] == pytest.approx(rates["driftline"] / rates["plain_faust"], rel=0.01)
    assert result["ratio_to_bare_loop"] == pytest.approx(rates["driftline"] / rates["bare_loop"], rel=0.01)
    assert min(result["cpu_ratio_to_plain_faust"], result["cpu_ratio_to_bare_loop"]) > 0
    assert {"consume", "decode", "produce"} <= set(result["data"]["mixed"]["phases_microseconds_per_event"])
    assert "agents in the worker: join, judge, outliers, summarise, summarise-outcomes" in text


@with_servers
def test_scale_compares_one_worker_with_two():
    """There is a ratio by the clock, one by CPU, and what the broker took from the cores."""
    result, _ = benchmark("scale", "--events", "1000", "--repeats", "1")
    one, two = result["one_worker"], result["two_workers"]
    assert result["ratio_by_clock"] == pytest.approx(one["seconds"] / two["seconds"], rel=0.05)
    assert result["ratio_by_cpu"] > 0
    assert 0 <= two["broker_share"] <= 1


@with_servers
def test_join_compares_records_with_ids_with_records_without():
    """Every part has its figures, the writer that was killed left the same state, and nothing is kept in Redis."""
    sizes = ("--records", "2000", "--rounds", "1", "--waiting", "30000", "--brief")
    result, text = benchmark("join", *sizes, "--only", "workers", "memory", "loading", "parts")
    assert result["ratio"] > 0
    assert result["ratio_with_rows"] > 0
    assert set(result["disk_bytes"]) == {"join", "rows", "outcome", "two decimals"}
    assert result["redis_keys"] == 0
    assert result["same_state"]
    assert 0 < result["killed_at"] < 2 * 30_000
    assert set(result["memory_bytes"]) == {"classes", "numbers"}
    assert "the same state" in text
    assert "where the time goes" in text
    assert "rate with ids and labels, of the rate without ids" in text


@with_servers
def test_latency_reads_a_backlog_and_then_times_alerts():
    """Alerts of live events have latencies in order, and the backlog's memory was looked at."""
    result, _ = benchmark("latency", "--backlog", "1000", "--seconds", "6", "--rate", "200")
    assert result["alerts"] > 0
    assert 0 <= result["p50_seconds"] <= result["p99_seconds"] <= result["max_seconds"]
    assert result["catch_up"]["events"] == 1000
    assert result["catch_up"]["second_half_bytes"] > 0


def test_growth_says_which_rows_are_superlinear():
    """Every axis has its sizes, and a row is named exactly if its slope is beyond the limit."""
    result, text = benchmark("growth", "--scale", "0.001", "--repeats", "1")
    assert {row["axis"] for row in result["rows"]} == {"features", "order", "segments", "window", "event", "text"}
    steep = [row for row in result["rows"] if max(row["time_slope"] or 0, row["memory_slope"] or 0) > result["limit"]]
    assert len(result["superlinear"]) == len(steep)
    assert text.count("superlinear") == len(steep)
    assert all(set(slopes) == {row["axis"] for row in result["rows"]} for slopes in result["steepest"].values())


def test_judging_says_what_a_feature_a_part_and_a_snapshot_cost():
    """Every case is a row, and the object has the constants of the page on scaling."""
    result, text = benchmark("judging", "--scale", "0.01", "--repeats", "1")
    assert len(text.splitlines()) == 1 + 7
    assert result["snapshot_bytes_per_feature"] > 0
    assert {"feature_microseconds", "part_microseconds", "feature_growth"} < set(result)


@with_servers
def test_soak_says_how_each_measure_moved():
    """Memory, files, lag and snapshots have a trend, the processes end in order, and the verdict is the exit status."""
    result, text = benchmark("soak", "--minutes", "0.05", "--rate", "20", statuses=(0, 1))
    of_worker = {f"worker {measure}" for measure in ("memory", "files", "lag", "unread", "snapshot")}
    assert set(result["trends"]) == of_worker | {"retrainer memory", "retrainer files"}
    assert result["flat"] == all(trend["flat"] for trend in result["trends"].values())
    assert text.splitlines()[-1] == ("flat" if result["flat"] else "not flat")
    assert result["exit_statuses"] == {"worker": 0, "retrainer": 0}
    assert result["counted"]["dead_letters_total"] == 0


@with_servers
def test_chaos_compares_a_calm_run_with_its_log():
    """The calm run leaves something on every topic, and the exit status says whether it is exact."""
    sizes = ("--windows", "45", "--rows", "8", "--partitions", "2", "--seed", "5")
    result, _ = benchmark("chaos", "--calm", *sizes, statuses=(0, 1))
    assert result["error"] is None
    (calm,) = result["scenarios"]
    assert calm["name"] == "calm"
    assert result["exact"] == (not calm["differences"] and not calm["faults"])
    assert min(calm[name] for name in ("outcomes", "windows", "dead", "late")) > 0


def test_cli_start_is_compared_with_a_python_that_does_nothing():
    """The help of Driftline takes CPU time, and more of it than nothing does."""
    result, _ = benchmark("cli_start", "--runs", "1")
    assert 0 < result["median_seconds"] <= result["slowest_seconds"]
    assert result["cpu_ratio_to_bare_python"] > 1


def test_stock_prints_every_case_and_how_far_it_is_from_the_stated_rates():
    """A rate with its standard error for each detector, direction and stream; the first stream of each is the stated one."""
    result, text = benchmark("stock", "--monitors", "1", "--windows", "40")
    assert len(text.splitlines()) == 1 + len(cases())
    assert {(name, case["direction"]) for name, found in result["detectors"].items() for case in found} == set(STOCK)
    assert all("off" in found[0] for found in result["detectors"].values())
    for case in (case for found in result["detectors"].values() for case in found):
        raised = case["rate"] * result["windows"] / 1000
        assert case["standard_error"] == pytest.approx(raised**0.5 * 1000 / result["windows"])


def test_budget_prints_a_row_for_each_kind_and_one_object():
    """In processes of their own, at a tiny size, and with nothing on stderr of a pipe."""
    sizes = ("--features", "2", "--weeks", "0.02", "--parts", "alarms", "delays")
    done = finished("budget", *sizes, "--kinds", "t3", "gaussian", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    before, _, last = done.stdout.rstrip("\n").rpartition("\n")
    result = json.loads(last)
    assert set(result["false_alarms"]) == {"gaussian", "t3"}
    for kind, opened in result["false_alarms"].items():
        assert f"{kind:20} {opened:4d} incidents opened" in before
    assert set(result["median_delay_s"]["gaussian"]) == set(result["missed"]["gaussian"]) == set(CHANGES)
    assert {kind: set(floors) for kind, floors in result["floors"].items()} == {"gaussian": {"never", "every 3 h", "random"}}
    assert result["notifications_of_one_incident"] is None
    assert result["feature_windows_per_second"] is None
    assert (result["features"], result["weeks"], result["seed"]) == (2, 0.02, 5)


def test_a_benchmark_without_its_servers_says_what_to_install(tmp_path: Path):
    """No traceback, one line, the exit status of what is not there."""
    done = finished("scale", "--events", "100", PATH=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith("Error: a real Kafka needs Java")
