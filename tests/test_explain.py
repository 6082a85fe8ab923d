"""`driftline explain thresholds` on stored states of the judge, and what `driftline check` says of stock detectors."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stock import STREAMS, alarms, cases
from detectors.budget import SHARE, SHARES, false_alarms_per_week, run_length, threshold, windows_per_week
from detectors.detector import DETECTORS, STOCK, STOCK_CHANCE, STOCK_OUTCOMES
from detectors.row import ERROR
from detectors.watch import Watch
from detectors.window import Kind
from driftline.cli import run
from driftline.config import load_settings
from streams import snapshot
from streams.binding import Binding, Topic, replace
from streams.settings import RedisSettings, Secret
from streams.store import Store
from tests.command_line import Done
from tests.simulated import Column, history, mixed, numbers

KEY = "a key that only these tests know"
#: Four days of half hours: enough for three days of reference, and for a season.
WINDOWS = 4 * 48
FRAUD = '[models.fraud]\nwindow = "30m"\n'


@dataclass(frozen=True, slots=True)
class Deployment:
    """A directory with a configuration, a Redis with what a judge left there, and the command line."""

    home: Path
    redis: RedisSettings
    store: Store
    call: Callable[..., Done]

    def configure(self, models: str = FRAUD) -> None:
        """Write the configuration."""
        text = f'[redis]\nurl = "{self.redis.url}"\nprefix = "{self.redis.prefix}"\n{models}'
        (self.home / "driftline.toml").write_text(text)

    def watch(self, *histories: tuple[Kind, str, Mapping[str, Column]]) -> Watch:
        """Return the judge's state of the first model after (kind, segment, columns), each behind those before it."""
        spec = load_settings(self.home / "driftline.toml", {}).models[0]
        watch = Watch.begin(spec)
        for kind, segment, columns in histories:
            start = max(watch.streams[kind].until.values(), default=0.0)
            for record in history(spec, columns, kind=kind, segment=segment, start=start):
                watch.add(spec, record)
        return watch

    def keep(self, watch: Watch, *, partition: int = 2) -> None:
        """Store a state as judging does, in one of four partitions, and another model's in the one before it."""
        replace(self.store, Binding("cluster", "driftline", {"windows": Topic(None, 4)}))
        self.store.save_snapshot(f"judge/{partition - 1}", None, 7, snapshot.dump({}))
        self.store.save_snapshot(f"judge/{partition}", None, 9, snapshot.dump({watch.model: watch}))

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
) -> Iterator[Deployment]:
    """A deployment with one model and no state."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("DRIFTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DRIFTLINE_SIGNING_KEY", KEY)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    found = Deployment(
        tmp_path, redis_settings, Store(redis_settings, Secret(KEY.encode())), lambda *line: Done(run(line), *capsys.readouterr())
    )
    found.configure()
    yield found
    root.handlers[:], root.level = handlers, level


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


def test_every_threshold_follows_from_the_budget(here: Deployment):
    """The table has all monitors, the season that the length of the reference gives, and thresholds that spend the budget."""
    here.keep(here.watch(("features", "", plain()), ("outcomes", "", errors())))
    account = here.account()
    rows = {(row["windows"], row["statistic"]): row for row in account["rows"]}
    counts = {statistic: row["monitors"] for (kind, statistic), row in rows.items() if kind == "features"}
    assert counts == {"location": 2, "scale": 2, "outliers": 2, "shares": 1, "unseen": 1, "missing": 3}
    assert rows["outcomes", "location"]["monitors"] == 1
    assert account["monitors"] == 12
    per_week = 7 * 48
    for (kind, _), row in rows.items():
        total = 11 if kind == "features" else 1
        limit = threshold(false_alarms_per_week=SHARES[kind], window_seconds=1800.0, monitors=total)
        assert row["threshold"] == pytest.approx(limit)
        assert row["share_of_budget"] == pytest.approx(SHARE * SHARES[kind] * row["monitors"] / total)
        assert row["windows_per_week"] == per_week
        assert row["sides"] == (2 if kind == "features" else 1)
        expected = row["sides"] * row["monitors"] * per_week / run_length(row["threshold"])
        assert row["false_alarms_per_week"] == pytest.approx(expected)
        assert set(row["seasons"]) == {"slot-of-day"}
        assert row["reference_windows"] == [144, 144]
        assert 0 <= row["correlation"][0] <= row["correlation"][1] < 1
    assert account["false_alarms_per_week"] == pytest.approx(0.45 + 0.05 / 2)
    assert account["judged_until"] == {"features": "1970-01-05T00:00:00.000Z", "outcomes": "1970-01-05T00:00:00.000Z"}
    assert account["learning"] == account["notes"] == []


def test_people_read_a_table_and_a_sentence_for_each_step(here: Deployment):
    """Columns in a pipe, and the arithmetic with its numbers."""
    watch = here.watch(("features", "", plain()), ("outcomes", "", errors()))
    here.keep(watch)
    done = here.explain()
    assert (done.status, done.stderr) == (0, "")
    h = watch.sides["features"].judges[""].monitors["amount/location"].threshold
    wanted = rf"^features  - +location +2 +336 +8\.18 % +0\.0818 +{h:.2f} +slot-of-day +\d\.\d\d( to \d\.\d\d)? +144$"
    assert re.search(wanted, done.stdout, re.MULTILINE), done.stdout
    assert "features: 1 a week x 0.5 (the rest is kept for a fast path) x 0.9 (windows of features) = 0.45" in done.stdout
    assert f"one in 22 x 336 / 0.45 = 16,427 windows for each side, for which Siegmund's approximation gives h = {h:.2f}." in (
        done.stdout
    )
    assert "features: judged up to 1970-01-05T00:00:00.000Z." in done.stdout
    assert "only rises are told, so half of it is expected" in done.stdout
    assert "total: 12 monitors, 0.475 false alarms a week expected of a budget of 1 per week" in done.stdout


def test_segments_share_one_budget(here: Deployment):
    """Each segment has its rows, and all of them together spend what one would alone."""
    here.keep(here.watch(("features", "north", plain()), ("features", "south", plain(seed=5))))
    account = here.account()
    assert {row["segment"] for row in account["rows"]} == {"north", "south"}
    assert account["monitors"] == 22
    assert account["false_alarms_per_week"] == pytest.approx(0.45)
    assert account["learning"] == ["outcomes: no window has been judged yet; a share of 0.1 of the budget waits for them."]


def test_what_is_still_learning_is_said(here: Deployment):
    """Before the reference is there, there is no table, and how far it has come is told; a feature that is new is named."""
    here.keep(here.watch(("features", "", plain(48))))
    done = here.explain()
    assert done.status == 0
    assert "features: still learning, 48 windows over 1d of 3d and 24 windows; " in done.stdout
    assert "total:" not in done.stdout

    columns = plain()
    columns["new"] = [None] * (WINDOWS - 10) + list(columns["amount"][:10])
    here.store.drop("snapshot")
    here.keep(here.watch(("features", "", columns)))
    assert "features: not judged while a reference is learned: new; " in here.explain().stdout


def test_a_configuration_that_changed_is_said(here: Deployment):
    """What the state was made with stands in the table; what the configuration gives, in a note."""
    watch = here.watch(("features", "", plain()))
    here.keep(watch)
    before = watch.sides["features"].judges[""].monitors["amount/location"].threshold
    here.configure(f'{FRAUD}false_alarms = "20 per week"\ndetector = "kswin"\n')
    account = here.account()
    after = threshold(false_alarms_per_week=18.0, window_seconds=1800.0, monitors=11)
    assert account["rows"][0]["threshold"] == before
    assert (
        f"features are judged with h = {before:.2f}, the configuration gives {after:.2f}: it has changed" in account["notes"][0]
    )
    assert "features are judged by page_hinkley, the configuration says kswin" in account["notes"][1]
    here.configure('[models.fraud]\nwindow = "1h"\n')
    assert "windows of features were 30m wide, the configuration says 1h: " in here.explain().stdout


def test_a_stock_detector_has_a_rate_and_no_threshold(here: Deployment):
    """Its rows say what it is expected to add, by the table of measured rates, and that it keeps no budget."""
    here.configure(f'{FRAUD}detector = "kswin"\nerrors.detector = "ddm"\n')
    here.keep(here.watch(("features", "", plain()), ("outcomes", "", errors())))
    account = here.account()
    for row in account["rows"]:
        rate = STOCK[row["detector"], "both" if row["windows"] == "features" else "up"].per_1000_windows
        assert (row["threshold"], row["share_of_budget"]) == (None, None)
        assert row["false_alarms_per_week"] == pytest.approx(rate * row["monitors"] * 336 / 1000)
    assert [note.split(" keeps ")[0] for note in account["notes"]] == ["note: kswin", "note: ddm"]
    assert re.search(r"^features +- +location +2 +336 +none +[\d.]+ +kswin ", here.explain().stdout, re.MULTILINE)


def said(done: Done, status: int) -> str:
    """Return the one line on stderr, after checking the status."""
    assert done.status == status, done.stderr
    assert done.stdout == ""
    return done.stderr.strip()


def test_an_unknown_model_is_told_with_those_that_are_known(here: Deployment):
    """Status 2, and the nearest name."""
    assert 'no model fruad in driftline.toml; did you mean "fraud"?' in said(here.explain(model="fruad"), 2)
    assert "known: fraud" in said(here.explain(model="xyzzy"), 2)


def test_no_state_yet_says_what_to_start(here: Deployment):
    """Before the first worker, and for a model of which no window came, it is one line."""
    words = "driftline: no state of model fraud under "
    assert said(here.explain(), 1).startswith(words)
    here.keep(Watch.begin(load_settings(Path("driftline.toml"), {}).models[0]))
    here.configure("[models.churn]\n")
    assert "start `driftline worker` and send events" in said(here.explain(model="churn"), 1)


def test_an_altered_state_is_refused(here: Deployment):
    """A snapshot with another byte is not read, and nothing of it is unpickled."""
    here.keep(here.watch(("features", "", plain(48))))
    client: Any = redis.Redis.from_url(here.redis.url)
    name = f"{here.redis.prefix}:snapshot:judge/2"
    blob = bytearray(client.get(name))
    blob[-1] ^= 1
    client.set(name, bytes(blob))
    assert "judge/2" in said(here.explain(), 4)


def test_a_rebuild_that_has_not_finished_is_said(here: Deployment):
    """What is being made again is not explained."""
    here.keep(here.watch(("features", "", plain(48))))
    replace(here.store, Binding("cluster", "driftline", {"windows": Topic(None, 4)}, rebuilding="windows"))
    assert "`driftline rebuild --from windows` has not finished" in said(here.explain(), 4)


def test_without_redis_it_says_so(here: Deployment):
    """Status 3, with the address."""
    with socket.socket() as holder:  # as long as it is held, nothing begins to listen there
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        (here.home / "driftline.toml").write_text(f'[redis]\nurl = "redis://127.0.0.1:{port}/0"\n{FRAUD}')
        assert said(here.explain(), 3).startswith(f"driftline: no Redis at 127.0.0.1:{port}/0 ")


def test_nothing_is_written(here: Deployment):
    """Every key holds the same bytes afterwards."""
    here.keep(here.watch(("features", "", plain())))
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
    monitors=st.integers(1, 5000),
)
def test_a_threshold_spends_its_budget(budget: float, seconds: float, monitors: int):
    """What is expected at the threshold of a budget is the share of it that is spent, unless no threshold is as low."""
    limit = threshold(false_alarms_per_week=budget, window_seconds=seconds, monitors=monitors)
    expected = false_alarms_per_week(threshold=limit, window_seconds=seconds, monitors=monitors)
    assert expected <= SHARE * budget * (1 + 1e-6)
    assert limit < 0.011 or expected == pytest.approx(SHARE * budget)


def test_check_tells_what_a_stock_detector_is_expected_to_add(here: Deployment):
    """The number is the rate of the table x monitors x windows a week, for features that are named and for those that are not."""
    named = 'features = ["amount", "age", "country"]\ncategorical = ["country"]\n'
    for features, monitors, whose in (
        ("", 4, "each feature of numbers and segment"),
        (named, 11, "3 features of each segment, predictions apart"),
    ):
        here.configure(f'{FRAUD}{features}detector = "kswin"\nerrors.detector = "eddm"\n')
        done = here.call("check")
        assert done.status == 0
        added = STOCK["kswin", "both"].per_1000_windows * monitors * windows_per_week(1800.0) / 1000
        cost = f"{added:.2g} false alarms a week for {whose}: {monitors} monitors x 336 windows a week x about"
        words = "keeps no false-alarm budget; page_hinkley does. It is expected to add about"
        assert f"note: models.fraud.detector kswin {words} {cost} " in done.stdout
        assert "models.fraud.errors.detector eddm keeps no false-alarm budget" in done.stdout
        assert "1 monitor x 336 windows a week x about" in done.stdout
        assert "the rate depends on both" in done.stdout


def test_every_stock_detector_has_a_rate():
    """For each direction in which it can be used, and with what it depends on."""
    assert set(STOCK) == {(name, direction) for name, direction, _, _ in cases()}
    assert {name for name, _ in STOCK} == {name for name, kind in DETECTORS.items() if not kind.budgeted}
    for (name, _), rate in STOCK.items():
        assert (rate.most is not None) == (DETECTORS[name].feed == "outcomes")
        if rate.least is not None and rate.most is not None:
            assert 0 <= rate.least <= rate.per_1000_windows <= rate.most
    assert STREAMS[0] == (STOCK_CHANCE, STOCK_OUTCOMES)


@pytest.mark.parametrize(("name", "direction"), STOCK)
def test_the_table_is_what_the_benchmark_finds(name: str, direction: Any):
    """A short run on the stated stream raises as many as the table says, but for chance."""
    thousands = 4
    raised = alarms(name, direction, monitors=2, windows=500 * thousands, chance=STOCK_CHANCE, outcomes=STOCK_OUTCOMES, seed=11)
    expected = STOCK[name, direction].per_1000_windows * thousands
    assert abs(raised - expected) <= 4 * np.sqrt(expected + 1)


def test_the_benchmark_prints_every_case():
    """A rate with its standard error for each detector, direction and stream, and one JSON object as the last line."""
    command = [sys.executable, "-m", "benchmarks.stock", "--quick"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=240, check=True)
    *table, last = done.stdout.splitlines()
    result = json.loads(last)
    assert len(table) == 1 + len(cases())
    assert {(name, case["direction"]) for name, found in result["detectors"].items() for case in found} == set(STOCK)
    for case in (case for found in result["detectors"].values() for case in found):
        raised = case["rate"] * result["windows"] / 1000
        assert case["standard_error"] == pytest.approx(raised**0.5 * 1000 / result["windows"])
