"""What `driftline check` says of detectors without a budget: the monitors that it counts are those of a judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.judging.judge import Judge
from detectors.judging.shares import sides_of
from detectors.judging.stock_rates import STOCK
from detectors.model.channel import Channel
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, OutcomeSpec, ReferenceSpec
from detectors.statistics import place_of
from detectors.windows.record import Kind
from detectors.windows.row import ERROR, PREDICTION_LABEL, PREDICTION_SCORE, VOLUME
from driftline.cli.main import run
from driftline.explain.unbudgeted import count, named_monitors, own_monitors, stock_notes
from streams.state.reference_file import reference_set_of
from tests.support.command_line import Done, beside
from tests.support.simulated import Column, history, mixed, numbers, segment_reference

DAY = 86_400.0
SPEC = ModelSpec("fraud", window_seconds=3600.0, reference=ReferenceSpec(seconds=DAY), detector="kswin")
EVENTS = 40


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], str]]:
    """A function that writes a configuration and returns what `driftline check` says of it."""

    def run_it(config: str) -> str:
        Path("driftline.toml").write_text(config)
        done = Done(run(["check"]), *capsys.readouterr())
        assert done.status == 0, done.stderr
        return done.stdout

    with beside(tmp_path, None, monkeypatch):
        yield run_it


def column(kind: str, windows: int, draw: np.random.Generator) -> Column:
    """Return a feature of that type in which nothing changes."""
    if kind == "numbers":
        return numbers(draw.normal(size=(windows, EVENTS)))
    return mixed(np.array(["NO", "SE", "DK"])[draw.integers(3, size=(windows, EVENTS))].tolist())


def traffic(spec: ModelSpec, windows: int) -> dict[str, Column]:
    """Return the features that the configuration names, and what a model puts out."""
    draw = np.random.default_rng(len(spec.features))
    found = {name: column("categories" if name in spec.categorical else "numbers", windows, draw) for name in spec.features}
    return found | {PREDICTION_LABEL: column("categories", windows, draw), PREDICTION_SCORE: column("numbers", windows, draw)}


def learned(spec: ModelSpec, columns: dict[str, Column], kind: Kind = "features") -> Judge:
    """Return a judge that has learned from those windows."""
    monitor = ModelMonitor.begin(spec)
    for record in history(spec, columns, kind=kind):
        monitor.add(record)
    (judge,) = monitor.channels[kind].judges.values()
    assert not judge.learning
    return judge


@effort(max_examples=12)
@given(
    features=st.lists(st.sampled_from(["amount", "age", "country", "code"]), min_size=1, unique=True),
    categories=st.sets(st.sampled_from(["country", "code"])),
    volume=st.sampled_from([None, True, False]),
    days=st.sampled_from([1, 7]),
)
def test_what_is_counted_is_what_a_judge_watches(features: list[str], categories: set[str], volume: bool | None, days: int):
    """Statistics of each feature and their directions are those of a judge that has learned from features of these types."""
    spec = replace(
        SPEC,
        window_seconds=days * 3600.0,
        features=tuple(features),
        categorical=tuple(sorted(categories & set(features))),
        volume=volume,
        reference=ReferenceSpec(seconds=days * DAY),
    )
    judge = learned(spec, traffic(spec, 30))
    counted = named_monitors(spec) | own_monitors(spec)
    assert sorted((name, one) for name, found in counted.items() for one in found) == sorted(judge.watched())
    assert (VOLUME in counted) == (days * DAY >= WEEK_SECONDS if volume is None else volume)
    both, up = (count(judge)[direction, 1] for direction in ("both", "up"))
    assert f"{both} monitors of rises and falls x" in next(stock_notes(spec))
    assert f" {up} of rises alone x" in next(stock_notes(spec))
    assert 2 * both + up == sides_of([judge])[0]


def test_errors_have_one_monitor_of_rises():
    """As the judge of outcomes does, whatever comes beside the errors."""
    spec = replace(SPEC, detector="page_hinkley", outcomes=OutcomeSpec(detector="ddm"))
    wrong = numbers(np.random.default_rng(2).random((30, EVENTS)) < 0.1)
    judge = learned(spec, {ERROR: wrong}, "outcomes")
    assert dict(count(judge)) == {("up", 1): 1}
    (note,) = stock_notes(spec)
    assert "for the outcomes of each segment: 1 monitor of rises alone x 168 windows a week x about 0.28 in 1,000 windows" in note
    assert "Assumed" not in note


def test_a_type_that_is_not_known_is_assumed_and_said(check: Callable[[str], str]):
    """Text where numbers were assumed has the monitors of categories, as the note says; without names it tells one of each."""
    named = 'features = ["amount", "country"]\n'
    spec = replace(SPEC, features=("amount", "country"))
    columns = traffic(spec, 30) | {"country": column("categories", 30, np.random.default_rng(3))}
    assert {one for name, one in learned(spec, columns).watched() if name == "country"} == {"shares", "unseen", "missing"}
    said = check(f'[models.fraud]\nwindow = "1h"\ndetector = "kswin"\n{named}')
    assert "numbers of many values in amount, country (text and booleans have the monitors of categories); predictions" in said
    said = check('[models.fraud]\nwindow = "1h"\ndetector = "kswin"\n')
    assert "for each feature of numbers and segment: 3 monitors of rises and falls x 168 windows a week x about 1.21" in said
    assert "for each feature of categories and segment: 1 monitor of rises and falls x 168 windows a week x about" in said
    assert f"for {PREDICTION_LABEL}, {PREDICTION_SCORE} of each segment: 4 monitors of rises and falls x" in said
    assert "keeps no" not in check("[models.fraud]\n")


def test_the_number_is_monitors_by_windows_by_rate(check: Callable[[str], str]):
    """Each direction has the rate of its own, and the note adds up to what it says."""
    said = check(
        '[models.fraud]\nwindow = "30m"\nvolume = true\nfeatures = ["amount", "age", "country"]\ncategorical = ["country"]\n'
        'detector = "kswin"\noutcomes.detector = "eddm"\n'
    )
    features, outcomes = (line for line in said.splitlines() if "keeps no false-alarm budget; page_hinkley does." in line)
    both, up = STOCK["kswin", "both"].per_1000_windows, STOCK["kswin", "up"].per_1000_windows
    assert (
        f"about {(12 * both + 10 * up) * 0.336:.2g} false alarms a week for 3 features, prediction.label, prediction.score, "
        "prediction.volume of each segment: 12 monitors of rises and falls x 336 windows a week x about 1.21 in 1,000 windows + "
        "10 of rises alone x 336 windows a week x about 0.76 in 1,000 windows, for scores that are white. Assumed: numbers of "
    ) in features
    assert f"add about {STOCK['eddm', 'up'].per_1000_windows * 0.336:.2g} false alarms a week for the outcomes" in outcomes
    assert "the rate depends on both" in outcomes


def test_a_file_of_references_is_counted_as_it_is():
    """Nothing is assumed: segments, windows that are judged together, and what the configuration leaves out by now."""
    spec = replace(SPEC, volume=True, window_seconds=60.0)
    draw = np.random.default_rng(5)
    steady = {"amount": numbers(draw.normal(size=(100, EVENTS))), "rare": numbers(draw.normal(size=(100, 2)))}
    segments = {name: segment_reference(spec, columns) for name, columns in (("", steady), ("eu", {"amount": steady["amount"]}))}
    spec = replace(
        spec, volume=False, reference=replace(spec.reference, reference_set=reference_set_of(spec, {"features": segments}))
    )
    judges = Channel.begin(spec, "features").judges
    assert judges[""].monitors.watched[place_of("volume")].any()
    (note,) = stock_notes(spec)
    assert "the 2 segments of the file of references: 6 monitors of rises and falls x 10,080 windows a week x about" in note
    assert " + 3 of rises and falls x 2,520 windows a week x about 1.21 in 1,000 windows" in note
    assert "Assumed" not in note
    terms = re.findall(r"(\d+) (?:monitors )?of rises (and falls|alone) x ([\d,]+) windows", note)
    told = sum(int(many) * (2 if both == "and falls" else 1) * float(often.replace(",", "")) for many, both, often in terms)
    every = (sides_of(judges.values())[0] - 2 * len(judges)) * 10_080  # without the two volumes
    assert told == pytest.approx(every)
