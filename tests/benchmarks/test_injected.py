"""Injected drift: the rules of scoring, of the streams and of the closed loop hold, and a tiny run tells what is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import naive_bayes

from benchmarks.quality.drifting import (
    BUNDLED,
    FILES,
    KINDS,
    MAX_DELAY,
    TRANSITION,
    DriftingRows,
    LabelledData,
    NaiveBayes,
    bundled,
    stream_of,
)
from benchmarks.quality.injected import (
    COLUMNS,
    ERRORS,
    MARKS,
    MOST_FALSE,
    SPEEDS,
    STOCK,
    alarms_of,
    scored,
    show,
    summary,
    tables,
)
from benchmarks.quality.scoring import Episodes, episodes
from detectors.errors import UnavailableError

LENGTH = 300
INTERVALS = [(40, 80), (100, 101), (120, 200)]
alarm_places = st.lists(st.integers(1, LENGTH), max_size=12, unique=True)


def within(place: int, intervals: Sequence[tuple[int, int]]) -> bool:
    """Whether a place is in one of them."""
    return any(begin < place <= end for begin, end in intervals)


def met(alarms: Sequence[int]) -> Episodes:
    """Return how alarms meet the intervals of these tests."""
    return episodes(INTERVALS, alarms, length=LENGTH)


@given(alarm_places)
def test_every_alarm_is_a_hit_a_repeat_or_false(alarms: list[int]):
    """The three add up to the alarms, an interval has one hit at most, and what lies in no interval is false."""
    found = met(alarms)
    assert found.alarms == len(alarms)
    assert found.hits == sum(any(begin < place <= end for place in alarms) for begin, end in INTERVALS)
    assert found.false == sum(not within(place, INTERVALS) for place in alarms)
    assert found.calm_rows == LENGTH - 40 - 1 - 80
    assert found == met(alarms[::-1])
    for (begin, end), delay in zip(INTERVALS, found.delays, strict=True):
        assert delay == min((place - begin for place in alarms if begin < place <= end), default=None)


@given(alarm_places)
def test_f1_is_the_harmonic_mean_and_a_repeat_costs(alarms: list[int]):
    """It lies in [0, 1], follows from precision and recall, and is never better than if repeats were no alarms."""
    found = met(alarms)
    assert 0 <= found.f1 <= found.f1_but_for_repeats <= 1
    assert (found.f1 < found.f1_but_for_repeats) == (found.repeats > 0)
    if found.hits and found.precision is not None:
        assert found.f1 == pytest.approx(2 / (1 / found.precision + 1 / found.recall))
    else:
        assert found.f1 == 0


@given(alarm_places, alarm_places)
def test_episodes_of_two_streams_add_up(one: list[int], other: list[int]):
    """Each drift and each alarm counts alike, in whatever stream it was."""
    both = met(one) + met(other)
    assert both.alarms == len(one) + len(other)
    assert both.hits == met(one).hits + met(other).hits
    assert both.false_per_100k == pytest.approx((met(one).false_per_100k + met(other).false_per_100k) / 2)


def test_one_alarm_in_each_interval_is_perfect():
    """The first row of an interval is seen when it was read, and its last row is in time."""
    found = met([41, 101, 200])
    assert (found.f1, found.precision, found.recall, found.false_per_100k) == (1, 1, 1, 0)
    assert met([40, 81]).hits == 0


def made(rows: int = 9000) -> LabelledData:
    """Return a data set of three labels that two of four columns tell apart."""
    draw = np.random.default_rng(5)
    labels = draw.integers(3, size=rows)
    values = draw.normal(size=(rows, 4))
    values[:, 0] += 3 * labels
    values[:, 1] -= 2 * labels
    return LabelledData("made", ["a", "b", "c", "d"], values, labels)


def test_the_classifier_is_rivers():
    """All rows at once get the labels that River's Gaussian naive Bayes gives them one by one."""
    table = made(600)
    model = NaiveBayes(table.values[:300], table.labels[:300])
    theirs = naive_bayes.GaussianNB()
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.values.tolist()]
    for row, label in zip(rows[:300], table.labels[:300].tolist(), strict=True):
        theirs.learn_one(row, label)
    assert [theirs.predict_one(row) for row in rows[300:]] == model.predict(table.values[300:]).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_drifts_lead_away_and_back(kind: str):
    """The model of a regime is as good as the first one; errors of the one before are known in intervals and nowhere else."""
    stream = stream_of(made(), kind, transition=0, drifts=2, number=0)
    (first, first_end), (second, second_end) = stream.drifts
    assert first_end - first == second_end - second == MAX_DELAY
    outside = np.ones(len(stream.fresh), dtype=bool)
    outside[first:first_end] = outside[second:second_end] = False
    assert not stream.stale[outside].any()
    known = {tuple(row) for row in made().values.tolist()}
    as_they_are = np.array([tuple(row) in known for row in stream.values.tolist()])
    assert as_they_are[:first].all()
    assert as_they_are[second:].all()
    assert as_they_are[first:second].all() == (kind in {"labels", "region"})


def test_a_label_that_changes_its_name_raises_the_error():
    """Two of three labels are wrong until the model is another one."""
    stream = stream_of(made(), "labels", transition=0, drifts=2, number=0)
    assert all(rise == pytest.approx(2 / 3, abs=0.1) for rise in stream.rises)


