"""The judge learns before it judges, shares one budget among all monitors, and keeps bounded memory."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.judge import Judge, share_budget
from detectors.learner import Learner
from detectors.merge import Pooled, pool
from detectors.row import ERROR, PREDICTION_SCORE, Value
from detectors.spec import ErrorSpec, ModelSpec, ReferenceSpec
from detectors.verdict import Verdict
from detectors.window import Kind
from streams import snapshot
from tests.simulated import Column, alerts, events_in, history, mixed, numbers, watched, window

SPEC = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=50 * 60.0, min_windows=24))


def judge_of(spec: ModelSpec, kind: Kind = "features") -> Judge:
    """Return a judge that knows nothing yet."""
    seconds = spec.window_seconds if kind == "features" else spec.outcome_window_seconds
    return Judge(kind, "", seconds, Learner(seconds))


def weigh(judge: Judge, spec: ModelSpec, columns: dict[str, Column], *, begin: int = 0) -> list[Verdict]:
    """Return the verdicts of windows that follow each other; the budget is shared whenever monitors were made."""
    found: list[Verdict] = []
    for index, features in enumerate(zip(*columns.values(), strict=True), begin):
        present = {name: feature for name, feature in zip(columns, features, strict=True) if feature is not None}
        rows = max((events_in(feature) for feature in present.values()), default=1)
        merged = pool([window(spec, index * 60.0, present, rows=rows)])
        found.extend(judge.weigh(spec, index * 60.0, merged, rows=rows))
        if judge.renewed:
            judge.renewed = False
            share_budget(spec, [judge], share=1.0)
    return found


def normal(windows: int, *, seed: int = 1, shift: float = 0.0, events: int = 30) -> Column:
    """Return a standard normal column."""
    return numbers(np.random.default_rng(seed).normal(size=(windows, events)) + shift)


def test_nothing_is_judged_while_the_reference_is_learned() -> None:
    """However wild the first stretch is, it is what is normal; then monitors stand with a threshold each."""
    judge = judge_of(SPEC)
    assert weigh(judge, SPEC, {"x": normal(49, shift=50.0)}) == []
    assert (judge.learning, judge.monitors) == (True, {})
    weigh(judge, SPEC, {"x": normal(1)}, begin=49)
    assert not judge.learning
    assert sorted(judge.monitors) == ["x/location", "x/missing", "x/outliers", "x/scale"]
    assert all(monitor.armed is not None and monitor.threshold > 5 for monitor in judge.monitors.values())


def test_time_alone_is_not_enough() -> None:
    """A reference needs its time and its number of windows, counted before they are thinned out."""
    learner = Learner(60.0)
    for index in range(3000):
        learner.add(index * 60.0, {}, rows=1)
        assert learner.ready(seconds=600.0, min_windows=2000) == (index >= 1999)
    assert not learner.ready(seconds=3001 * 60.0, min_windows=2000)
    assert len(learner.windows) <= 512


@settings(max_examples=30)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 120))
def test_a_learner_is_bounded(gaps: list[int], repeat: int) -> None:
    """However windows are spaced, no more than 512 are kept, neighbours among them, and the newest time is known."""
    learner, index = Learner(60.0), 0
    for gap in gaps * repeat:
        index += gap
        learner.add(index * 60.0, {}, rows=1)
    assert len(learner.windows) <= 512
    assert learner.seen == len(gaps) * repeat
    assert learner.until == index * 60.0 + 60.0
    if learner.seen > 2048:
        assert learner.windows


def test_memory_stays_bounded_while_an_incident_lasts() -> None:
    """A drift that never ends and a feature that vanished make the state no larger after 2,000 windows than after 1,200."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(60), "y": normal(60, seed=2)})
    weigh(judge, SPEC, {"x": normal(1200, shift=4.0), "y": [None] * 1200}, begin=60)
    assert sorted(judge.relearning) == ["x", "y"]
    before = len(msgspec.msgpack.encode(judge, enc_hook=snapshot._out))
    weigh(judge, SPEC, {"x": normal(800, shift=4.0), "y": [None] * 800}, begin=1260)
    assert len(msgspec.msgpack.encode(judge, enc_hook=snapshot._out)) <= before * 1.8
    assert max(len(learner.windows) for learner in judge.relearning.values()) <= 512


def test_features_are_bounded() -> None:
    """New names keep coming: no more than `max_features` are ever learned or watched."""
    spec = ModelSpec("m", window_seconds=60.0, max_features=5, reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"a": normal(60), "b": normal(60)})
    for index in range(60, 90):
        weigh(judge, spec, {f"n{index}": normal(1), "a": normal(1)}, begin=index)
    assert len(judge.references.keys() | judge.relearning.keys()) == 5


def test_features_in_drift_do_not_keep_new_ones_out() -> None:
    """A drifted feature is counted once, not once as known and once as learned anew."""
    spec = ModelSpec("m", window_seconds=60.0, max_features=3, reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"a": normal(60), "b": normal(60, seed=2)})
    weigh(judge, spec, {"a": normal(20, shift=5.0), "b": normal(20, shift=5.0)}, begin=60)
    assert sorted(judge.relearning) == ["a", "b"]
    weigh(judge, spec, {"a": normal(1, shift=5.0), "b": normal(1, shift=5.0), "c": normal(1)}, begin=80)
    assert sorted(judge.relearning) == ["a", "b", "c"]


