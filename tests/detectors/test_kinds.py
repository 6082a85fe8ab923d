"""Features and traffic of every kind: the budget is kept, nothing raises, and a change is found and told in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from detectors.incidents.alert import Alert
from detectors.model.finding import Finding
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.statistics import StatisticName
from detectors.windows.record import Mark, Window
from detectors.windows.row import VOLUME, Value
from tests.support.simulated import alerts, history, mixed, numbers, watched, window

Rows = list[list[Value]]
EVENTS = 40
REFERENCE = 150


def spec(*, budget: float = 1.0, seconds: float = 60.0, windows: int = REFERENCE) -> ModelSpec:
    """Return a model with that budget, whose reference has so many windows."""
    wanted = ReferenceSpec(seconds=windows * seconds, min_windows=24)
    return ModelSpec("m", window_seconds=seconds, false_alarms_per_week=budget, reference=wanted)


@dataclass(frozen=True, slots=True)
class KindOfFeature:
    """What a feature is: rows for so many windows, usual ones and changed ones, and how the change is told."""

    usual: Callable[[np.random.Generator, int], Rows]
    changed: Callable[[np.random.Generator, int], Rows]
    statistics: set[StatisticName]
    words: str


def shaped(values: np.ndarray) -> Rows:
    """Return plain values, one list for each window."""
    found: Rows = values.tolist()
    return found


def words(rng: np.random.Generator, windows: int, much: float) -> Rows:
    """Return one of 20,000 words for each event, and the same word in a share of them."""
    every = rng.integers(20_000, size=(windows, EVENTS))
    return shaped(np.where(rng.random((windows, EVENTS)) < much, "the same", np.char.add("c", every.astype(str))))


def two_humps(rng: np.random.Generator, windows: int) -> Rows:
    """Return values of mean zero and standard deviation one, in two humps."""
    hump = np.where(rng.random((windows, EVENTS)) < 0.5, -0.954, 0.954)
    return shaped(hump + 0.3 * rng.normal(size=(windows, EVENTS)))


KINDS: dict[str, KindOfFeature] = {
    "one hump, then two": KindOfFeature(
        lambda rng, windows: shaped(rng.normal(size=(windows, EVENTS))),
        two_humps,
        {"shape"},
        r"^distribution changed its shape, mean -?0\.\d+, was -?0\.0\d+$",
    ),
    "constant": KindOfFeature(
        lambda _, windows: shaped(np.full((windows, EVENTS), 5.0)),
        lambda _, windows: shaped(np.full((windows, EVENTS), 6.0)),
        {"location", "outliers"},
        r"100 % far outside the reference, was 0 %|mean up .* sd, from 5 to 6",
    ),
    "all null": KindOfFeature(
        lambda _, windows: [[None] * EVENTS for _ in range(windows)],
        lambda rng, windows: shaped(np.where(rng.random((windows, EVENTS)) < 0.5, None, rng.normal(size=(windows, EVENTS)))),
        {"missing"},
        r"\d\d % null, was 100 %",
    ),
    "boolean": KindOfFeature(
        lambda rng, windows: shaped(rng.random((windows, EVENTS)) < 0.5),
        lambda rng, windows: shaped(rng.random((windows, EVENTS)) < 0.85),
        {"shares", "location"},
        r'share of "(true|false)" \d+ %, was (49|50|51) %|mean up .*from 0\.\d+ to 0\.\d+',
    ),
    "discrete": KindOfFeature(
        lambda rng, windows: shaped(rng.poisson(1.0, size=(windows, EVENTS))),
        lambda rng, windows: shaped(rng.poisson(2.0, size=(windows, EVENTS))),
        {"location", "shape"},
        r"mean up 0\.\d sd, from (0\.9|1\.0|1)\d* to [12]|changed its shape",
    ),
    "heavy-tailed": KindOfFeature(
        lambda rng, windows: shaped(rng.standard_cauchy((windows, EVENTS))),
        lambda rng, windows: shaped(2.0 + rng.standard_cauchy((windows, EVENTS))),
        {"location", "shape"},
        r"mean up \d\.\d sd, from |changed its shape",
    ),
    "near-constant with a large mean": KindOfFeature(
        lambda rng, windows: shaped(1000.0 + rng.normal(size=(windows, EVENTS))),
        lambda rng, windows: shaped(1001.0 + rng.normal(size=(windows, EVENTS))),
        {"location"},
        r"mean up [01]\.\d sd, from 1000 to 100[12]",
    ),
    "high cardinality": KindOfFeature(
        lambda rng, windows: words(rng, windows, 0.0),
        lambda rng, windows: words(rng, windows, 0.7),
        {"unseen"},
        r"\d\d % in new categories the same, .*, was 7\d %",
    ),
}


def verdicts(findings: list[Finding]) -> set[tuple[str, str]]:
    """Return (incident, feature) of all that was told of."""
    told = [found for found in findings if isinstance(found, Alert) and found.status != "resolved"]
    return {(alert.incident, verdict.feature) for alert in told for verdict in alert.features}


@pytest.mark.parametrize("name", KINDS)
def test_a_feature_of_any_kind_keeps_the_budget(name: str) -> None:
    """Eight of them, of which nothing changes over 400 windows, alarm no more often than a large budget allows."""
    rng = np.random.default_rng(21)
    model = spec(budget=1000.0)
    columns = {f"f{index}": mixed(KINDS[name].usual(rng, REFERENCE + 400)) for index in range(8)}
    monitor, findings = watched(model, history(model, columns))
    assert not monitor.learning
    assert len(verdicts(findings)) <= 1000.0 * 400 * 60 / WEEK_SECONDS


@pytest.mark.parametrize("name", KINDS)
def test_a_change_in_a_feature_of_any_kind_is_found_and_told(name: str) -> None:
    """With one false alarm a week it is told within fifteen windows, alone and in words, from about where it began."""
    rng = np.random.default_rng(22)
    kind, model, begin = KINDS[name], spec(), REFERENCE + 30
    rows = kind.usual(rng, begin) + kind.changed(rng, 40)
    columns = {"it": mixed(rows)} | {f"f{index}": numbers(rng.normal(size=(begin + 40, EVENTS))) for index in range(5)}
    (alert,) = alerts(watched(model, history(model, columns))[1])
    (verdict,) = alert.features
    assert verdict.feature == "it"
    assert verdict.statistic in kind.statistics
    assert re.search(kind.words, verdict.words), verdict.words
    assert abs(alert.began_at - begin * 60.0) <= 4 * 60.0
    assert begin * 60.0 < alert.raised_at <= (begin + 15) * 60.0


def traffic(model: ModelSpec, rows: np.ndarray, segments: tuple[str, ...]) -> Iterator[Window | Mark]:
    """Yield windows with so many rows of normal values, `rows` of shape (windows, segments); none where there are none."""
    rng = np.random.default_rng(23)
    for number, counts in enumerate(rows.tolist()):
        start = number * model.window_seconds
        for segment, count in zip(segments, counts, strict=True):
            if count:
                (x,) = numbers(rng.normal(size=(1, count)))
                yield window(model, start, {"x": x}, rows=count, segment=segment)
        yield Mark(model=model.name, kind="features", source=0, sources=1, until=start + model.window_seconds)


def test_traffic_of_chance_keeps_the_budget() -> None:
    """Rows that come as chance has it, in four segments, few and many: their number raises no more than the budget."""
    rng = np.random.default_rng(24)
    model = spec(budget=1000.0)
    means = np.array([3, 10, 40, 160])
    rows = rng.poisson(means, size=(REFERENCE + 400, len(means)))
    findings = watched(model, traffic(model, rows, tuple(f"s{mean}" for mean in means)))[1]
    assert len(verdicts(findings)) <= 1000.0 * 400 * 60 / WEEK_SECONDS


@pytest.mark.parametrize(("share", "told"), [(0.5, "30 rows"), (2.0, "120 rows")])
def test_half_or_double_the_rows_are_told_once_a_week_is_known(share: float, told: str) -> None:
    """With a reference of a week, windows with half or double the rows are an alarm of the volume, and of nothing else."""
    week = 7 * 48
    model = spec(seconds=1800.0, windows=week)
    rows = np.full((week + 48, 1), 60)
    rows[: week + 20, 0] += np.random.default_rng(25).integers(-6, 7, size=week + 20)
    rows[week + 20 :] = round(60 * share)
    (alert,) = alerts(watched(model, traffic(model, rows, ("",)))[1])
    (verdict,) = alert.features
    assert (verdict.feature, verdict.statistic) == (VOLUME, "volume")
    assert re.fullmatch(rf"{told} in a window, was (5\d|6\d)(\.\d)?", verdict.words), verdict.words
    assert verdict.size == pytest.approx(1.0, abs=0.15)
    assert abs(alert.began_at - (week + 20) * 1800.0) <= 2 * 1800.0


def test_before_a_week_is_known_half_or_double_the_rows_are_no_news() -> None:
    """The reference has not seen a weekend: half or double may be one; a tenth of the rows is an alarm, if it is asked for."""
    model = replace(spec(), volume=True)
    rows = np.random.default_rng(26).poisson(60, size=(REFERENCE + 200, 1))
    for part, expected in ((30, 0), (120, 0), (6, 1)):
        rows[REFERENCE + 30 :] = part
        assert len(alerts(watched(model, traffic(model, rows, ("",)))[1])) == expected


def test_an_unknown_week_is_not_watched_unasked() -> None:
    """Where the reference is shorter than a week and the configuration says nothing, a silence is no news of the volume."""
    model = spec()
    rows = np.random.default_rng(28).poisson(60, size=(REFERENCE + 60, 2))
    rows[REFERENCE + 30 :, 1] = 0
    assert alerts(watched(model, traffic(model, rows, ("east", "west")))[1]) == []


def test_a_segment_that_falls_silent_is_told() -> None:
    """No window of it comes any more, the others go on: its volume alarms, with the segment's name and no rows."""
    model = replace(spec(), volume=True)
    rows = np.random.default_rng(27).poisson(60, size=(REFERENCE + 60, 3))
    rows[REFERENCE + 30 :, 1] = 0
    monitor, findings = watched(model, traffic(model, rows, ("east", "north", "west")))
    (alert,) = alerts(findings)
    (verdict,) = alert.features
    assert (alert.segment, verdict.feature) == ("north", VOLUME)
    assert re.fullmatch(r"0 rows in a window, was (5\d|6\d)(\.\d)?", verdict.words), verdict.words
    assert abs(alert.began_at - (REFERENCE + 30) * 60.0) <= 2 * 60.0
    assert alert.raised_at <= (REFERENCE + 45) * 60.0
    assert [incident.segment for incident in monitor.open_incidents] == ["north"]


