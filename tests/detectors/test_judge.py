"""The judge learns before it judges, shares one budget among all monitors, and keeps bounded memory."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.judging.judge import Judge
from detectors.judging.shares import share_budget
from detectors.judging.verdict import Verdict
from detectors.learning.learner import Learner
from detectors.measure.sums import ROWS
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.learned import FeatureBaseline
from detectors.spec import ModelSpec, OutcomeSpec, ReferenceSpec
from detectors.statistics import place_of
from detectors.windows.record import Kind, Mark
from detectors.windows.row import ERROR, PREDICTION_SCORE, VOLUME, Value
from streams.state import snapshot
from tests.support.simulated import Column, alerts, events_in, history, mixed, numbers, watched, window

SPEC = ModelSpec("m", volume=True, window_seconds=60.0, reference=ReferenceSpec(seconds=50 * 60.0, min_windows=24))


def judge_of(spec: ModelSpec, kind: Kind = "features") -> Judge:
    """Return a judge that knows nothing yet."""
    seconds = spec.window_seconds if kind == "features" else spec.outcome_window_seconds
    return Judge.begin(spec, kind, "", seconds)


def weigh(judge: Judge, spec: ModelSpec, columns: dict[str, Column], *, begin: int = 0) -> list[Verdict]:
    """Return the verdicts of windows that follow each other; the budget is shared whenever monitors were made."""
    found: list[Verdict] = []
    for index, features in enumerate(zip(*columns.values(), strict=True), begin):
        present = {name: feature for name, feature in zip(columns, features, strict=True) if feature is not None}
        rows = max((events_in(feature) for feature in present.values()), default=1)
        start = index * spec.window_seconds
        verdicts, renewed = judge.weigh(start, [window(spec, start, present, rows=rows)])
        found.extend(verdicts)
        if renewed:
            share_budget(spec, [judge], share=1.0)
    return found


def normal(windows: int, *, seed: int = 1, shift: float = 0.0, events: int = 30) -> Column:
    """Return a standard normal column."""
    return numbers(np.random.default_rng(seed).normal(size=(windows, events)) + shift)


def test_nothing_is_judged_while_the_reference_is_learned() -> None:
    """However wild the first stretch is, it is what is normal; then monitors stand with a threshold each."""
    judge = judge_of(SPEC)
    assert weigh(judge, SPEC, {"x": normal(49, shift=50.0)}) == []
    assert (judge.learning, judge.watched()) == (True, [])
    weigh(judge, SPEC, {"x": normal(1)}, begin=49)
    assert not judge.learning
    of_x = [("x", statistic) for statistic in ("location", "scale", "shape", "outliers", "missing")]
    assert judge.watched() == [*of_x, (VOLUME, "volume")]
    assert judge.monitors.threshold > 5
    assert 2 < judge.monitors.limit < 5


def test_words_compare_with_what_the_time_of_day_lets_expect() -> None:
    """At the bottom of a daily cycle a rise is told as one, from what is usual there and not from the mean of all times."""
    spec = ModelSpec("m", window_seconds=600.0, reference=ReferenceSpec(seconds=3 * 86400.0))
    windows = 3 * 144 + 120
    angle = 2 * np.pi * np.arange(windows)[:, None] / 144
    values = np.random.default_rng(3).normal(size=(windows, 30)) + 10 * np.cos(angle)
    bottom = 3 * 144 + 66
    values[bottom:] += 6.0
    found = weigh(judge_of(spec), spec, {"x": numbers(values)})
    (told, *_) = [verdict.words for verdict in found if verdict.statistic == "location"]
    said = re.fullmatch(r"mean (up|down) .* sd, from (.*) to (.*)", told)
    assert said is not None
    way, before, now = said.groups()
    assert way == "up"
    assert float(before) == pytest.approx(-10.0, abs=1.5)
    assert float(now) == pytest.approx(-4.0, abs=1.0)


def test_memory_stays_bounded_while_an_incident_lasts() -> None:
    """A drift that never ends and a feature that vanished: measures are added, which are bounded themselves, and no samples."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(60), "y": normal(60, seed=2)})
    sample = normal(1, shift=4.0, events=64)[0]

    def go_on(begin: int, end: int) -> int:
        for index in range(begin, end):
            judge.weigh(index * 60.0, [window(SPEC, index * 60.0, {"x": sample}, rows=64)] * 6)
        return len(msgspec.msgpack.encode(judge, enc_hook=snapshot._out))

    before = go_on(60, 900)
    assert sorted(judge.relearning) == [VOLUME, "x", "y"]
    assert max(learner.held_bytes for learner in judge.relearning.values()) <= 2 << 20
    assert before < 6 << 20
    assert go_on(900, 1800) - before < 3 * 900 * 64


