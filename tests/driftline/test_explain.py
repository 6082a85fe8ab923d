"""`driftline explain thresholds` on stored states of the judge."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from detectors.judging.budget import SHARE, false_alarms_per_week, fast_alarms_per_week, fast_limit, run_length, threshold
from detectors.judging.kinds import KIND_RULES
from detectors.judging.shares import sides_of
from detectors.judging.stock_rates import STOCK
from detectors.model.model_monitor import ModelMonitor
from detectors.statistics import UPWARDS, place_of
from detectors.windows.record import Kind
from detectors.windows.row import ERROR
from driftline.cli.main import run
from driftline.config.load import load_settings
from streams.settings import RedisSettings, Secret
from streams.state import reference_file, snapshot
from streams.state.binding import Binding, BoundTopic, replace
from streams.state.reference_file import reference_set_of
from streams.state.store import Store
from tests.support.command_line import Done, beside
from tests.support.simulated import Column, history, mixed, numbers, segment_reference

KEY = "a key that only these tests know"
#: Four days of half hours: enough for three days of reference, and for a season.
WINDOWS = 4 * 48
FRAUD = '[models.fraud]\nwindow = "30m"\nvolume = true\n'


@dataclass(frozen=True, slots=True)
class ExplainHome:
    """A directory with a configuration, a Redis with what a judge left there, and the command line."""

    home: Path
    redis: RedisSettings
    store: Store
    call: Callable[..., Done]

    def configure(self, models: str = FRAUD) -> None:
        """Write the configuration."""
        text = f'[redis]\nurl = "{self.redis.url}"\nprefix = "{self.redis.prefix}"\n{models}'
        (self.home / "driftline.toml").write_text(text)

    def monitor(self, *histories: tuple[Kind, str, Mapping[str, Column]]) -> ModelMonitor:
        """Return the judge's state of the first model after (kind, segment, columns), each behind those before it."""
        spec = load_settings(self.home / "driftline.toml", {}).models[0]
        monitor = ModelMonitor.begin(spec)
        for kind, segment, columns in histories:
            start = max(monitor.aligners[kind].until.values(), default=0.0)
            for record in history(spec, columns, kind=kind, segment=segment, start=start):
                monitor.add(record)
        return monitor

    def keep(self, monitor: ModelMonitor, *, partition: int = 2) -> None:
        """Store a state as judging does, in one of four partitions, and another model's in the one before it."""
        replace(self.store, Binding("cluster", "driftline", {"windows": BoundTopic(None, 4)}))
        self.store.save_snapshot(f"judge/{partition - 1}", None, 7, snapshot.dump({}))
        self.store.save_snapshot(f"judge/{partition}", None, 9, snapshot.dump({monitor.model: monitor}))

    def write_references(self, *, seed: int) -> str:
        """Write references that were learned from plain features into a file named after its version, and return that."""
        spec = load_settings(self.home / "driftline.toml", {}).models[0]
        found = segment_reference(spec, plain(seed=seed))
        reference_set = reference_set_of(spec, {"features": {"": found}})
        (self.home / f"{reference_set.version}.json").write_bytes(reference_file.dump(reference_set))
        return reference_set.version

    def explain(self, *arguments: str, model: str = "fraud") -> Done:
        """Run the command."""
        return self.call("explain", "thresholds", "--model", model, *arguments)

    def account(self) -> dict[str, Any]:
        """Return the object that the command prints with --json, and nothing else on that stream."""
        done = self.explain("--json")
        assert (done.status, done.stdout.count("\n")) == (0, 1), done.stderr
        return done.result


