"""`driftline reference show`: what is told is what the values were, and what a judge with these references watches."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.model.channel import Channel
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.row import ERROR, VOLUME, Value
from driftline.cli.main import run
from driftline.references.contents import PERCENT, FeatureContents, of_reference_set
from driftline.text import wording
from streams.settings import RedisSettings, Secret
from streams.state import reference_file, snapshot
from streams.state.binding import Binding, BoundTopic, bind
from streams.state.reference_file import reference_set_of
from streams.state.references import References
from streams.state.store import Store
from tests.support.command_line import Done, beside
from tests.support.simulated import Column, mixed, numbers, segment_reference

KEY = "a key that only these tests know"
#: Four weeks of hours: slots of the week.
SPEC = ModelSpec("fraud", window_seconds=3600.0, holidays="DE", volume=True, reference=ReferenceSpec(seconds=86_400.0))
WINDOWS, EVENTS = 28 * 24, 50
CONFIG = "[models.fraud]\n[models.churn]\n"


def gone(windows: int, seconds: float) -> np.ndarray:
    """Return where values are missing: one in seven before noon, one in twenty after it, shape (windows, events)."""
    morning = np.arange(windows) * seconds % 86_400.0 < 43_200.0
    return np.random.default_rng(6).random((windows, EVENTS)) < np.where(morning, 0.15, 0.05)[:, None]


def amounts(windows: int, seconds: float) -> Column:
    """Return numbers of mean 3 and standard deviation 2, of which one in ten is missing."""
    values: np.ndarray = np.random.default_rng(4).normal(3.0, 2.0, size=(windows, EVENTS)).astype(object)
    values[gone(windows, seconds)] = None
    return mixed(values.tolist())


def columns() -> dict[str, Column]:
    """Return features of each type; `both` has words beside its numbers."""
    draw = np.random.default_rng(5)
    shape = (WINDOWS, EVENTS)
    words = np.array(["NO", "SE", "DK"])[draw.choice(3, size=shape, p=[0.7, 0.2, 0.1])].tolist()
    both: list[list[Value]] = [[*row[:25], *words[at][25:]] for at, row in enumerate(draw.normal(size=shape).tolist())]
    return {"amount": amounts(WINDOWS, 3600.0), "country": mixed(words), "both": mixed(both)}


@pytest.fixture(scope="module")
def reference_set() -> ReferenceSet:
    """References of two segments, one with fewer features, and of errors."""
    found = columns()
    wrong = numbers(np.random.default_rng(2).random((200, EVENTS)) < 0.1)
    few = {"amount": found["amount"][:200]}
    segments = {"": segment_reference(SPEC, found), "eu": segment_reference(SPEC, few)}
    errors = {"": segment_reference(SPEC, {ERROR: wrong}, kind="outcomes")}
    errors[""].learned.pop(VOLUME)
    return reference_set_of(SPEC, {"features": segments, "outcomes": errors})


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """A function that runs `driftline reference show` in a directory without a configuration."""

    def run_it(*arguments: str) -> Done:
        return Done(run(["reference", "show", *arguments]), *capsys.readouterr())

    with beside(tmp_path, None, monkeypatch):
        yield run_it


@pytest.fixture
def store(redis_settings: RedisSettings, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A Redis that the configuration beside the command names."""
    assert call
    Path("driftline.toml").write_text(f'[redis]\nurl = "{redis_settings.url}"\nprefix = "{redis_settings.prefix}"\n{CONFIG}')
    monkeypatch.setenv("DRIFTLINE_SIGNING_KEY", KEY)
    return Store(redis_settings, Secret(KEY.encode()))


def told(reference_set: ReferenceSet, feature: str, segment: str = "") -> FeatureContents:
    """Return what is told of one feature."""
    (found,) = (
        one for one in of_reference_set(reference_set, "x").segments if (one.windows_of, one.segment) == ("features", segment)
    )
    (mine,) = (one for one in found.features if one.feature == feature)
    return mine


def in_json(done: Done) -> dict[str, dict[str, Any]]:
    """Return feature -> what is told of it in the first segment."""
    assert (done.status, done.stdout.count("\n")) == (0, 1), done.stderr
    return {feature["feature"]: feature for feature in done.result["segments"][0]["features"]}


def test_numbers_are_told_as_they_were(reference_set: ReferenceSet):
    """Mean, spread, quantiles and the share of missing values are those of the normal distribution they were drawn from."""
    amount = told(reference_set, "amount")
    assert (amount.kind, amount.shares) == ("numbers", {})
    assert (amount.mean, amount.spread) == (pytest.approx(3.0, abs=0.05), pytest.approx(2.0, abs=0.05))
    assert amount.quantiles["50"] == pytest.approx(3.0, abs=0.06)
    assert amount.quantiles["95"] == pytest.approx(3.0 + 2 * 1.645, abs=0.12)
    assert list(amount.quantiles) == [str(percent) for percent in PERCENT]
    assert list(amount.quantiles.values()) == sorted(amount.quantiles.values())
    assert amount.missing == pytest.approx(0.1, abs=0.005)