def test_only_features_asked_for_are_watched() -> None:
    """With a list of features the others are left out; predictions are always watched."""
    spec = ModelSpec("m", window_seconds=60.0, features=("x",), reference=SPEC.reference)
    judge = judge_of(spec)
    weigh(judge, spec, {"x": normal(60), "y": normal(60), PREDICTION_SCORE: normal(60)})
    assert sorted(judge.references) == [PREDICTION_SCORE, "x"]


def test_the_budget_is_shared_by_all_segments() -> None:
    """Every monitor has the threshold of its share; one more segment raises them all, and arms nothing anew."""
    spec = ModelSpec("m", window_seconds=60.0, reference=SPEC.reference)
    first, second = judge_of(spec), judge_of(spec)
    weigh(first, spec, {"x": normal(60)})
    alone = {monitor.threshold for monitor in first.monitors.values()}
    armed = [monitor.armed for monitor in first.monitors.values()]
    weigh(second, spec, {"x": normal(60)})
    share_budget(spec, [first, second], share=1.0)
    together = {monitor.threshold for judge in (first, second) for monitor in judge.monitors.values()}
    assert len(alone) == len(together) == 1
    assert max(together) > max(alone)
    assert [monitor.armed for monitor in first.monitors.values()] == armed
    assert {monitor.armed.river.threshold for monitor in first.monitors.values() if monitor.armed} == together  # type: ignore[attr-defined]


def test_of_outcomes_the_error_rate_is_watched_upwards() -> None:
    """One monitor for the errors, which may fall without anybody being woken."""
    judge = judge_of(SPEC, "outcomes")
    rng = np.random.default_rng(4)
    errors = (rng.random((60, 50)) < 0.2) * 1.0
    weigh(judge, SPEC, {ERROR: numbers(errors)})
    assert {name: monitor.direction for name, monitor in judge.monitors.items()} == {f"{ERROR}/location": "up"}
    assert weigh(judge, SPEC, {ERROR: numbers(np.zeros((60, 50)))}, begin=60) == []
    (verdict,) = weigh(judge, SPEC, {ERROR: numbers((rng.random((20, 50)) < 0.6) * 1.0)}, begin=120)
    assert verdict.words.startswith("error up, from 0.195 to 0.")


@pytest.mark.parametrize("detector", ["ddm", "hddm_a", "fhddm"])
def test_a_detector_of_outcomes_gets_every_outcome(detector: str) -> None:
    """700 outcomes in a window are summarised, and each error of them is still counted."""
    spec = ModelSpec("m", window_seconds=60.0, errors=ErrorSpec(detector=detector), reference=SPEC.reference)
    judge = judge_of(spec, "outcomes")
    rng = np.random.default_rng(5)
    assert weigh(judge, spec, {ERROR: numbers((rng.random((60, 700)) < 0.05) * 1.0)}) == []
    found = weigh(judge, spec, {ERROR: numbers((rng.random((3, 700)) < 0.3) * 1.0)}, begin=60)
    assert [verdict.feature for verdict in found] == [ERROR]
    assert "from 0.05" in found[0].words


def test_a_small_error_rate_is_exact_in_a_long_window() -> None:
    """2 errors in 1,000 outcomes, then 10: far below one point in 64, and found."""
    spec = ModelSpec("m", window_seconds=60.0, reference=SPEC.reference)
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
    spec = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=30 * 60.0, min_windows=24))
    judge = judge_of(spec)
    for verdict in weigh(judge, spec, {"x": mixed(rows)}):
        assert verdict.words
        assert msgspec.json.encode(verdict)
    assert not judge.learning


def test_inputs_are_unchanged() -> None:
    """The pooled windows handed to a judge are the same afterwards."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(60)})
    merged = pool([window(SPEC, 3600.0, {"x": normal(1)[0]}, rows=30)])
    before = {name: msgspec.structs.asdict(part) for name, part in merged.items()}
    copies = {name: (part.points.copy(), part.weights.copy()) for name, part in merged.items()}
    judge.weigh(SPEC, 3600.0, merged, rows=30)
    assert list(merged) == list(before)
    for name, part in merged.items():
        assert isinstance(part, Pooled)
        assert np.array_equal(part.points, copies[name][0])
        assert np.array_equal(part.weights, copies[name][1])


def test_one_clock_of_1970_does_not_make_the_reference_short() -> None:
    """Learning begins anew after a gap longer than the reference itself: what came before is no part of the stretch."""
    judge = judge_of(SPEC)
    weigh(judge, SPEC, {"x": normal(1)})
    later = 1_000_000
    weigh(judge, SPEC, {"x": normal(49)}, begin=later)
    assert judge.learning
    weigh(judge, SPEC, {"x": normal(1)}, begin=later + 49)
    assert not judge.learning


def test_a_learner_of_many_features_holds_bounded_samples() -> None:
    """However many features there are, what is held while learning stays within tens of megabytes."""
    learner = Learner(60.0)
    sample = numbers(np.random.default_rng(1).normal(size=(1, 64)))[0]
    features = {f"f{number}": sample for number in range(500)}
    parts = [window(SPEC, 0.0, features, rows=64)] * 4
    merged = pool(parts)
    for index in range(400):
        learner.add(index * 60.0, merged, rows=256)
    assert len(learner.windows) >= 16
    assert learner.held_bytes < 200 << 20
    assert learner.ready(seconds=400 * 60.0, min_windows=400)