def test_features_are_bounded() -> None:
    """New names keep coming: no more than `max_features` are ever learned or watched."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, max_features=5, reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"a": normal(60), "b": normal(60)})
    for index in range(60, 90):
        weigh(judge, spec, {f"n{index}": normal(1), "a": normal(1)}, begin=index)
    assert len((judge.references.keys() | judge.relearning.keys()) - {VOLUME}) == 5


def test_features_in_drift_do_not_keep_new_ones_out() -> None:
    """A drifted feature is counted once, not once as known and once as learned anew."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, max_features=3, reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"a": normal(60), "b": normal(60, seed=2)})
    weigh(judge, spec, {"a": normal(20, shift=5.0), "b": normal(20, shift=5.0)}, begin=60)
    assert sorted(judge.relearning) == ["a", "b"]
    weigh(judge, spec, {"a": normal(1, shift=5.0), "b": normal(1, shift=5.0), "c": normal(1)}, begin=80)
    assert sorted(judge.relearning) == ["a", "b", "c"]


def test_only_features_asked_for_are_watched() -> None:
    """With a list of features the others are left out; predictions are always watched."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, features=("x",), reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"x": normal(60), "y": normal(60), PREDICTION_SCORE: normal(60)})
    assert sorted(judge.references) == [PREDICTION_SCORE, VOLUME, "x"]


def test_the_budget_is_shared_by_all_segments() -> None:
    """Every monitor has the threshold and the limit of its share; one more segment raises both, and arms nothing anew."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, reference=ReferenceSpec(seconds=400 * 60.0))
    first, second = judge_of(spec), judge_of(spec)
    weigh(first, spec, {"x": normal(420)})
    alone = first.monitors.threshold, first.monitors.limit
    counted = first.monitors.count.copy(), first.monitors.increase.copy()
    weigh(second, spec, {"x": normal(410)})
    share_budget(spec, [first, second], share=1.0)
    together = first.monitors.threshold, first.monitors.limit
    assert (second.monitors.threshold, second.monitors.limit) == together
    assert together[0] > alone[0]
    assert together[1] > alone[1]
    assert np.array_equal(first.monitors.count, counted[0])
    assert np.array_equal(first.monitors.increase, counted[1])


def test_of_outcomes_the_error_rate_is_watched_upwards() -> None:
    """One monitor for the errors, which may fall without anybody being woken."""
    judge = judge_of(SPEC, "outcomes")
    rng = np.random.default_rng(4)
    errors = (rng.random((60, 50)) < 0.2) * 1.0
    weigh(judge, SPEC, {ERROR: numbers(errors)})
    assert judge.watched() == [(ERROR, "location")]
    assert judge.monitors.up[place_of("location"), 0] == 1.0
    assert weigh(judge, SPEC, {ERROR: numbers(np.zeros((60, 50)))}, begin=60) == []
    (verdict,) = weigh(judge, SPEC, {ERROR: numbers((rng.random((20, 50)) < 0.6) * 1.0)}, begin=120)
    assert verdict.words.startswith("error up, from 0.195 to 0.")