def test_categories_are_told_as_they_were(reference_set: ReferenceSet):
    """Shares are those that they were drawn with, the most frequent first; of a feature of both types both are told."""
    country = told(reference_set, "country")
    assert (country.kind, country.mean, country.spread, country.quantiles) == ("categories", None, None, {})
    assert list(country.shares) == ["NO", "SE", "DK"]
    assert list(country.shares.values()) == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert (country.other, country.categories, country.missing) == (0.0, 3, 0.0)
    both = told(reference_set, "both")
    assert both.kind == "numbers and categories"
    assert both.quantiles
    assert both.shares
    volume = told(reference_set, VOLUME)
    assert (volume.kind, volume.mean, volume.missing) == ("number of rows", EVENTS, None)


def test_seasons_and_windows_are_those_of_the_baselines(reference_set: ReferenceSet):
    """By name, with the calendar that the season looks at; and how many windows stand behind it."""
    long, short = told(reference_set, "amount").monitors, told(reference_set, "amount", "eu").monitors
    assert long is not None
    assert short is not None
    assert {(one.season, one.windows) for one in long} == {("slot-of-week with public holidays of DE", WINDOWS)}
    assert {(one.season, one.windows) for one in short} == {("slot-of-day", 200)}
    assert all(0 <= one.correlation < 1 for one in (*long, *short))


def test_a_missing_rate_is_that_of_the_whole_day():
    """Also where harmonics of the day say what is expected at its hours."""
    spec = replace(SPEC, window_seconds=600.0)
    found = {"amount": amounts(450, 600.0)}
    amount = told(reference_set_of(spec, {"features": {"": segment_reference(spec, found)}}), "amount")
    assert {one.season for one in amount.monitors or ()} == {"daily"}
    assert amount.missing == pytest.approx(0.1, abs=0.01)


@effort(max_examples=10)
@given(seed=st.integers(0, 1000), events=st.sampled_from([1, 2, 12]), slow=st.sampled_from([0.0, 0.9]))
def test_monitors_are_those_of_a_judge_that_takes_the_file_over(seed: int, events: int, slow: float):
    """And so are the windows that are judged together, however few values they hold and however alike they are."""
    draw = np.random.default_rng(seed)
    level = np.zeros(96)
    for at in range(1, len(level)):
        level[at] = slow * level[at - 1] + draw.normal()
    found = {"x": numbers(level[:, None] + draw.normal(size=(96, events))), "y": mixed([["a"] * events] * 96)}
    spec = replace(SPEC, window_seconds=60.0, volume=None)
    reference_set = reference_set_of(spec, {"features": {"": segment_reference(spec, found)}})
    judging = replace(spec, reference=replace(spec.reference, reference_set=reference_set))
    judge = Channel.begin(judging, "features").judges[""]
    contents = of_reference_set(reference_set, "x")
    told = [(one.feature, each.statistic) for one in contents.segments[0].features for each in one.monitors or ()]
    assert sorted(told) == sorted(judge.watched())
    assert contents.monitors == len(told)
    rollup_widths = dict(zip(judge.references, judge.rollup.rollup_widths.tolist(), strict=True))
    assert {one.feature: one.merged for one in contents.segments[0].features} == rollup_widths
    assert max(rollup_widths.values()) > 1 or (slow, events) == (0.0, 12)


