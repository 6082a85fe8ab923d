"""The benchmarks of detection quality run, at small sizes, and their arithmetic holds; no figure of detection is looked at."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.paced_monitor import Alarm
from benchmarks.quality.points import LABELLED, SERIES, alarms_of, annotated, floors, scores
from benchmarks.quality.scoring import at_random, covering, delays, every, f1, found_share, matched, random_share, regular_share
from benchmarks.quality.seasonal import CHANGES, DATA, HEADLINE, SOURCES, Series, judge, read, summary
from tests.support.paths import ROOT

_FILES = {source.file for source in [*SOURCES.values(), *LABELLED.values()]}
needs_data = pytest.mark.skipif(
    not all((DATA / file).is_file() for file in _FILES), reason="the data sets are not there (../shared/data)"
)
LENGTH = 300
rows = st.lists(st.integers(1, LENGTH - 1), max_size=12, unique=True).map(sorted)
annotators = st.lists(rows, min_size=1, max_size=4)
margins = st.integers(0, 40)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark into a pipe."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the object of the last line of a run that went well."""
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@given(rows, rows, margins)
def test_a_change_and_an_alarm_are_matched_at_most_once(changes: list[int], alarms: list[int], margin: int):
    """Pairs are never more than either side has, the sides can be exchanged, and a wider margin loses none."""
    pairs = matched(changes, alarms, margin)
    assert 0 <= pairs <= min(len(changes), len(alarms))
    assert pairs == matched(alarms, changes, margin)
    assert pairs <= matched(changes, alarms, margin + 1)
    assert matched(changes, changes, margin) == len(changes)


@given(rows, rows, margins)
def test_no_other_pairing_finds_more(changes: list[int], alarms: list[int], margin: int):
    """The count is that of a maximum matching, found here by augmenting paths."""
    partner: dict[int, int] = {}

    def augment(change: int, tried: set[int]) -> bool:
        for alarm in alarms:
            if abs(alarm - change) <= margin and alarm not in tried:
                tried.add(alarm)
                if alarm not in partner or augment(partner[alarm], tried):
                    partner[alarm] = change
                    return True
        return False

    assert matched(changes, alarms, margin) == sum(augment(change, set()) for change in changes)


@given(annotators, rows, margins)
def test_f1_and_covering_are_shares_and_perfect_for_the_truth(truth: list[list[int]], alarms: list[int], margin: int):
    """Both lie in (0, 1], and one annotator who is repeated has all of it."""
    assert 0 < f1(truth, alarms, margin) <= 1
    assert 0 < covering(truth, alarms, LENGTH) <= 1 + 1e-12
    assert f1([truth[0]], truth[0], margin) == 1
    assert covering([truth[0]], truth[0], LENGTH) == pytest.approx(1)


@given(rows, rows)
def test_an_alarm_too_many_costs_precision(changes: list[int], alarms: list[int]):
    """An alarm far from all that is known never makes F1 better."""
    assert f1([changes], [*alarms, 10 * LENGTH], 5) <= f1([changes], alarms, 5)


@given(rows, rows, st.integers(1, LENGTH))
def test_a_delay_ends_before_the_next_change(changes: list[int], alarms: list[int], within: int):
    """Found is what has an alarm at or after it, before the next one and in time; all the others are missed."""
    took = delays(changes, alarms, end=LENGTH, within=within)
    assert len(took) == len(changes)
    for change, following, delay in zip(changes, [*changes, LENGTH][1:], took, strict=True):
        after = [alarm - change for alarm in alarms if change <= alarm < following and alarm - change <= within]
        assert delay == min(after, default=None)


def test_delays_of_no_change_are_none_at_all():
    """An annotator who marked nothing misses nothing."""
    assert delays([], [3, 4], end=LENGTH) == []


@given(st.integers(1, 50), st.integers(1, 80))
def test_what_regular_alarms_find_is_what_counting_says(step: int, within: int):
    """The share in the table is the one that onsets at every place would show."""
    alarms = [float(alarm) for alarm in range(0, 40 * step, step)]
    onsets = [place + 0.5 for place in range(20 * step)]
    assert found_share(onsets, alarms, within) == pytest.approx(regular_share(step, within))


def test_what_random_alarms_find_is_what_drawing_says():
    """The share in the table is the one that alarms at random show on the average."""
    draw = np.random.default_rng(4)
    length, count, within = 100_000, 2_000, 30
    alarms = [float(alarm) for alarm in at_random(draw, count, begin=0, end=length)]
    onsets = [float(onset) for onset in range(0, length - within, 7)]
    assert found_share(onsets, alarms, within) == pytest.approx(random_share(count / length, within), abs=0.03)
    assert random_share(0.0, within) == 0