@pytest.mark.parametrize("detector", ["ddm", "hddm_a", "fhddm"])
def test_a_detector_of_outcomes_gets_every_outcome(detector: str) -> None:
    """700 outcomes in a window are summarised, and each error of them is still counted."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, outcomes=OutcomeSpec(detector=detector), reference=SPEC.reference)
    judge = judge_of(spec, "outcomes")
    rng = np.random.default_rng(5)
    assert weigh(judge, spec, {ERROR: numbers((rng.random((60, 700)) < 0.05) * 1.0)}) == []
    found = weigh(judge, spec, {ERROR: numbers((rng.random((3, 700)) < 0.3) * 1.0)}, begin=60)
    assert [verdict.feature for verdict in found] == [ERROR]
    assert "from 0.05" in found[0].words


def test_a_small_error_rate_is_exact_in_a_long_window() -> None:
    """2 errors in 1,000 outcomes, then 10: far below one point in 64, and found."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, reference=SPEC.reference)
    rng = np.random.default_rng(6)
    columns = {ERROR: numbers((rng.random((90, 1000)) < np.where(np.arange(90) < 70, 0.002, 0.01)[:, None]) * 1.0)}
    (alert,) = alerts(watched(spec, history(spec, columns, kind="outcomes"))[1])
    assert (alert.level, alert.severity) == ("performance", "critical")
    assert abs(alert.began_at - 70 * 60.0) <= 120.0


def test_a_feature_named_error_is_a_feature_like_any_other() -> None:
    """Users may have a feature called `error`: its drift is drift, with the words of numbers."""
    columns = {"error": numbers(np.random.default_rng(7).normal(size=(80, 30)) + (np.arange(80) >= 60)[:, None] * 3)}
    (alert,) = alerts(watched(SPEC, history(SPEC, columns))[1])
    assert alert.level == "drift"
    assert alert.features[0].words.startswith("mean up")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**400), 10**400),
    st.text(max_size=3),
)


@settings(max_examples=20)
@given(st.lists(st.lists(values, min_size=1, max_size=6), min_size=45, max_size=70))
def test_no_window_stops_the_judge(rows: list[list[Value]]) -> None:
    """Whatever a feature holds, in the reference and after it, it is judged, and the judge can be stored."""
    spec = ModelSpec("m", volume=True, window_seconds=60.0, reference=ReferenceSpec(seconds=30 * 60.0, min_windows=24))
    judge = judge_of(spec)
    for verdict in weigh(judge, spec, {"x": mixed(rows)}):
        assert verdict.words
        assert msgspec.json.encode(verdict)
    assert not judge.learning


def test_inputs_are_unchanged() -> None:
    """The windows handed to a judge are the same afterwards."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(60)})
    parts = [window(SPEC, 3600.0, {"x": one}, rows=30) for one in normal(2)]
    before = msgspec.msgpack.encode(parts)
    judge.weigh(3600.0, parts)
    assert msgspec.msgpack.encode(parts) == before


def test_one_clock_of_1970_does_not_make_the_reference_short() -> None:
    """Learning begins anew after a gap longer than the reference itself: what came before is no part of the stretch."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(1)})
    later = 1_000_000
    weigh(judge, SPEC, {"x": normal(49)}, begin=later)
    assert judge.learning
    weigh(judge, SPEC, {"x": normal(1)}, begin=later + 49)
    assert not judge.learning


