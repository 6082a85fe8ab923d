"""A worker that starts again with another configuration goes on from its state as far as that still holds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.incidents.alert import Alert
from detectors.judging.budget import fast_limit, threshold
from detectors.judging.kinds import KIND_RULES
from detectors.judging.monitors import Monitors
from detectors.judging.shares import sides_of
from detectors.model.finding import Finding
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, OutcomeSpec, ReferenceSpec, RetrainSpec
from detectors.windows.feature import column_of
from detectors.windows.record import Mark, Window, WindowShape
from detectors.windows.row import Row
from detectors.windows.windows import Windows
from tests.support.simulated import history, numbers

SPEC = ModelSpec(
    "shop",
    factory="shop:make",
    window_seconds=60.0,
    reference=ReferenceSpec(seconds=7200.0, min_windows=120),
    outcomes=OutcomeSpec(),
)


def watched(spec: ModelSpec, *, windows: int = 150, drift_at: int = 135) -> tuple[ModelMonitor, list[Finding]]:
    """Return a watch that has learned, and has an incident open about x."""
    monitor = ModelMonitor.begin(spec)
    random = np.random.default_rng(5)
    source = Windows("features", source=0, sources=1, shapes={"shop": WindowShape(spec.window_seconds, 0.0)})
    findings: list[Finding] = []
    for number in range(windows * 30):
        ts = number * spec.window_seconds / 30
        x = float(random.normal(4.0 if number >= drift_at * 30 else 0.0))
        for item in source.add_rows([Row(number, "shop", ts, "", {"x": x, "y": float(random.normal())})]).records:
            findings.extend(monitor.add(item))
    return monitor, findings


def monitors_of(monitor: ModelMonitor) -> Monitors:
    """Return the monitors of features."""
    return monitor.channels["features"].judges[""].monitors


def test_the_same_configuration_changes_nothing() -> None:
    """A restart with the configuration as it was finds nothing and moves no threshold."""
    monitor, _ = watched(SPEC)
    before = monitors_of(monitor).threshold, monitors_of(monitor).limit
    assert 0 < before[1] < before[0] < math.inf
    assert monitor.reconfigure(SPEC) == []
    assert (monitors_of(monitor).threshold, monitors_of(monitor).limit) == before
    assert len(monitor.open_incidents) == 1


def test_budget_and_retraining_change_at_once() -> None:
    """A new budget moves threshold and fast path, a new cool-down holds from now on, retraining can be turned off."""
    monitor, _ = watched(SPEC)
    changed = replace(SPEC, false_alarms_per_week=7.0, retrain=RetrainSpec(enabled=False, cooldown_seconds=60.0))
    monitor.reconfigure(changed)
    every, fast = sides_of(monitor.channels["features"].judges.values())
    assert 0 < fast < every
    allowed = 7.0 * KIND_RULES["features"].share
    monitors = monitors_of(monitor)
    assert monitors.threshold == threshold(false_alarms_per_week=allowed, window_seconds=60.0, sides=every)
    assert monitors.limit == fast_limit(false_alarms_per_week=allowed, window_seconds=60.0, sides=fast)
    assert monitor.channels["features"].retrains.cooldown_seconds == 60.0
    assert not monitor.channels["features"].retrains.enabled


def test_another_detector_takes_over_on_the_same_baselines_and_open_incidents_stay_open() -> None:
    """The new detector is armed; what has fired stays fired until it recovers, so its incident can still end."""
    monitor, _ = watched(SPEC)
    monitors = monitors_of(monitor)
    fired, windows = monitors.recovery.fired.copy(), monitors.scores.windows.copy()
    assert fired.any()
    adwin = replace(SPEC, detector="adwin")
    monitor.reconfigure(adwin)
    for record in history(adwin, {"x": numbers(np.full((1, 30), 4.0)), "y": numbers(np.zeros((1, 30)))}, start=150 * 60.0):
        monitor.add(record)
    assert {type(armed.river).__name__ for armed in monitors.river.values()} == {"ADWIN"}
    assert len(monitors.river) == int((monitors.watched & (~monitors.recovery.fired)).sum())
    assert monitors.limit == math.inf
    assert (monitors.recovery.fired == fired).all()
    assert (monitors.scores.windows == windows).all()
    assert len(monitor.open_incidents) == 1


@pytest.mark.parametrize("change", [{"volume": False}, {"features": ("y",)}])
def test_what_the_configuration_leaves_out_is_not_judged(change: dict[str, Any]) -> None:
    """From the next start on nothing is raised about a feature or the volume that is left out, and what was open ends."""
    spec = replace(SPEC, volume=True, features=("x", "y"), false_alarms_per_week=1000.0)
    quiet = {"x": [0.0, 1.0] * 15, "y": [0.0, 1.0] * 15}
    monitor = ModelMonitor.begin(spec)
    windows = SPEC.reference.min_windows + 10
    for index in range(windows):
        told(monitor, spec, index, quiet)
    left = replace(spec, **change)
    gone = {"volume": "prediction.volume", "features": "x"}[next(iter(change))]
    strange = {"x": [9.0] * 30, "y": quiet["y"]} if gone == "x" else {"x": [0.0, 1.0], "y": [0.0, 1.0]}
    found = [alert for index in range(windows, windows + 60) for alert in told(monitor, spec, index, strange)]
    assert gone in {verdict.feature for alert in found for verdict in alert.features}
    ended = [finding for finding in monitor.reconfigure(left) if isinstance(finding, Alert)]
    assert gone not in {feature for incident in monitor.open_incidents for feature in incident.drifted}
    assert [alert.summary for alert in ended] == [f"shop: {gone} is not watched any more"]
    assert [alert for index in range(windows + 60, windows + 120) for alert in told(monitor, left, index, strange)] == []


def told(monitor: ModelMonitor, spec: ModelSpec, index: int, values: dict[str, list[float]]) -> list[Alert]:
    """Return the alerts of one window with those values."""
    features = {name: column_of(column).feature(len(column)) for name, column in values.items()}
    rows = max(len(column) for column in values.values())
    begin = index * spec.window_seconds
    window = Window("shop", "", "features", 0, begin, spec.window_seconds, index, index, rows, features)
    findings = [*monitor.add(window), *monitor.add(Mark("shop", "features", 0, 1, window.end))]
    return [finding for finding in findings if isinstance(finding, Alert)]


def test_another_width_of_window_begins_anew_and_ends_what_was_open() -> None:
    """What was learned of one-minute windows says nothing about ten-minute ones: learning starts again, incidents end once."""
    monitor, _ = watched(SPEC)
    wider = replace(SPEC, window_seconds=600.0)
    findings = monitor.reconfigure(wider)
    assert [finding.status for finding in findings if isinstance(finding, Alert)] == ["resolved"]
    assert monitor.open_incidents == []
    assert monitor.learning
    assert monitor.reconfigure(wider) == []


def test_windows_of_the_old_width_that_were_not_judged_yet_are_left() -> None:
    """After a change of width the rest of the old windows in the log neither raises nor is mixed with the new ones."""
    monitor, _ = watched(SPEC)
    wider = replace(SPEC, window_seconds=600.0)
    monitor.reconfigure(wider)
    source = Windows("features", source=0, sources=1, shapes={"shop": WindowShape(60.0, 0.0)})
    rows = [Row(number, "shop", 20_000.0 + number, "", {"x": 9.0}) for number in range(600)]
    assert [finding for item in source.add_rows(rows).records for finding in monitor.add(item)] == []
    assert all(not aligner.parts for aligner in monitor.aligners.values())