@given(st.integers(1, 400), st.integers(0, LENGTH - 1), st.integers(0, 12))
def test_alarms_that_know_nothing_lie_where_something_is_judged(step: int, begin: int, count: int):
    """They are in order, none twice, and none before the begin or at the end."""
    for alarms in (every(step, begin=begin, end=LENGTH), at_random(np.random.default_rng(1), count, begin=begin, end=LENGTH)):
        assert alarms == sorted(set(alarms))
        assert all(begin <= alarm < LENGTH for alarm in alarms)


def test_points_run_on_what_river_brings_along():
    """Every series has the product's figures and three floors, and never is what never is."""
    result = result_of(run("points", "--quick"))["data"]
    assert set(result) == set(SERIES)
    for found in result.values():
        assert {"driftline", "never", "random"} < set(found)
        assert sum(name.startswith("every ") for name in found) == 1
        assert (found["never"]["alarms"], found["never"]["missed"]) == (0, 1)
        assert found["random"]["alarms"] == found["driftline"]["alarms"]


def test_the_scores_of_a_stream_follow_from_its_alarms():
    """An alarm at a place that an annotator marked is not false, and its delay counts for each who marked something before."""
    stream = annotated("occupancy")
    found = scores(stream, [Alarm(dated=238, raised=245)])
    assert (found["alarms"], found["false_alarms"], found["rows_between_false_alarms"]) == (1, 0, None)
    assert found["delay_rows"] == 9  # the five annotators marked 238, 238, 236, 234 and 234
    assert floors(stream, 0, seed=1)["random"]["f1"] == floors(stream, 0, seed=1)["never"]["f1"]


def test_the_same_rows_give_the_same_alarms():
    """Nothing but the rows goes in."""
    stream = annotated("run log")
    assert alarms_of(stream, 1.0) == alarms_of(stream, 1.0)


def test_changes_are_put_into_copies():
    """What is done after an onset leaves the series and the alarms on it as they are."""
    times = 345_600.0 + 3600.0 * np.arange(24 * 7 * 7)
    level = np.sin(2 * np.pi * times / 86_400)
    series = Series("made", times, level + np.random.default_rng(2).normal(0, 0.3, len(times)), "UTC")
    before = series.values.copy()
    outcome = judge(series, budget=1.0, seed=3)
    assert (series.values == before).all()
    assert len(outcome.onsets) == len(outcome.watched) == 2
    assert all(len(found) == 2 for found in outcome.delays.values())
    result = summary([outcome])
    assert result["weeks"] == pytest.approx(3, abs=0.1)
    assert result["found"].keys() == result["median_hours"].keys() == CHANGES.keys()


@needs_data
def test_seasonal_prints_every_series_and_its_floors():
    """The totals are those of the series, and a floor without alarms finds nothing."""
    result = result_of(run("seasonal", "--quick"))
    series = result["series"].values()
    assert result["alarms"] == sum(one["alarms"] for one in series)
    assert result["onsets"] == sum(one["onsets"] for one in series)
    assert result["floors"]["never"] == {"alarms_per_week": 0, "found": 0}
    assert result["floors"]["random"]["alarms_per_week"] == result["alarms_per_week"]
    figures = result["found"][HEADLINE], result["alarms_per_week"]
    assert all(math.isfinite(figure) for figure in figures)


@needs_data
def test_each_series_begins_where_its_columns_do():
    """Columns of Victoria are left out up to the row where the market joined; all others are whole."""
    found = {series.name: series for series in read(DATA, ["elec2 nswdemand", "elec2 vicprice", "taxi"], weeks=60)}
    late = found["elec2 vicprice"].times[0] - found["elec2 nswdemand"].times[0]
    assert late == 17_424 * 1800
    assert len(found["taxi"].values) == 10_320
    assert all(len(series.times) == len(series.values) for series in found.values())


@pytest.mark.parametrize("name", ["seasonal", "points"])
def test_a_directory_without_the_data_is_named(name: str, tmp_path: Path):
    """No traceback, one line with the file and the way out, and the exit status of what is not there."""
    done = run(name, "--data", str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.startswith(f"Error: {tmp_path}")
    assert done.stderr.rstrip().endswith("name the directory of the data sets with --data DIR")
