"""Incidents: what begins together is told once, ends once, and never comes back under its old name."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.incidents.alert import Alert
from detectors.incidents.incident import Incidents
from detectors.judging.verdict import JOIN_WINDOWS, Verdict
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.statistics import StatisticName
from detectors.windows.feature import Feature
from detectors.windows.row import ERROR
from tests.support.simulated import alerts as alerts_of
from tests.support.simulated import history, mixed, numbers, watched

pytestmark = pytest.mark.fast

WIDTH = 60.0


def verdict(
    feature: str, *, began: float, at: float, score: float = 5.0, statistic: StatisticName = "location", size: float = 0.0
) -> Verdict:
    """Return a verdict; times in windows."""
    return Verdict(feature, statistic, began * WIDTH, at * WIDTH, score, f"{feature} moved", size)


def raise_(incidents: Incidents, *verdicts: Verdict, segment: str = "", watched: int = 20) -> list[Alert]:
    """Return what on-call hears of the verdicts of one window."""
    at = max(one.at for one in verdicts)
    return incidents.open_or_update(segment, list(verdicts), window_seconds=WIDTH, watched=watched, at=at)


def told(alerts: list[Alert]) -> list[tuple[str, int, list[str]]]:
    """Return what matters of alerts: status, sequence, features."""
    return [(alert.status, alert.sequence, [one.feature for one in alert.features]) for alert in alerts]


def test_what_begins_together_is_one_incident() -> None:
    """Fifty features that break in one window are one alert, the strongest first."""
    incidents = Incidents("m")
    alerts = raise_(incidents, *(verdict(f"f{index:02d}", began=10, at=12, score=index) for index in range(1, 51)))
    assert [(alert.status, len(alert.features), alert.features[0].feature) for alert in alerts] == [("opened", 50, "f50")]
    assert alerts[0].summary == "m: f50, f49, f48 and 47 more changed; f50: f50 moved"


def test_what_is_found_later_and_began_together_joins() -> None:
    """A second feature of the same change is an update of the same incident, in sequence."""
    incidents = Incidents("m")
    (first,) = raise_(incidents, verdict("x", began=10, at=12))
    (second,) = raise_(incidents, verdict("y", began=9, at=20))
    assert told([first, second]) == [("opened", 0, ["x"]), ("updated", 1, ["x", "y"])]
    assert first.incident == second.incident
    assert second.began_at == 9 * WIDTH
    assert second.raised_at == 20 * WIDTH


def test_what_is_raised_soon_after_joins_whatever_its_date() -> None:
    """Chance dates one statistic twenty windows too early: it is part of the incident, whose own begin it does not move."""
    incidents = Incidents("m")
    raise_(incidents, verdict("x", began=50, at=52))
    (alert,) = raise_(incidents, verdict("y", began=30, at=53), verdict("z", began=49, at=53))
    assert (alert.status, alert.began_at, len(alert.features)) == ("updated", 49 * WIDTH, 3)
    (other,) = raise_(incidents, verdict("late", began=30, at=52 + JOIN_WINDOWS + 1))
    assert other.status == "opened"


@pytest.mark.parametrize(
    ("began", "joins"),
    [(50 - JOIN_WINDOWS - 1, False), (50 - JOIN_WINDOWS, True), (52 + JOIN_WINDOWS - 1, True), (52 + JOIN_WINDOWS, False)],
)
def test_what_began_much_later_or_earlier_is_an_incident_of_its_own(began: int, joins: bool) -> None:
    """Ten windows before the first change and ten after it was raised are one incident; beyond, the cause is another."""
    incidents = Incidents("m")
    raise_(incidents, verdict("x", began=50, at=52))
    expected = ("updated", 1, ["x", "y"]) if joins else ("opened", 0, ["y"])
    assert told(raise_(incidents, verdict("y", began=began, at=70))) == [expected]
    assert len(incidents.open) == (1 if joins else 2)


def test_segments_are_apart() -> None:
    """The same change in two segments is two incidents, and each says where."""
    incidents = Incidents("m")
    (eu,) = raise_(incidents, verdict("x", began=10, at=12), segment="eu")
    (us,) = raise_(incidents, verdict("x", began=10, at=12), segment="us")
    assert eu.incident != us.incident
    assert (eu.summary, us.segment) == ("m in segment eu: x changed; x: x moved", "us")


def test_no_second_alarm_for_what_is_known() -> None:
    """Another statistic of a feature that is in an incident is not news."""
    incidents = Incidents("m")
    raise_(incidents, verdict("x", began=10, at=12))
    assert raise_(incidents, verdict("x", began=30, at=32, statistic="scale")) == []
    assert len(incidents.open) == 1


def test_it_ends_once_when_the_last_feature_is_back() -> None:
    """Features leave one by one and silently; the last one ends it; what is over cannot end again."""
    incidents = Incidents("m")
    raise_(incidents, verdict("x", began=10, at=12), verdict("y", began=10, at=12))
    assert incidents.feature_back("", "x", at=1200.0, why="x is back") == []
    assert incidents.feature_back("", "x", at=1200.0, why="x is back") == []
    (ended,) = incidents.feature_back("", "y", at=1800.0, why="y is back")
    assert told([ended]) == [("resolved", 1, ["y"])]
    assert (ended.raised_at, ended.summary) == (1800.0, "m: y is back")
    assert incidents.feature_back("", "y", at=1860.0, why="y is back") == []
    assert incidents.open == []


def test_a_relapse_is_a_new_incident() -> None:
    """The same feature drifts again after its incident ended: another id, from zero."""
    incidents = Incidents("m")
    (first,) = raise_(incidents, verdict("x", began=10, at=12))
    incidents.feature_back("", "x", at=1800.0, why="x is back")
    (second,) = raise_(incidents, verdict("x", began=40, at=42))
    assert first.incident != second.incident
    assert told([second]) == [("opened", 0, ["x"])]


def test_errors_are_critical() -> None:
    """An incident with errors is one of performance."""
    (errors,) = raise_(Incidents("m"), verdict(ERROR, began=10, at=12))
    assert (errors.level, errors.severity) == ("performance", "critical")


def test_severity_follows_from_how_many_features_changed_and_by_how_much() -> None:
    """Critical are three tenths of the features, or one tenth with a large change; one feature alone never is."""

    def severity(*sizes: float, watched: int) -> str:
        changes = [verdict(f"f{number}", began=10, at=12, size=size) for number, size in enumerate(sizes)]
        return raise_(Incidents("m"), *changes, watched=watched)[0].severity

    assert severity(0.2, 0.2, 0.2, watched=10) == "critical"
    assert severity(0.2, 0.2, 0.2, watched=11) == "warning"
    assert severity(1.0, 1.0, watched=20) == "critical"
    assert severity(1.0, 1.0, watched=21) == "warning"
    assert severity(1.0, 0.99, watched=20) == "warning"
    assert severity(1.0, 0.2, 0.2, watched=10) == "critical"
    assert severity(9.0, watched=1) == "warning"


def test_what_is_critical_stays_so() -> None:
    """A second feature makes an incident critical; when they are back one by one, its end still says so."""
    incidents = Incidents("m")
    (one,) = raise_(incidents, verdict("a", began=50, at=52), segment="eu", watched=3)
    assert (one.level, one.severity) == ("drift", "warning")
    (two,) = raise_(incidents, verdict("b", began=50, at=53), segment="eu", watched=3)
    assert two.severity == "critical"
    incidents.feature_back("eu", "a", at=4000.0, why="a is back")
    (ended,) = incidents.feature_back("eu", "b", at=4000.0, why="b is back")
    assert ended.severity == "critical"


def test_ids_follow_from_their_causes() -> None:
    """Two runs give the same ids; another model, segment, time or feature gives another."""

    def first(model: str, segment: str, feature: str, at: float) -> Alert:
        return raise_(Incidents(model), verdict(feature, began=10, at=at), segment=segment)[0]

    assert first("m", "", "x", 12) == first("m", "", "x", 12)
    causes = [("m", "", "x", 12), ("n", "", "x", 12), ("m", "eu", "x", 12), ("m", "", "y", 12), ("m", "", "x", 13)]
    assert len({first(*cause).id for cause in causes}) == len(causes)


def test_the_order_of_verdicts_in_a_window_does_not_matter() -> None:
    """Strongest first, whoever was weighed first."""
    verdicts = [verdict("x", began=10, at=12, score=3.0), verdict("y", began=1, at=12, score=-9.0), verdict("z", began=2, at=12)]
    assert raise_(Incidents("m"), *verdicts) == raise_(Incidents("m"), *reversed(verdicts))


def test_no_more_than_sixteen_are_open_in_a_segment() -> None:
    """The seventeenth change joins the newest incident instead of opening one."""
    incidents = Incidents("m")
    for index in range(40):
        raise_(incidents, verdict(f"f{index}", began=20 * index + 10, at=20 * index + 12))
    assert len(incidents.open) == 16
    assert len(incidents.open[-1].drifted) == 25


@pytest.mark.slow
def test_thirty_of_two_hundred_features_with_mixed_changes_are_one_page() -> None:
    """Means, spreads and nulls that change at once: on-call is called once, and every feature is in that incident."""
    draw = np.random.default_rng(12)
    model = ModelSpec("m", window_seconds=60.0, reference=ReferenceSpec(seconds=100 * 60.0, min_windows=24))
    broken = {f"f{index:03d}" for index in range(0, 180, 6)}
    columns: dict[str, list[Feature]] = {}
    for index in range(200):
        values = draw.normal(size=(150, 20))
        name = f"f{index:03d}"
        now = values[130:]
        if name in broken and index % 18 == 0:
            now += 1.5
        elif name in broken and index % 18 == 6:
            now *= 3.0
        elif name in broken:
            null = (draw.random((150, 20)) < 0.5) & (np.arange(150) >= 130)[:, None]
            columns[name] = mixed(np.where(null, None, values).tolist())
            continue
        columns[name] = numbers(values)
    monitor, findings = watched(model, history(model, columns))
    (opened,) = alerts_of(findings)
    (incident,) = monitor.open_incidents
    assert abs(opened.features[0].began_at - 130 * WIDTH) <= 3 * WIDTH
    assert (130 - JOIN_WINDOWS) * WIDTH <= opened.began_at <= 131 * WIDTH  # the earliest of thirty estimates
    assert opened.raised_at <= 135 * WIDTH
    assert set(incident.drifted) == broken
    assert {one.statistic for one in incident.drifted.values()} >= {"location", "scale", "missing"}
    assert incident.severity == "critical"


@dataclass(frozen=True)
class Step:
    """What happens in one window."""

    raised: list[tuple[str, int, float]]
    back: list[str]


steps = st.lists(
    st.builds(
        Step,
        st.lists(
            st.tuples(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", ERROR]), st.integers(0, 30), st.floats(-20, 20)), max_size=4
        ),
        st.lists(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", ERROR]), max_size=3),
    ),
    max_size=60,
)


def lived(all_steps: list[Step]) -> tuple[Incidents, list[Alert]]:
    """Return the incidents after those windows, and all alerts."""
    incidents, alerts = Incidents("m"), []
    for index, step in enumerate(all_steps, 1):
        verdicts = [verdict(name, began=max(0, index - ago), at=index, score=score) for name, ago, score in step.raised]
        if verdicts:
            alerts.extend(raise_(incidents, *verdicts))
        for feature in step.back:
            alerts.extend(incidents.feature_back("", feature, at=index * WIDTH, why=f"{feature} is back"))
    return incidents, alerts


@given(steps)
def test_every_incident_opens_once_counts_up_and_ends_at_most_once(all_steps: list[Step]) -> None:
    """For any verdicts and recoveries: opened first, then 1, 2, 3; resolved last and once; open ones are those not resolved."""
    incidents, alerts = lived(all_steps)
    lives: dict[str, list[Alert]] = {}
    for alert in alerts:
        lives.setdefault(alert.incident, []).append(alert)
    for life in lives.values():
        assert [alert.sequence for alert in life] == list(range(len(life)))
        assert life[0].status == "opened"
        assert all(alert.status == "updated" for alert in life[1:-1])
        assert all(alert.began_at <= alert.raised_at for alert in life)
    ended = {incident for incident, life in lives.items() if life[-1].status == "resolved"}
    assert {incident.id for incident in incidents.open} == set(lives) - ended
    assert len({alert.id for alert in alerts}) == len(alerts)


@given(steps)
def test_a_feature_is_in_one_incident_at_a_time(all_steps: list[Step]) -> None:
    """No more than sixteen are open, no feature in two of them, none without features."""
    incidents, _ = lived(all_steps)
    features = [feature for incident in incidents.open for feature in incident.drifted]
    assert len(features) == len(set(features))
    assert len(incidents.open) <= 16
    assert all(incident.drifted for incident in incidents.open)


@pytest.mark.slow
@given(steps)
def test_two_lives_are_the_same(all_steps: list[Step]) -> None:
    """The same verdicts give the same alerts, byte for byte."""
    assert msgspec.json.encode(lived(all_steps)[1]) == msgspec.json.encode(lived(all_steps)[1])