@pytest.mark.parametrize(("before", "after"), [(80, 800), (800, 80)])
def test_traffic_moves_neither_shape_nor_shares(before: int, after: int) -> None:
    """Ten times the rows, or a tenth of them, of the same distribution are no news of a distribution."""
    draw = np.random.default_rng(29)
    model = spec()
    sizes = [before] * (REFERENCE + 20) + [after] * 80
    words = np.array(["NO", "SE", "DK", "FI"])
    columns = {
        "number": [numbers(draw.normal(size=(1, size)))[0] for size in sizes],
        "word": [mixed([words[draw.integers(4, size=size)].tolist()])[0] for size in sizes],
    }
    assert verdicts(watched(model, history(model, columns))[1]) == set()


@pytest.mark.parametrize("kind", ["text for numbers", "numbers for text"])
def test_another_type_is_as_good_as_none(kind: str) -> None:
    """A pipeline that begins to write "12.5" for 12.5, or a number for a name, is told, with what it is."""
    draw = np.random.default_rng(30)
    values = draw.normal(size=(REFERENCE + 60, EVENTS))
    names = np.where(values > 0, "NO", "SE")
    usual, other = (values, values.astype(str)) if kind == "text for numbers" else (names, values)
    rows = [*usual[: REFERENCE + 30].tolist(), *other[REFERENCE + 30 :].tolist()]
    model = spec()
    (alert,) = alerts(watched(model, history(model, {"x": mixed(rows)}))[1])
    assert "100 % null or of another type, was 0 %" in alert.features[0].words


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_a_boolean_that_is_true_more_often_for_good_is_one_incident(seed: int) -> None:
    """From one row in two hundred to one in twenty, thirty rows a window: opened once, and never told to be back."""
    draw = np.random.default_rng(seed)
    rate = np.where(np.arange(400 + 1500) < 400, 0.005, 0.05)[:, None]
    columns = {"is_fraud": mixed((draw.random((len(rate), 30)) < rate).tolist())}
    monitor, findings = watched(spec(windows=380), history(spec(windows=380), columns))
    assert [found.status for found in findings if isinstance(found, Alert) and found.status != "updated"] == ["opened"]
    assert len(monitor.open_incidents) == 1