def test_gradual_drifts_are_the_abrupt_ones_with_a_transition():
    """Places and rows are the same; in the transition old and new rows are mixed, more of the new ones later on."""
    abrupt = stream_of(made(), "shift", transition=0, drifts=1, number=3)
    gradual = stream_of(made(), "shift", transition=TRANSITION, drifts=1, number=3)
    ((begin, end),) = gradual.drifts
    assert abrupt.drifts == [(begin, begin + MAX_DELAY)]
    assert end == begin + TRANSITION + MAX_DELAY
    same = (abrupt.values == gradual.values).all(axis=1)
    assert same[:begin].all()
    assert same[begin + TRANSITION :].all()
    halves = same[begin : begin + TRANSITION].reshape(2, -1).mean(axis=1)
    assert halves[0] == pytest.approx(0.25, abs=0.1)
    assert halves[1] == pytest.approx(0.75, abs=0.1)


def test_another_number_is_another_stream():
    """And the same number is the same one."""
    table = made()
    one, again, other = (stream_of(table, "class", transition=0, drifts=1, number=number) for number in (1, 1, 2))
    assert (one.values == again.values).all()
    assert one.drifts == again.drifts
    assert one.drifts != other.drifts


@dataclass
class ScriptedWatcher:
    """A watcher that raises the alarms it was told to: row -> place of the alarm."""

    alarms: dict[int, int]
    wrong: list[int] = field(default_factory=list)
    swaps: list[int] = field(default_factory=list)

    def add(self, row: int, *, wrong: bool) -> list[int]:
        """Take a row."""
        if wrong:
            self.wrong.append(row)
        return [self.alarms[row]] if row in self.alarms else []

    def swap(self, row: int) -> None:
        """Take note of a swap."""
        self.swaps.append(row)


def stale_in(*intervals: tuple[int, int], length: int = LENGTH) -> DriftingRows:
    """Return a stream in which the old model is always wrong and the new one never."""
    stale = np.zeros(length, dtype=bool)
    for begin, end in intervals:
        stale[begin:end] = True
    return DriftingRows(
        "made", "labels", [], np.zeros((length, 0)), list(intervals), np.zeros(length, dtype=bool), stale, [1.0] * 2
    )


@pytest.mark.parametrize(
    ("alarms", "wrong", "swaps"),
    [
        ({}, [*range(100, 150), *range(200, 250)], [149, 249]),
        ({109: 110}, [*range(100, 110), *range(200, 250)], [109, 249]),
        ({50: 50, 219: 220, 230: 231}, [*range(100, 150), *range(200, 220)], [50, 149, 219, 230]),
        ({100: 100}, [*range(100, 150), *range(200, 250)], [100, 149, 249]),
    ],
    ids=["missed", "found", "false and repeated", "of a window before the drift"],
)
def test_an_alarm_swaps_the_model_and_a_miss_ends_with_its_interval(alarms: dict[int, int], wrong: list[int], swaps: list[int]):
    """What a watcher sees after a drift are errors of the old model, up to its alarm or to the end of the interval."""
    watcher = ScriptedWatcher(alarms)
    assert alarms_of(stale_in((100, 150), (200, 250)), watcher) == list(alarms.values())
    assert (watcher.wrong, watcher.swaps) == (wrong, swaps)


def test_a_settled_swap_waits_for_the_end_of_the_transition():
    """What an alarm in the transition answers is done when no old rows come any more; later alarms are answered at once."""
    watcher = ScriptedWatcher({109: 110, 2149: 2150})
    drifts = [(100, 120 + MAX_DELAY), (2000, 2100 + MAX_DELAY)]
    stream = stale_in(*drifts, length=4000)
    assert alarms_of(stream, watcher, settled=True) == [110, 2150]
    assert watcher.swaps == [119, 2149]
    assert watcher.wrong == [*range(100, 120), *range(2000, 2150)]


def test_a_tiny_run_tells_of_every_watcher_and_its_floors(capsys: pytest.CaptureFixture[str]):
    """Drifts are those of all streams, parts add up to the whole, and never is what never is."""
    kinds = ("labels", "shift")
    result = summary(scored([made()], streams=1, drifts=1, budget=1.0, seed=4, kinds=kinds))
    show(result)
    text = capsys.readouterr().out
    for speed in SPEEDS:
        found = result[speed]
        assert found["drifts"] == len(kinds)
        assert {ERRORS, COLUMNS, *STOCK, "never", "random"} < set(found["watchers"])
        assert found["watchers"]["never"] | {"alarms": 0, "f1": 0, "delay_rows": None} == found["watchers"]["never"]
        assert found["watchers"]["random"]["alarms"] == found["watchers"][ERRORS]["alarms"]
        assert sum(kind[ERRORS]["alarms"] for kind in found["kinds"].values()) == found["watchers"][ERRORS]["alarms"]
        product = found["watchers"][ERRORS]
        assert found["reached"] == (product["f1"] >= MARKS[speed][0] and product["false_per_100k"] <= MOST_FALSE)
        assert f"{speed}: {len(kinds)} drifts" in text


def test_data_sets_of_a_directory_that_is_named_have_to_be_there(tmp_path: Path):
    """Those of River are there in any case, and those that are nowhere are left out."""
    assert {table.name for table in tables(None, quick=True)} < set(BUNDLED)
    with pytest.raises(UnavailableError, match=FILES["elec2"][0]):
        tables(tmp_path, quick=False)
    table = bundled("segments")
    assert (table.classes, len(table.columns)) == (7, table.values.shape[1])