@pytest.fixture
def here(
    tmp_path: Path, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[ExplainHome]:
    """A deployment with one model and no state."""
    with beside(tmp_path, "", monkeypatch):
        monkeypatch.setenv("DRIFTLINE_SIGNING_KEY", KEY)
        found = ExplainHome(
            tmp_path,
            redis_settings,
            Store(redis_settings, Secret(KEY.encode())),
            lambda *line: Done(run(line), *capsys.readouterr()),
        )
        found.configure()
        yield found


def plain(windows: int = WINDOWS, *, seed: int = 1) -> dict[str, Column]:
    """Return three features in which nothing changes: two numbers and a category."""
    draw = np.random.default_rng(seed)
    words = np.array(["NO", "SE", "DK"])[draw.integers(3, size=(windows, 40))].tolist()
    return {
        "amount": numbers(draw.normal(size=(windows, 40))),
        "age": numbers(draw.normal(size=(windows, 40))),
        "country": mixed(words),
    }


def errors(windows: int = WINDOWS) -> dict[str, Column]:
    """Return errors of one answer in ten."""
    return {ERROR: numbers(np.random.default_rng(2).random((windows, 40)) < 0.1)}


def test_every_threshold_follows_from_the_budget(here: ExplainHome):
    """The table has all monitors, the season that the length of the reference gives, and thresholds that spend the budget."""
    monitor = here.monitor(("features", "", plain()), ("outcomes", "", errors()))
    here.keep(monitor)
    account = here.account()
    rows = {(row["windows"], row["statistic"]): row for row in account["rows"]}
    counts = {statistic: row["monitors"] for (kind, statistic), row in rows.items() if kind == "features"}
    of_numbers = {"location": 2, "scale": 2, "shape": 2, "outliers": 2}
    assert counts == {**of_numbers, "shares": 1, "unseen": 1, "missing": 3, "volume": 1}
    assert rows["outcomes", "location"]["monitors"] == 1
    assert account["monitors"] == 15
    assert account["document"] is None
    per_week = 7 * 48
    sides = {
        kind: sum(row["sides"] * row["monitors"] for row in account["rows"] if row["windows"] == kind) for kind in KIND_RULES
    }
    fast = {
        kind: sum(row["sides"] * row["fast_monitors"] for row in account["rows"] if row["windows"] == kind) for kind in KIND_RULES
    }
    assert sides == {"features": 2 * (2 + 2 + 3 + 1) + 2 + 2 + 1 + 1, "outcomes": 1}
    assert 0 < fast["features"] < sides["features"]
    for (kind, statistic), row in rows.items():
        limit = threshold(false_alarms_per_week=KIND_RULES[kind].share, window_seconds=1800.0, sides=sides[kind])
        assert row["threshold"] == pytest.approx(limit)
        assert row["sides"] == (1 if kind == "outcomes" or statistic in UPWARDS else 2)
        assert row["windows_per_week"] == per_week
        mine, quick = row["sides"] * row["monitors"], row["sides"] * row["fast_monitors"]
        share, expected = SHARE * KIND_RULES[kind].share * mine / sides[kind], mine * per_week / run_length(row["threshold"])
        if quick:
            reach = fast_limit(false_alarms_per_week=KIND_RULES[kind].share, window_seconds=1800.0, sides=fast[kind])
            assert row["fast_limit"] == pytest.approx(reach)
            share += (1 - SHARE) * KIND_RULES[kind].share * quick / fast[kind]
            expected += fast_alarms_per_week(limit=reach, window_seconds=1800.0, sides=quick)
        else:
            assert row["fast_limit"] is None
        assert row["share_of_budget"] == pytest.approx(share)
        assert row["false_alarms_per_week"] == pytest.approx(expected)
        assert set(row["seasons"]) == {"slot-of-day"}
        assert row["merged"] == [1, 1]
        assert row["reference_windows"] == [144, 144]
        assert 0 <= row["correlation"][0] <= row["correlation"][1] < 1
    spent = SHARE * (1 if fast["outcomes"] == 0 else 2)
    assert account["false_alarms_per_week"] == pytest.approx(KIND_RULES["features"].share + spent * KIND_RULES["outcomes"].share)
    assert account["judged_until"] == {"features": "1970-01-05T00:00:00.000Z", "outcomes": "1970-01-05T00:00:00.000Z"}
    assert account["learning"] == account["notes"] == []


def test_people_read_a_table_and_a_sentence_for_each_step(here: ExplainHome):
    """Columns in a pipe, and the arithmetic with its numbers."""
    monitor = here.monitor(("features", "", plain()), ("outcomes", "", errors()))
    here.keep(monitor)
    done = here.explain()
    assert (done.status, done.stderr) == (0, "")
    monitors = monitor.channels["features"].judges[""].monitors
    h, limit = monitors.threshold, monitors.limit
    quick = int(monitors.fast[place_of("location")].sum())
    path = rf"{limit:.2f} \({quick}\)" if quick else "-"
    cells = rf"location +2 +336 +\d[\d.]* % +0\.\d+ +{h:.2f} +{path} +1 +slot-of-day +\d\.\d\d( to \d\.\d\d)? +144"
    assert re.search(rf"^features  +- +{cells}$", done.stdout, re.MULTILINE), done.stdout
    heading = "fast path +windows judged together +season +correlation +reference windows"
    assert re.search(heading, done.stdout)
    assert "features: 1 a week x 0.5 (the other half is the fast path's) x 0.9 (windows of features) = 0.45" in done.stdout
    assert "for 14 monitors with 22 sides and 336 windows a week: one in 22 x 336 / 0.45 = 16,427 windows for each side, " in (
        done.stdout
    )
    assert f"for which Siegmund's approximation gives h = {h:.2f}." in done.stdout
    fast = int(sides_of(monitor.channels["features"].judges.values())[1])
    assert (
        f"features, fast path: as many again, for {fast} sides whose scores have the tails for it: two windows in a row beyond "
        f"{limit:.2f} standard deviations on one side."
    ) in done.stdout
    assert "judged over several windows together" not in done.stdout
    assert "features: judged up to 1970-01-05T00:00:00.000Z." in done.stdout
    assert re.search(
        r"^total: 15 monitors, (1|0\.9\d+) false alarms a week expected of a budget of 1 per week", done.stdout, re.MULTILINE
    )


def test_windows_that_are_judged_together_are_said(here: ExplainHome):
    """A feature with two values in a window of a minute is judged over four of them, and counts as a fourth of a side."""
    here.configure('[models.fraud]\nwindow = "1m"\nvolume = true\nreference.duration = "6h"\n')
    draw = np.random.default_rng(3)
    columns = {"often": numbers(draw.normal(size=(400, 30))), "rare": numbers(draw.normal(size=(400, 2)))}
    monitor = here.monitor(("features", "", columns))
    here.keep(monitor)
    account = here.account()
    (location,) = [row for row in account["rows"] if row["statistic"] == "location"]
    (volume,) = [row for row in account["rows"] if row["statistic"] == "volume"]
    assert (location["merged"], volume["merged"]) == ([1, 4], [1, 1])
    every, _ = sides_of(monitor.channels["features"].judges.values())
    alarms = false_alarms_per_week(threshold=location["threshold"], window_seconds=60.0, sides=2 + 2 / 4)
    assert location["false_alarms_per_week"] >= alarms
    assert every % 1 in {0.0, 0.25, 0.5, 0.75}
    printed = here.explain().stdout
    assert "a side of theirs counts as the share of a window that it has." in printed
    assert re.search(r"^features +- +location .* 1 to 4 ", printed, re.MULTILINE)


def test_public_holidays_are_said_where_a_season_looks_at_them(here: ExplainHome):
    """Slots of the week have the calendar beside their name; a season of the day looks at none, and has none."""
    daily = {"amount": numbers(np.random.default_rng(4).normal(size=(5 * 28, 30)))}
    calendar = 'holidays = "DE"\nreference.duration = "28d"\n'
    here.configure(f'[models.fraud]\nwindow = "6h"\n{calendar}')
    here.keep(here.monitor(("features", "", daily)))
    for row in here.account()["rows"]:
        assert list(row["seasons"]) == ["slot-of-week with public holidays of DE"]
    assert " slot-of-week with public holidays of DE " in here.explain().stdout
    here.configure('[models.fraud]\nwindow = "6h"\nreference.duration = "28d"\n')
    assert list(here.account()["rows"][0]["seasons"]) == ["slot-of-week"]
    here.store.drop("snapshot")
    here.configure(f'{FRAUD}holidays = "DE"\n')
    here.keep(here.monitor(("features", "", plain())))
    assert list(here.account()["rows"][0]["seasons"]) == ["slot-of-day"]


def test_references_from_a_file_are_said_with_their_version(here: ExplainHome):
    """What was taken over last stands below the table; a file that the configuration names by now, in a note."""
    here.keep(here.monitor(("features", "", plain())))
    assert "references: version" not in here.explain().stdout
    first, second = here.write_references(seed=1), here.write_references(seed=2)
    here.configure(f'{FRAUD}reference.file = "{first}.json"\n')
    (note,) = here.account()["notes"]
    assert (
        note == f"note: the configuration names references of version {first}, none was taken over yet: start the workers again."
    )
    here.store.drop("snapshot")
    here.keep(here.monitor(("features", "", plain(3))))
    account = here.account()
    assert (account["document"], account["notes"]) == (first, [])
    assert account["monitors"] == 14
    assert f"references: version {first} was taken over from a file." in here.explain().stdout
    here.configure(f'{FRAUD}reference.file = "{second}.json"\n')
    account = here.account()
    assert account["document"] == first
    assert f"names references of version {second}, version {first} was taken over last: " in account["notes"][0]


def test_segments_share_one_budget(here: ExplainHome):
    """Each segment has its rows, and all of them together spend what one would alone."""
    here.keep(here.monitor(("features", "north", plain()), ("features", "south", plain(seed=5))))
    account = here.account()
    assert {row["segment"] for row in account["rows"]} == {"north", "south"}
    assert account["monitors"] == 28
    assert account["false_alarms_per_week"] == pytest.approx(KIND_RULES["features"].share)
    assert account["learning"] == ["outcomes: no window has been judged yet; a share of 0.1 of the budget waits for them."]


def test_what_is_still_learning_is_said(here: ExplainHome):
    """Before the reference is there, there is no table, and how far it has come is told; a feature that is new is named."""
    here.keep(here.monitor(("features", "", plain(48))))
    done = here.explain()
    assert done.status == 0
    assert "features: still learning, 48 windows over 1d of 3d and 24 windows; " in done.stdout
    assert "total:" not in done.stdout

    columns = plain()
    columns["new"] = [None] * (WINDOWS - 10) + list(columns["amount"][:10])
    here.store.drop("snapshot")
    here.keep(here.monitor(("features", "", columns)))
    assert "features: not judged while a reference is learned: new; " in here.explain().stdout


def test_a_configuration_that_changed_is_said(here: ExplainHome):
    """What the state was made with stands in the table; what the configuration gives, in a note."""
    monitor = here.monitor(("features", "", plain()))
    here.keep(monitor)
    before = monitor.channels["features"].judges[""].monitors.threshold
    here.configure(f'{FRAUD}false_alarms = "20 per week"\ndetector = "kswin"\n')
    account = here.account()
    after = threshold(false_alarms_per_week=18.0, window_seconds=1800.0, sides=22)
    assert account["rows"][0]["threshold"] == before
    assert (
        f"features are judged with h = {before:.2f}, the configuration gives {after:.2f}: it has changed" in account["notes"][0]
    )
    assert "features are judged by page_hinkley, the configuration says kswin" in account["notes"][1]
    here.configure('[models.fraud]\nwindow = "1h"\n')
    assert "windows of features were 30m wide, the configuration says 1h: " in here.explain().stdout


def test_a_stock_detector_has_a_rate_and_no_threshold(here: ExplainHome):
    """Its rows say what it is expected to add, by the table of measured rates, and that it keeps no budget."""
    here.configure(f'{FRAUD}detector = "kswin"\noutcomes.detector = "ddm"\n')
    here.keep(here.monitor(("features", "", plain()), ("outcomes", "", errors())))
    account = here.account()
    for row in account["rows"]:
        up = row["windows"] == "outcomes" or row["statistic"] in UPWARDS
        rate = STOCK[row["detector"], "up" if up else "both"].per_1000_windows
        assert (row["threshold"], row["share_of_budget"]) == (None, None)
        assert row["false_alarms_per_week"] == pytest.approx(rate * row["monitors"] * 336 / 1000)
    assert [note.split(" keeps ")[0] for note in account["notes"]] == ["note: kswin", "note: ddm"]
    assert re.search(r"^features +- +location +2 +336 +none +[\d.]+ +kswin ", here.explain().stdout, re.MULTILINE)


def said(done: Done, status: int) -> str:
    """Return the one line on stderr, after checking the status."""
    assert done.status == status, done.stderr
    assert done.stdout == ""
    return done.stderr.strip()


def test_an_unknown_model_is_told_with_those_that_are_known(here: ExplainHome):
    """Status 2, and the nearest name."""
    assert 'no model fruad in driftline.toml; did you mean "fraud"?' in said(here.explain(model="fruad"), 2)
    assert "known: fraud" in said(here.explain(model="xyzzy"), 2)


def test_no_state_yet_says_what_to_start(here: ExplainHome):
    """Before the first worker, and for a model of which no window came, it is one line."""
    words = "driftline: no state of model fraud under "
    assert said(here.explain(), 1).startswith(words)
    here.keep(ModelMonitor.begin(load_settings(Path("driftline.toml"), {}).models[0]))
    here.configure("[models.churn]\n")
    assert "start `driftline worker` and send events" in said(here.explain(model="churn"), 1)


def test_an_altered_state_is_refused(here: ExplainHome):
    """A snapshot with another byte is not read, and nothing of it is unpickled."""
    here.keep(here.monitor(("features", "", plain(48))))
    client: Any = redis.Redis.from_url(here.redis.url)
    name = f"{here.redis.prefix}:snapshot:judge/2"
    blob = bytearray(client.get(name))
    blob[-1] ^= 1
    client.set(name, bytes(blob))
    assert "judge/2" in said(here.explain(), 4)


def test_a_rebuild_that_has_not_finished_is_said(here: ExplainHome):
    """What is being made again is not explained."""
    here.keep(here.monitor(("features", "", plain(48))))
    replace(here.store, Binding("cluster", "driftline", {"windows": BoundTopic(None, 4)}, rebuilding="windows"))
    assert "`driftline rebuild --from windows` has not finished" in said(here.explain(), 4)


def test_without_redis_it_says_so(here: ExplainHome):
    """Status 3, with the address."""
    with socket.socket() as holder:  # as long as it is held, nothing begins to listen there
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        (here.home / "driftline.toml").write_text(f'[redis]\nurl = "redis://127.0.0.1:{port}/0"\n{FRAUD}')
        assert said(here.explain(), 3).startswith(f"driftline: no Redis at 127.0.0.1:{port}/0 ")


def test_nothing_is_written(here: ExplainHome):
    """Every key holds the same bytes afterwards."""
    here.keep(here.monitor(("features", "", plain())))
    client: Any = redis.Redis.from_url(here.redis.url)

    def all_of_it() -> dict[bytes, bytes]:
        return {name: client.get(name) for name in client.scan_iter(f"{here.redis.prefix}:*")}

    before = all_of_it()
    here.explain()
    assert len(before) == 3
    assert all_of_it() == before


@given(
    budget=st.floats(0.01, 100.0),
    seconds=st.sampled_from([10.0, 60.0, 1800.0, 86_400.0]),
    sides=st.floats(1, 10_000),
)
def test_threshold_and_fast_path_spend_a_half_of_the_budget_each(budget: float, seconds: float, sides: float):
    """What is expected at the limits of a budget is the share of it that is spent, unless no limit is as low."""
    limit = threshold(false_alarms_per_week=budget, window_seconds=seconds, sides=sides)
    expected = false_alarms_per_week(threshold=limit, window_seconds=seconds, sides=sides)
    assert expected <= SHARE * budget * (1 + 1e-6)
    assert limit < 0.011 or expected == pytest.approx(SHARE * budget)
    beyond = fast_limit(false_alarms_per_week=budget, window_seconds=seconds, sides=sides)
    quick = fast_alarms_per_week(limit=beyond, window_seconds=seconds, sides=sides)
    assert quick <= (1 - SHARE) * budget * (1 + 1e-6)
    assert beyond < 1e-6 or quick == pytest.approx((1 - SHARE) * budget)
