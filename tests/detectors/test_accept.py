"""Accepted changes: what is all right becomes the new normal, once, and again in every history that is made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import DriftlineError
from detectors.incidents.alert import Alert
from detectors.incidents.decision import Acceptance, Change
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.spec import ModelSpec, OutlierSpec, ReferenceSpec
from detectors.windows.record import Mark, Window
from driftline.cli.main import run
from driftline.config.load import load_settings
from driftline.references.accept import accept
from streams.kafka import Log
from streams.records import window_codec, window_records
from streams.settings import Settings
from streams.state import binding, snapshot
from streams.state.rebuild import placed
from streams.state.store import Store
from streams.topics import WINDOWS, topic_name
from tests.support import simulated
from tests.support.command_line import Done, beside
from tests.support.simulated import alerts, numbers
from tests.support.story import ROUND_ROBIN, SOURCES, SPEC, Record, as_bytes, check_carried_over, features_only, findings

QUIET = ModelSpec(
    "m",
    window_seconds=60.0,
    reference=ReferenceSpec(seconds=60 * 60.0, min_windows=24),
    outliers=OutlierSpec(enabled=False),
)


def drifting(spec: ModelSpec = QUIET, *, windows: int = 500) -> list[Window | Mark]:
    """Return records in which x and z move at window 100, y at 160, and x moves back at 400."""
    draw = np.random.default_rng(6)
    columns = {name: draw.normal(size=(windows, 20)) for name in ("x", "y", "z")}
    columns["x"][100:400] += 5
    columns["z"][100:] -= 5
    columns["y"][160:] += 5
    return list(simulated.history(spec, {name: numbers(values) for name, values in columns.items()}))


def fed(monitor: ModelMonitor, records: Iterable[Record], spec: ModelSpec = QUIET) -> list[Finding]:
    """Return what a watch finds."""
    return [finding for record in records for finding in monitor.add(record)]


STORY = drifting()
#: Windows and marks up to a while behind the two changes at window 100.
KNOWN = 240


@pytest.fixture
def monitor() -> ModelMonitor:
    """A model with one incident open, about x and z."""
    found = ModelMonitor.begin(QUIET)
    fed(found, STORY[:KNOWN])
    assert [sorted(one.drifted) for one in found.open_incidents] == [["x", "z"]]
    return found


# -- what the judge makes of it ----------------------------------------------------------------------


def test_an_accepted_change_is_the_new_normal(monitor: ModelMonitor) -> None:
    """The incident ends and says why, its features are learned from the alarm on, the others stay under watch."""
    found = fed(monitor, [accept(monitor, incident=None, features=()), *STORY[KNOWN:]])
    (ended, *_) = alerts(found, "resolved")
    assert ended.summary == "m: accepted as the new normal: x, z"
    assert [[verdict.feature for verdict in alert.features] for alert in alerts(found)] == [["y"], ["x"]]
    assert [alert.began_at / 60 for alert in alerts(found)] == pytest.approx([160, 400], abs=3)
    learned = [finding.at / 60 for finding in found if isinstance(finding, ReferenceLearned)]
    assert learned[0] == pytest.approx(100 + 60, abs=4)  # an hour from the alarm, not from the acceptance at 120
    references = monitor.channels["features"].judges[""].references
    assert {name: round(references[name].mean) for name in ("x", "y", "z")} == {"x": 5, "y": 0, "z": -5}


def test_only_the_features_that_are_named_are_accepted(monitor: ModelMonitor) -> None:
    """The rest of the incident stays open, and ends when that is accepted too."""
    assert alerts(fed(monitor, [accept(monitor, incident=None, features=("z",))]), "resolved") == []
    assert [sorted(one.drifted) for one in monitor.open_incidents] == [["x"]]
    assert list(monitor.channels["features"].judges[""].renewing) == ["z"]
    (ended,) = alerts(fed(monitor, [accept(monitor, incident=monitor.open_incidents[0].id, features=())]), "resolved")
    assert ended.summary == "m: accepted as the new normal: x"


def test_saying_it_twice_is_saying_it_once(monitor: ModelMonitor) -> None:
    """The id is that of what is accepted; the second record finds nothing open, also when a relapse has come since."""
    acceptance = accept(monitor, incident=None, features=())
    assert accept(monitor, incident=None, features=("z", "x")).id == acceptance.id
    once = snapshot.load("judge/0", snapshot.dump({"m": monitor}))["m"]
    once.bind(QUIET)
    wanted = fed(once, [acceptance, *STORY[KNOWN:]])
    found = fed(monitor, [acceptance, acceptance, *STORY[KNOWN:-40], acceptance, *STORY[-40:]])
    assert monitor.open_incidents  # the relapse of x at window 400
    assert as_bytes(found) == as_bytes(wanted)
    assert snapshot.dump({"m": once}) == snapshot.dump({"m": monitor})


def test_what_has_ended_or_came_later_is_not_accepted(monitor: ModelMonitor) -> None:
    """The word is about what was open when it was given: an incident of y that opens before it is read stays open."""
    acceptance = accept(monitor, incident=None, features=())
    late = Acceptance(acceptance.id, "m", [], [*acceptance.changes, Change("features", "", "y")], acceptance.seen)
    fed(monitor, STORY[KNOWN:340])
    assert any("y" in one.drifted for one in monitor.open_incidents)
    fed(monitor, [late])
    assert [sorted(one.drifted) for one in monitor.open_incidents] == [["y"]]
    unknown = Acceptance("acceptance-1", "m", [], [Change("outcomes", "nowhere", "y")], {"outcomes": 1e12})
    assert fed(monitor, [unknown]) == []


def test_only_the_segment_that_drifted_learns_anew() -> None:
    """The same feature in another segment kept its distribution, so it keeps its reference."""
    draw = np.random.default_rng(7)
    columns = {"eu": draw.normal(size=(130, 20)), "us": draw.normal(size=(130, 20))}
    columns["eu"][100:] += 5
    monitor = ModelMonitor.begin(QUIET)
    for index in range(130):
        for segment, values in columns.items():
            feature = numbers(values[index : index + 1])[0]
            monitor.add(simulated.window(QUIET, index * 60.0, {"x": feature}, rows=20, segment=segment))
        monitor.add(Mark(model="m", kind="features", source=0, sources=1, until=(index + 1) * 60.0))
    fed(monitor, [accept(monitor, incident=None, features=("x",))])
    judges = monitor.channels["features"].judges
    assert {name: list(judge.renewing) for name, judge in judges.items()} == {"eu": ["x"], "us": []}


def test_the_record_goes_through_the_topic(monitor: ModelMonitor) -> None:
    """Written and read again it is the same, with and without a place."""
    acceptance = accept(monitor, incident=None, features=())
    (carried,) = placed(iter([*STORY[:KNOWN], acceptance]))
    assert carried.place is not None
    for one in (acceptance, carried):
        message = window_records.outgoing(Settings().kafka, one)
        assert message.key == b"m"
        assert window_codec.parse(message.value) == one


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("incident", "features", "told"),
    [
        (
            "incident-0",
            (),
            r"no incident incident-0 of model m is open \(judged up to 1970-01-01T02:00.*; open: incident-\w+ \(x, z\)",
        ),
        (None, ("y",), r"feature y of model m is in no open incident \(judged up to .*open: incident-"),
        (None, ("x", "zz"), r'model m has no feature zz; did you mean "z"\?'),
    ],
)
def test_what_is_not_open_is_refused(monitor: ModelMonitor, incident: str | None, features: tuple[str, ...], told: str) -> None:
    """An incident or a feature that is unknown, or calm, is named with what is open."""
    with pytest.raises(DriftlineError, match=told):
        accept(monitor, incident=incident, features=features)


def test_which_one_is_meant_must_be_clear(monitor: ModelMonitor) -> None:
    """Of several open incidents one has to be named; where none is open there is nothing to accept."""
    with pytest.raises(DriftlineError, match="no incident of model m is open: there is nothing to accept"):
        accept(ModelMonitor.begin(QUIET), incident=None, features=())
    fed(monitor, STORY[KNOWN:400])
    first, second = monitor.open_incidents
    with pytest.raises(DriftlineError, match=f"2 incidents of model m are open: .*{first.id} .*{second.id}"):
        accept(monitor, incident=None, features=())
    assert [change.feature for change in accept(monitor, incident=second.id, features=()).changes] == ["y"]
    with pytest.raises(DriftlineError, match=f"feature x of model m is not in {second.id}"):
        accept(monitor, incident=second.id, features=("x",))


# -- a history that is made again ----------------------------------------------------------------------


def accepted(records: list[Record], delay: int) -> list[Record]:
    """Return the records with an acceptance of all that is open when the first alarm is known, so many records later."""
    monitor = ModelMonitor.begin(SPEC)
    for number, record in enumerate(records):
        monitor.add(record)
        if monitor.open_incidents:
            word = accept(monitor, incident=monitor.open_incidents[0].id, features=())
            return [*records[: number + delay], word, *records[number + delay :]]
    raise AssertionError("the story has no incident")


@effort(max_examples=5)
@given(st.lists(st.integers(0, SOURCES - 1), max_size=400), st.integers(1, 60))
def test_an_acceptance_that_was_carried_over_holds_where_it_did(order: list[int], delay: int) -> None:
    """In a history whose sources take turns in another way, with it before all windows, all that is found is the same."""
    check_carried_over(accepted(features_only(ROUND_ROBIN), delay), order)


def test_an_acceptance_goes_through_a_snapshot_on_the_way_to_its_place() -> None:
    """A judge that is stopped between the beginning of the history and its place does not forget it."""
    told = accepted(features_only(ROUND_ROBIN), 20)
    monitor = ModelMonitor.begin(SPEC)
    found = fed(monitor, placed(iter(told)), SPEC)
    for number, record in enumerate(features_only(ROUND_ROBIN)):
        found += monitor.add(record)
        if number % 100 == 0:
            monitor = snapshot.load("judge/0", snapshot.dump({"m": monitor}))["m"]
            monitor.bind(SPEC)
    assert as_bytes(found) == findings(told)


# -- the command ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Here:
    """A directory with a configuration for real servers, with what a judge left in Redis, and the command."""

    settings: Settings
    call: Callable[..., Done]

    def written(self) -> list[bytes]:
        """Return what the windows topic holds."""
        topic = topic_name(self.settings.kafka.prefix, WINDOWS)
        log = Log(self.settings.kafka, "test")
        try:
            starts = {number: first for number, (first, end) in log.ends(topic).items() if end > first}
            return [record.value or b"" for record in log.read(topic, starts)] if starts else []
        finally:
            log.close()


@pytest.fixture
def here(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    """The command line, beside a configuration of one model."""
    config = (
        f'[kafka]\nbootstrap = "{settings.kafka.bootstrap}"\nprefix = "{settings.kafka.prefix}"\n'
        f'[redis]\nurl = "{settings.redis.url}"\nprefix = "{settings.redis.prefix}"\n'
        '[models.m]\nwindow = "1m"\nreference.duration = "1h"\noutliers.enabled = false\n'
    )
    with beside(tmp_path, config, monkeypatch):
        monkeypatch.setenv("DRIFTLINE_SIGNING_KEY", settings.signing_key.reveal().decode())
        assert load_settings(tmp_path / "driftline.toml", {}).models == (QUIET,)
        yield Here(settings, lambda *line: Done(run(["incident", "accept", *line]), *capsys.readouterr()))


def test_the_command_writes_one_record_that_the_judge_takes(here: Here, monitor: ModelMonitor) -> None:
    """With a state in Redis the record is written, and what is wrong is told before anything is."""
    done = here.call("--model", "m")
    assert (done.status, done.stdout) == (1, "")
    assert "no state of model m" in done.stderr

    store = Store(here.settings.redis, here.settings.signing_key)
    binding.bind(store, binding.current(here.settings.kafka))
    store.save_snapshot("judge/1", None, KNOWN, snapshot.dump({"m": monitor}))
    for wrong, told, status in (
        (("--model", "n"), "no model n in driftline.toml", 2),
        (("--model", "m", "--incident", "incident-1"), "no incident incident-1 of model m is open", 1),
        (("--model", "m", "--feature", "y"), "feature y of model m is in no open incident", 1),
    ):
        done = here.call(*wrong)
        assert (done.status, done.stdout) == (status, "")
        assert told in done.stderr
    assert here.written() == []

    done = here.call("--model", "m", "--feature", "x", "--feature", "z")
    assert done.status == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["accepted: x", "accepted: z"]
    (value,) = here.written()
    (ended,) = alerts(monitor.add(window_codec.parse(value)), "resolved")
    assert isinstance(ended, Alert)
    assert ended.summary == "m: accepted as the new normal: x, z"
    assert here.call("--model", "m").status == 0  # the state in Redis has not moved: said twice
    assert here.written() == [value, value]
    assert monitor.add(window_codec.parse(here.written()[-1])) == []