def test_two_sources_are_one_window() -> None:
    """Rows that came through two partitions are judged as if they had come through one."""
    one, other = judge_of(SPEC), judge_of(SPEC)
    for judge, sources in ((one, 1), (other, 2)):
        values = np.random.default_rng(8).normal(size=(80, 2, 15)) + (np.arange(80) >= 70)[:, None, None] * 2.0
        told: list[Verdict] = []
        for index, window_values in enumerate(values):
            features = numbers(window_values.reshape(sources, -1))
            parts = [window(SPEC, index * 60.0, {"x": feature}, rows=30 // sources) for feature in features]
            verdicts, renewed = judge.weigh(index * 60.0, parts)
            told += verdicts
            if renewed:
                share_budget(SPEC, [judge], share=1.0)
        assert "x" in {verdict.feature for verdict in told}
    assert one.monitors.rise == pytest.approx(other.monitors.rise, abs=1e-6)


def test_the_volume_is_watched_both_ways() -> None:
    """Rows that double, and rows that stop: a window without any is judged for that, and for nothing else."""
    rng = np.random.default_rng(9)
    usual = numbers(rng.normal(size=(60, 200)))
    for verdicts in (_after(usual, [400] * 8), _after(usual, [0] * 8)):
        assert {(verdict.feature, verdict.statistic) for verdict in verdicts} == {(VOLUME, "volume")}
        assert all(verdict.size >= 0.9 for verdict in verdicts)
        assert "rows in a window, was 200" in verdicts[0].words


def _after(usual: Column, rows: list[int]) -> list[Verdict]:
    """Return the verdicts of buckets with so many rows, after a reference of a week."""
    spec = ModelSpec("m", window_seconds=3 * 3600.0, reference=ReferenceSpec(seconds=7 * 86_400.0, min_windows=24))
    judge = judge_of(spec)
    found: list[Verdict] = []
    for index, feature in enumerate([*usual, *usual[: len(rows)]]):
        count = 200 if index < 60 else rows[index - 60]
        start = index * spec.window_seconds
        verdicts, renewed = judge.weigh(start, [window(spec, start, {"x": feature}, rows=count)] if feature and count else [])
        found += verdicts
        if renewed:
            share_budget(spec, [judge], share=1.0)
        if count != 200 and count:
            found = [verdict for verdict in found if verdict.feature == VOLUME]  # x has half as many values as rows
    return found


def test_a_feature_of_wider_windows_is_judged_once_in_so_many() -> None:
    """Its verdicts are told at the end of a merged window, and its change begins at the first of one."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(60), "y": normal(60, seed=2)})
    learner = Learner(240.0, ["x"])
    for index, features in enumerate(numbers(np.random.default_rng(3).normal(size=(240, 120)))):
        learner.add(SPEC, index * 240.0, [window(SPEC, index * 240.0, {"x": features}, rows=120)])
    judge.adopt({"x": FeatureBaseline(judge.references["x"], learner.learn(SPEC)["x"].baselines, rollup_width=4)})
    share_budget(SPEC, [judge], share=1.0)
    found = weigh(judge, SPEC, {"x": normal(40, seed=4, shift=1.5), "y": normal(40, seed=5)}, begin=60)
    told = [verdict for verdict in found if verdict.feature == "x"]
    assert told
    for verdict in told:
        assert verdict.at % 240.0 == 0.0
        assert verdict.began_at % 240.0 == 0.0
        assert verdict.began_at >= 60 * 60.0


def test_a_feature_that_is_renewed_leaves_what_waits_of_the_others() -> None:
    """A wide window goes on over the renewal of another feature: it holds all of its rows."""
    judge = judge_of(SPEC)
    columns = {"x": normal(60), "y": normal(60, seed=2), "city": mixed([["NO", "SE", "DK"] * 10] * 60)}
    weigh(judge, SPEC, columns)
    learned = {
        name: FeatureBaseline(reference, {}, rollup_width=4) for name, reference in judge.references.items() if name != VOLUME
    }
    judge.adopt(learned)
    later = {name: column[:2] for name, column in columns.items()}
    weigh(judge, SPEC, later, begin=60)
    judge.adopt({"y": learned["y"]})
    weigh(judge, SPEC, later, begin=62)
    waiting = judge.rollup.waiting
    assert waiting is not None
    assert dict(zip(judge.references, waiting.sums[ROWS].tolist(), strict=True)) == {
        "city": 120.0,
        "x": 120.0,
        "y": 60.0,
        VOLUME: 30.0,
    }
    assert waiting.cells.sum() == 120.0


def test_a_reference_without_a_feature_is_one() -> None:
    """Rows that carry nothing are learned from and judged; a feature that comes later is learned, and judged from then on."""
    spec = ModelSpec("m", volume=False, window_seconds=60.0, reference=ReferenceSpec(seconds=30 * 60.0, min_windows=24))
    nothing = [window(spec, index * 60.0, {}, rows=30) for index in range(40)]
    later = normal(80, seed=9)
    some = [window(spec, (40 + index) * 60.0, {"x": feature}, rows=30) for index, feature in enumerate(later) if feature]
    monitor = ModelMonitor.begin(spec)
    found = [
        finding
        for one in (*nothing, *some)
        for record in (one, Mark("m", "features", 0, 1, one.end))
        for finding in monitor.add(record)
    ]
    assert alerts(found) == []
    assert "x" in monitor.channels["features"].judges[""].references