def test_a_file_is_shown_without_a_configuration(call: Callable[..., Done], reference_set: ReferenceSet):
    """Its head, a row for each segment and one for each feature; and the same as JSON."""
    Path("reference.json").write_bytes(reference_file.dump(reference_set))
    done = call("reference.json")
    assert done.status == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        f"version {reference_set.version}",
        "model fraud",
        "learned from windows of features of 1h, outcomes of 1h",
        "to 1970-01-29T00:00:00.000Z",
        "time zone UTC, public holidays of DE",
        "features all that appeared",
        "features - 672 1970-01-01T00:00:00.000Z 1970-01-29T00:00:00.000Z 4 16",
        "features eu 200 1970-01-01T00:00:00.000Z 1970-01-09T08:00:00.000Z 2 6",
        "outcomes - 200 1970-01-01T00:00:00.000Z 1970-01-09T08:00:00.000Z 1 1",
        "monitors 23",
    ):
        assert line in lines
    (country,) = (line for line in lines if line.startswith("features - country"))
    shares = told(reference_set, "country").shares
    assert ", ".join(f"{name} {100 * share:.3g} %" for name, share in shares.items()) in country
    assert country.endswith("0 % slot-of-week with public holidays of DE 0.00 1 3")
    features = in_json(call("reference.json", "--json", "--model", "fraud"))
    assert features["amount"]["quantiles"] == told(reference_set, "amount").quantiles
    assert features["country"]["mean"] is None


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        (lambda _: None, 2, "there is no file reference.json; name one, or a version as `driftline reference list` prints it"),
        (lambda _: b"amount,age\n1,2\n", 4, "reference.json: not a file of references: make it again"),
        (lambda good: good[: len(good) // 2], 4, "reference.json: not a file of references: make it again"),
        (lambda good: good.replace(b'"UTC"', b'"CET"'), 4, "it was changed by hand, or damaged: make it again"),
        (lambda good: orjson.dumps(orjson.loads(good) | {"format": 9}), 4, "reference.json: format 9, written by Driftline"),
    ],
)
def test_a_file_that_cannot_be_shown_says_why(
    call: Callable[..., Done], reference_set: ReferenceSet, change: Callable[[bytes], bytes | None], status: int, sentence: str
):
    """In one sentence with the way out."""
    content = change(reference_file.dump(reference_set))
    if content is not None:
        Path("reference.json").write_bytes(content)
    done = call("reference.json")
    assert (done.status, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert sentence in done.stderr


def test_a_file_of_another_model_is_refused(call: Callable[..., Done], reference_set: ReferenceSet):
    """The message names both."""
    Path("reference.json").write_bytes(reference_file.dump(reference_set))
    done = call("reference.json", "--model", "churn")
    assert (done.status, done.stdout) == (2, "")
    assert "reference.json: references of model fraud, not of churn; say --model fraud, or name another file" in done.stderr


def test_a_version_is_read_from_redis(call: Callable[..., Done], reference_set: ReferenceSet, store: Store):
    """What a judge took over from a file is shown as the file is; what it learned itself, as far as it is kept."""
    spec = replace(SPEC, reference=replace(SPEC.reference, reference_set=reference_set))
    monitor, references = ModelMonitor.begin(spec), References(store)
    references.keep(reference_set)
    learned = {found.segment: references.publish(found) for found in monitor.learned()}
    bind(store, Binding("cluster", "driftline", {"windows": BoundTopic(None, 1)}))
    store.save_snapshot("judge/0", None, 10, snapshot.dump({"fraud": monitor}))
    kept = in_json(call(reference_set.version, "--json"))
    assert kept["amount"]["quantiles"] == told(reference_set, "amount").quantiles
    assert kept == in_json(call(reference_set.version, "--model", "fraud", "--json"))
    own = in_json(call(learned[""], "--json"))
    assert own["country"]["shares"] == told(reference_set, "country").shares
    assert list(own["country"]["shares"]) == ["NO", "SE", "DK"]
    assert (own["amount"]["monitors"], own["amount"]["merged"]) == (None, None)
    words = " ".join(call(learned["eu"]).stdout.split())
    assert "read from Redis, learned by the judge, in force held from when the judge began" in words
    assert "monitors in force: `driftline explain thresholds --model fraud`" in words


def test_a_version_that_is_not_there_says_which_are(call: Callable[..., Done], reference_set: ReferenceSet, store: Store):
    """Those of the model that was named, or the model that has it; a version that was altered is refused."""
    missing = "0123456789abcdef"
    assert f"no references of version {missing} of fraud, churn under" in call(missing).stderr
    assert call(missing).stderr.endswith("; there are none yet\n")
    References(store).keep(reference_set)
    done = call(missing, "--model", "fraud")
    assert (done.status, done.stdout) == (1, "")
    assert f"of model fraud under {store.prefix}:* in Redis; there are {reference_set.version}\n" in done.stderr
    near = reference_set.version[:-1] + ("0" if reference_set.version[-1] != "0" else "1")
    assert f'did you mean "{reference_set.version}"?' in call(near).stderr
    done = call(reference_set.version, "--model", "churn")
    assert f"version {reference_set.version} is one of model fraud, not of churn; say --model fraud" in done.stderr
    assert call(missing, "--model", "chrn").status == 2
    store.put_blob(f"references/churn/{missing}", b"{}")
    done = call(missing)
    assert (done.status, done.stdout) == (4, "")
    assert f"references {missing} of model churn in Redis: not a file of references" in done.stderr


def test_examples_of_the_shared_words_hold():
    """The examples in the docstrings give what they show."""
    found = doctest.testmod(wording)
    assert found.attempted > 0
    assert found.failed == 0
