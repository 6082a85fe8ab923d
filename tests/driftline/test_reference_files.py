"""References from files: what is built from rows is what the judge would have learned of them, and is judged by at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import ConfigError, StateError
from detectors.incidents.alert import Alert
from detectors.model.finding import Finding, ReferenceLearned
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.reference_set import ReferenceSet
from detectors.spec import ModelSpec
from detectors.windows.record import Window
from driftline.cli.main import run
from driftline.config.load import load_settings, parse_settings
from driftline.config.reference_files import misfits
from driftline.readers.options import Options
from driftline.references.build import build
from driftline.replay.reading import read
from driftline.replay.replaying import Replaying
from driftline.text.progress import ProgressLine
from streams.engine.transport import LogState
from streams.records import window_codec
from streams.records.cloudevents import event_of
from streams.settings import RedisSettings, Secret
from streams.stages.judge import JudgeStage
from streams.state import reference_file, snapshot
from streams.state.binding import Binding, BoundTopic, bind
from streams.state.reference_file import reference_set_of
from streams.state.references import References
from streams.state.store import Store
from tests.support.command_line import Done, beside
from tests.support.records import Fetched, batch_of, make_durable
from tests.support.replayed import BEGIN, CONFIG, FEATURES, MAPPED, Row, events, rows, write_csv, write_lines, write_parquet
from tests.support.wired import wired

SETTINGS = parse_settings(CONFIG, "driftline.toml", {}, home=Path())
SPEC: ModelSpec = SETTINGS.models[0]
WITH_FILE = CONFIG.replace('duration = "30m"', 'duration = "30m"\nfile = "reference.json"')
TABLE = rows()
#: All that is watched of them.
KNOWN = {*FEATURES, "prediction.label"}
OPTIONS = Options(file="", form="csv", model="fraud", time="at", label="truth", prediction="answer", segment="shop")


def parted(table: list[Row], second: float = 1800) -> tuple[list[Row], list[Row]]:
    """Return the rows before that second, and the rest."""
    return [row for row in table if row["at"] < BEGIN + second], [row for row in table if row["at"] >= BEGIN + second]


def learned(directory: Path, table: list[Row], spec: ModelSpec = SPEC) -> ReferenceSet:
    """Return the document that is built from rows in a CSV file."""
    return build(SETTINGS, replace(OPTIONS, file=str(write_csv(directory, table))), spec).reference_set


def judged(directory: Path, table: list[Row], spec: ModelSpec = SPEC) -> list[bytes]:
    """Return alerts and requests of rows in a CSV file."""
    file = str(write_csv(directory, table))
    settings = replace(SETTINGS, models=(spec,))
    replaying = Replaying({spec.name: spec})
    return [event_of(one) for one in read(settings, replace(OPTIONS, file=file), replaying, ProgressLine())]


def judging_by(reference_set: ReferenceSet, spec: ModelSpec = SPEC) -> ModelSpec:
    """Return the spec of a model whose references are in a file."""
    return replace(spec, reference=replace(spec.reference, reference_set=reference_set))


@pytest.fixture(scope="module")
def reference_set(tmp_path_factory: pytest.TempPathFactory) -> ReferenceSet:
    """The references of the first half hour."""
    return learned(tmp_path_factory.mktemp("built"), parted(TABLE)[0])


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """A function that runs `driftline` beside a configuration without any server."""

    def run_it(*arguments: str | Path) -> Done:
        return Done(run(list(map(str, arguments))), *capsys.readouterr())

    with beside(tmp_path, CONFIG, monkeypatch):
        yield run_it
    sys.modules.pop("shop", None)


# -- the same as learned from traffic ----------------------------------------------------------------


@effort(max_examples=4)
@given(st.integers(0, 1000), st.sampled_from([1800, 2400]))
def test_building_and_judging_the_rest_is_learning_and_judging(
    tmp_path_factory: pytest.TempPathFactory, seed: int, second: int
) -> None:
    """Alerts and requests of rows behind a file are those of a judge that learned the same rows itself, to the byte."""
    directory = tmp_path_factory.mktemp("both")
    spec = replace(SPEC, reference=replace(SPEC.reference, seconds=float(second)))
    table = rows(seed=seed, every=4)
    first, rest = parted(table, second)
    alone = judged(directory, table, spec)
    assert judged(directory, rest, judging_by(learned(directory, first, spec), spec)) == alone
    assert alone


def test_every_format_builds_the_same_file(call: Callable[..., Done], tmp_path: Path) -> None:
    """CSV, JSON Lines, Parquet, events and windows of the same rows have one version, and twice is the same file."""
    first, _ = parted(TABLE)
    call("replay", write_csv(tmp_path, first), *MAPPED, "--write-windows", "rows.windows")
    ways: list[tuple[str | Path, ...]] = [
        (write_csv(tmp_path, first), *MAPPED),
        (write_csv(tmp_path, first), *MAPPED),
        (write_lines(tmp_path, first), *MAPPED),
        (write_parquet(tmp_path, first), *MAPPED),
        (write_lines(tmp_path, events(first), "events.jsonl"),),
        ("rows.windows", "--windows"),
    ]
    written = set()
    for way in ways:
        done = call("reference", "build", *way, "--model", "fraud")
        assert done.status == 0, done.stderr
        written.add((tmp_path / "fraud.reference.json").read_bytes())
    assert len(written) == 1
    assert orjson.loads(written.pop())["version"] in done.stdout
    assert "features    eu       30       2026-11-20T00:00:00.000Z  2026-11-20T00:30:00.000Z  6" in done.stdout


def test_a_stretch_of_windows_can_be_chosen(call: Callable[..., Done], tmp_path: Path) -> None:
    """--from and --to take the windows between two times, of rows as of windows, and no others."""
    first, _ = parted(TABLE)
    call("replay", write_csv(tmp_path, TABLE), *MAPPED, "--write-windows", "all.windows")
    call("reference", "build", write_csv(tmp_path, first), *MAPPED, "-o", "first.json")
    between = ("--from", "2026-11-20T00:00:00Z", "--to", "2026-11-20T01:30:00+01:00")
    done = call("reference", "build", "--windows", "all.windows", *between, "-o", "stretch.json")
    assert done.status == 0, done.stderr
    call("reference", "build", write_csv(tmp_path, TABLE), *MAPPED, *between, "-o", "rows.json")
    assert (tmp_path / "stretch.json").read_bytes() == (tmp_path / "first.json").read_bytes()
    assert (tmp_path / "rows.json").read_bytes() == (tmp_path / "first.json").read_bytes()
    for wrong, told in ((("--from", "yesterday"), "with its zone"), ((*between[2:], "--from", "2027-01-01T00:00:00Z"), "before")):
        refused = call("reference", "build", "--windows", "all.windows", *wrong)
        assert refused.status == 2
        assert told in refused.stderr


def test_replay_judges_by_a_file_from_the_first_window(call: Callable[..., Done], tmp_path: Path) -> None:
    """With the file in the configuration the alerts of the rest are those of the whole, and the report says from when."""
    first, rest = parted(TABLE)
    whole = call("replay", write_csv(tmp_path, TABLE), *MAPPED, "--all")
    (tmp_path / "driftline.toml").write_text(WITH_FILE)  # names what is not there yet
    assert call("reference", "build", write_csv(tmp_path, first), *MAPPED, "-o", "reference.json").status == 0
    (tmp_path / "shop.py").write_text("def make():\n    return None\n")
    version = orjson.loads((tmp_path / "reference.json").read_bytes())["version"]
    assert f"fraud is judged from the first window on by references {version}, learned from 2026-11-20" in call("check").stdout
    done = call("replay", write_csv(tmp_path, rest), *MAPPED, "--all")
    assert done.stdout == whole.stdout
    assert done.stdout
    assert done.stderr.split()[-1] == "2026-11-20T00:30:00.000Z"


def test_what_lies_before_a_long_gap_is_left_out(call: Callable[..., Done], tmp_path: Path) -> None:
    """One row of a clock of 1970 makes no other reference, and is told."""
    first, _ = parted(TABLE)
    call("reference", "build", write_csv(tmp_path, first), *MAPPED, "-o", "first.json")
    done = call("reference", "build", write_csv(tmp_path, [{**first[0], "at": 0.0}, *first]), *MAPPED, "-o", "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "first.json").read_bytes()
    assert "what came from 1970-01-01T00:00:00.000Z on is left out: behind it lies a gap longer than" in done.stderr


# -- files -------------------------------------------------------------------------------------------


def test_a_file_holds_all_of_a_document(reference_set: ReferenceSet) -> None:
    """Read back it is written to the same bytes, and its head can be read by anybody."""
    payload = reference_file.dump(reference_set)
    again = reference_file.load("reference.json", payload)
    assert reference_file.dump(again) == payload
    assert again == reference_set
    assert as_bytes(again) == as_bytes(reference_set)
    head = orjson.loads(payload)
    assert (head["model"], head["window_seconds"], head["timezone"], head["since"]) == (
        "fraud",
        60.0,
        "UTC",
        "2026-11-20T00:00:00.000Z",
    )
    assert set(head["segments"][0]["features"]) == KNOWN


def as_bytes(reference_set: ReferenceSet) -> bytes:
    """Return what was learned, to be compared in all of it."""
    return msgspec.msgpack.encode(reference_set.segments, enc_hook=lambda array: array.tobytes())


@effort(max_examples=60)
@given(st.data())
def test_a_file_that_was_changed_is_refused(reference_set: ReferenceSet, data: st.DataObject) -> None:
    """One byte more, less or other: it is told with the way out, or it is the same document all the same."""
    payload = reference_file.dump(reference_set)
    at = data.draw(st.integers(0, len(payload) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = data.draw(
        st.sampled_from([payload[:at] + byte + payload[at + 1 :], payload[:at] + payload[at + 1 :], payload[:at]])
    )
    again, refused = payload, "make it again with `driftline reference build`"
    try:
        again = reference_file.dump(reference_file.load("reference.json", changed))
    except StateError as error:
        refused = str(error)
    assert again == payload
    assert "make it again with `driftline reference build`" in refused


def test_another_format_is_refused_with_the_way_out(reference_set: ReferenceSet) -> None:
    """A file of an older or newer Driftline names it, and the command that makes a new one."""
    content = orjson.loads(reference_file.dump(reference_set))
    told = rf"x: format 9, written by Driftline 0\.1\.0; .* reads format {reference_file.FORMAT}: .*reference build"
    with pytest.raises(StateError, match=told):
        reference_file.load("x", orjson.dumps({**content, "format": 9}))


def test_a_file_that_does_not_fit_says_why(reference_set: ReferenceSet) -> None:
    """Another model, width, zone, set of features or number of segments: each is a sentence."""
    assert list(misfits(SPEC, reference_set)) == []
    said = {
        sentence
        for changed in (
            replace(SPEC, name="other"),
            replace(SPEC, window_seconds=300.0),
            replace(SPEC, timezone="Europe/Oslo"),
            replace(SPEC, holidays="NO"),
            replace(SPEC, features=("amount",)),
            replace(SPEC, categorical=()),
            replace(SPEC, max_segments=0),
        )
        for sentence in misfits(changed, reference_set)
    }
    assert said == {
        "it was learned for model fraud",
        "it was learned from windows of features of 1m, and window is 5m now",
        "it was learned from windows of outcomes of 1m, and outcomes.window is 5m now",
        "its seasons are those of UTC, and timezone is Europe/Oslo now",
        'it was learned with holidays = "", now it is "NO"',
        'it was learned with features = [], now it is ["amount"] (with ["amount"])',
        'it was learned with categorical = ["code"], now it is [] (without ["code"])',
        "it has 1 segments, and max_segments is 0",
    }


def test_check_names_the_key_of_a_file_that_does_not_fit(tmp_path: Path, reference_set: ReferenceSet) -> None:
    """The path is relative to the configuration, and every fault stands behind file and key."""
    (tmp_path / "driftline.toml").write_text(WITH_FILE)
    (tmp_path / "reference.json").write_bytes(reference_file.dump(reference_set))
    spec = load_settings(tmp_path / "driftline.toml", {}).models[0]
    assert spec.reference.reference_set == reference_set
    assert len({spec, judging_by(reference_set)}) == 1
    (tmp_path / "driftline.toml").write_text(WITH_FILE.replace('"1m"', '"10m"'))
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "driftline.toml", {})
    place = f"{tmp_path / 'driftline.toml'}: models.fraud.reference.file: {tmp_path / 'reference.json'} does not fit: "
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(place) and line.endswith("make it again with `driftline reference build`") for line in lines)
    assert load_settings(tmp_path / "driftline.toml", {}, references=False).models[0].reference.reference_set is None


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table[:200], "10 windows of 1m are too few for a reference: models.fraud.reference.min_windows is 24"),
        (
            lambda table: [{**row, **dict.fromkeys(FEATURES, 1)} for row in table],
            "every feature has one value only (age, amount,",
        ),
        (lambda table: [*table[300:], *table[:300]], "300 rows and 300 outcomes came after their window was closed"),
    ],
)
def test_a_bad_reference_is_refused(
    call: Callable[..., Done], tmp_path: Path, change: Callable[[list[Row]], list[Row]], told: str
) -> None:
    """Too few windows, features that never vary, times that go back: status 2, a sentence, and no file."""
    done = call("reference", "build", write_csv(tmp_path, change(parted(TABLE)[0])), *MAPPED)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{tmp_path / 'rows.csv'}: {told}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "fraud.reference.json").exists()


def test_an_empty_file_is_refused(call: Callable[..., Done], tmp_path: Path) -> None:
    """Names of columns and no row, or windows of which none is in the stretch: there is nothing to learn from."""
    (tmp_path / "rows.csv").write_text("at,amount\n")
    done = call("reference", "build", "rows.csv", "--time", "at")
    assert (done.status, done.stderr) == (2, "rows.csv: there is nothing in it to replay\n")
    write_csv(tmp_path, TABLE)
    done = call("reference", "build", "rows.csv", *MAPPED, "--from", "2030-01-01T00:00:00Z")
    assert done.status == 2
    assert "0 windows of 1m are too few" in done.stderr


def test_a_feature_that_no_row_has_is_refused(call: Callable[..., Done], tmp_path: Path) -> None:
    """The configuration watches it, so a reference without it would be of something else."""
    (tmp_path / "driftline.toml").write_text(CONFIG.replace("window =", 'features = ["amount", "code", "contry"]\nwindow ='))
    done = call("reference", "build", write_csv(tmp_path, parted(TABLE)[0]), *MAPPED)
    assert done.status == 2
    assert 'models.fraud.features names "contry", and no row has it' in done.stderr


def test_windows_of_another_width_are_refused(call: Callable[..., Done], tmp_path: Path) -> None:
    """Windows cannot be made wider; the message says to give the rows."""
    call("replay", write_csv(tmp_path, TABLE), *MAPPED, "--write-windows", "all.windows")
    (tmp_path / "driftline.toml").write_text(CONFIG.replace('"1m"', '"5m"'))
    done = call("reference", "build", "--windows", "all.windows")
    assert done.status == 2
    assert "windows of model fraud are of another width (480 of 1m): models.fraud.window is 5m" in done.stderr


def test_what_is_little_is_told(call: Callable[..., Done], tmp_path: Path) -> None:
    """A segment with few windows is left out, and a file shorter than the duration is noted."""
    first = [row for row in parted(TABLE)[0] if row["shop"] == "" or row["at"] < BEGIN + 300]
    (tmp_path / "driftline.toml").write_text(CONFIG.replace('"30m"', '"3d"'))
    done = call("reference", "build", write_csv(tmp_path, [{**row, "new": True} for row in first]), *MAPPED)
    assert done.status == 0
    assert "note: features of segment eu: 5 windows, fewer than models.fraud.reference.min_windows (24)" in done.stderr
    assert "note: it covers 30m, less than models.fraud.reference.duration, which is 3d" in done.stderr
    assert "note: never vary: new" in done.stderr
    content = orjson.loads((tmp_path / "fraud.reference.json").read_bytes())
    assert {part["segment"] for part in content["segments"]} == {""}


# -- the judge ---------------------------------------------------------------------------------------


def records_of(table: list[Row], directory: Path) -> list[bytes]:
    """Return the records of the windows topic that rows make."""
    kept: list[bytes] = []
    replaying = Replaying({"fraud": SPEC}, keep=kept.append)
    list(read(SETTINGS, replace(OPTIONS, file=str(write_csv(directory, table))), replaying, ProgressLine()))
    return kept


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The windows and marks behind the first half hour."""
    return records_of(parted(TABLE)[1], tmp_path_factory.mktemp("rest"))


def fed(monitor: ModelMonitor, spec: ModelSpec, records: list[bytes]) -> list[Finding]:
    """Return what a watch finds."""
    return [finding for value in records for finding in monitor.add(window_codec.parse(value))]


def told(found: list[Finding]) -> list[tuple[str, str]]:
    """Return status and summary of the alerts."""
    return [(one.status, one.summary) for one in found if isinstance(one, Alert)]


def test_judging_changes_no_document(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """Whoever judges by a document has a copy: two judges, one after the other, find the same."""
    spec, before = judging_by(reference_set), as_bytes(reference_set)
    first, second = (fed(ModelMonitor.begin(spec), spec, rest) for _ in range(2))
    assert as_bytes(reference_set) == before
    assert told(first) == told(second)
    assert told(first)


def test_a_snapshot_on_the_way_changes_nothing(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """Stored and loaded between any two records, a judge with a document goes on as if it had not been."""
    spec = judging_by(reference_set)
    monitor, found = ModelMonitor.begin(spec), []
    for number, value in enumerate(rest):
        found += monitor.add(window_codec.parse(value))
        if number % 100 == 0:
            monitor = snapshot.load("judge/0", snapshot.dump({"fraud": monitor}))["fraud"]
            assert monitor.reconfigure(spec) == []
    assert told(found) == told(fed(ModelMonitor.begin(spec), spec, rest))


def test_a_segment_that_the_file_lacks_learns_its_own(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """What is in the file is judged at once, and the rest as if there were no file."""
    without = reference_set_of(SPEC, {kind: {"": found[""]} for kind, found in reference_set.segments.items()})
    monitor = ModelMonitor.begin(judging_by(without))
    found = fed(monitor, judging_by(without), rest[:100])
    assert monitor.channels["features"].judges[""].learner is None
    assert monitor.channels["features"].judges["eu"].learner is not None
    assert monitor.learning
    assert [one for one in found if isinstance(one, ReferenceLearned)] == []


def test_another_version_is_taken_over_at_a_restart(reference_set: ReferenceSet, rest: list[bytes], tmp_path: Path) -> None:
    """Incidents of features whose reference is replaced end as after a swap, and what the file describes is quiet then."""
    spec = judging_by(reference_set)
    monitor = ModelMonitor.begin(spec)
    half = len(rest) // 2 + 100
    fed(monitor, spec, rest[:half])
    about = {(one.segment, feature) for one in monitor.open_incidents for feature in one.drifted}
    newer = learned(tmp_path, parted(TABLE, 4500)[1])
    followed = monitor.reconfigure(judging_by(newer))
    ended = [one for one in followed if isinstance(one, Alert)]
    assert {(one.segment, verdict.feature) for one in ended for verdict in one.features} <= about
    assert len(ended) > 1
    assert {one.status for one in ended} == {"resolved"}
    assert all(one.summary.endswith(f"the configuration names, version {newer.version}") for one in ended)
    assert {one.segment for one in followed if isinstance(one, ReferenceLearned)} == {"", "eu"}
    assert monitor.open_incidents == []
    assert not any(judge.relearning or judge.renewing for judge in monitor.channels["features"].judges.values())
    assert monitor.reconfigure(judging_by(newer)) == []
    assert told(fed(monitor, judging_by(newer), rest[half:])) == []


def test_a_segment_without_room_is_left_out(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """Where other segments have taken all the places meanwhile, one of the file's is judged with the rest, as any other."""
    crowded = replace(SPEC, max_segments=1)
    monitor = ModelMonitor.begin(crowded)
    for value in rest[:20]:
        record = window_codec.parse(value)
        if isinstance(record, Window) and record.segment == "eu":
            record = msgspec.structs.replace(record, segment="us")
        monitor.add(record)
    assert "us" in monitor.channels["features"].judges
    monitor.reconfigure(judging_by(reference_set, crowded))
    judges = monitor.channels["features"].judges
    assert "eu" not in judges
    assert judges["us"].learner is not None
    assert judges[""].learner is None


def test_the_same_version_undoes_nothing(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """A restart with the file as it was leaves what was learned since, and so does one without a file."""
    spec = judging_by(reference_set)
    monitor = ModelMonitor.begin(spec)
    fed(monitor, spec, rest[: len(rest) // 2])
    monitor.channels["features"].judges[""].renew("amount", afresh=True)
    assert monitor.reconfigure(spec) == []
    assert monitor.reconfigure(SPEC) == []
    assert monitor.reconfigure(spec) == []
    assert "amount" in monitor.channels["features"].judges[""].renewing


def test_a_file_for_a_judge_that_learns_ends_its_learning(reference_set: ReferenceSet, rest: list[bytes]) -> None:
    """A file that comes later is judged by at once."""
    monitor = ModelMonitor.begin(SPEC)
    fed(monitor, SPEC, rest[:40])
    assert monitor.learning
    monitor.reconfigure(judging_by(reference_set))
    assert not monitor.learning
    assert monitor.reference_set == reference_set.version


async def test_a_worker_begins_with_the_file_and_keeps_it_in_redis(
    reference_set: ReferenceSet, rest: list[bytes], redis_settings: RedisSettings, signing_key: Secret
) -> None:
    """The first window is judged, single events can be scored at once, and the document can be read when the file is gone."""
    spec, store = judging_by(reference_set), Store(redis_settings, signing_key)
    references = References(store)
    judging = JudgeStage(
        wired({"fraud": spec}, store=store),
        partition=0,
        log=LogState(0, 1000, None),
        stored=None,
        monitors={},
    )
    await judging.feed(batch_of([Fetched(value, at, topic="t.windows") for at, value in enumerate(rest[:4])]), 0)
    await make_durable(judging.checkpoint(4, final=True))
    assert references.versions("fraud") == [reference_set.version]
    kept = references.reference_set("fraud", reference_set.version)
    assert kept is not None
    assert as_bytes(kept) == as_bytes(reference_set)
    current = references.current("fraud", "eu", None)
    assert current is not None
    assert set(current[1].features) == KNOWN
    monitor = snapshot.load("judge/0", (store.load_snapshot("judge/0") or (0, b""))[1])["fraud"]
    assert (monitor.reference_set, monitor.learning) == (reference_set.version, False)


def test_list_tells_what_is_in_force(
    call: Callable[..., Done], reference_set: ReferenceSet, redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents that were taken over, with what they were learned from; and each segment's, with what is learned anew."""
    key = "a key that only these tests know"
    store = Store(redis_settings, Secret(key.encode()))
    spec, references = judging_by(reference_set), References(store)
    monitor = ModelMonitor.begin(spec)
    part = msgspec.structs.replace(reference_set.segments["features"][""], since=0.0, until=1440.0)
    older = reference_set_of(SPEC, {"features": {"": part}})
    for one in (older, reference_set):
        references.keep(one)
    for found in monitor.learned():
        references.publish(found)
    monitor.channels["features"].judges["eu"].renew("amount", afresh=True)
    bind(store, Binding("cluster", "driftline", {"windows": BoundTopic(None, 1)}))
    store.save_snapshot("judge/0", None, 10, snapshot.dump({"fraud": monitor}))
    Path("driftline.toml").write_text(f'[redis]\nurl = "{redis_settings.url}"\nprefix = "{redis_settings.prefix}"\n{CONFIG}')
    monkeypatch.setenv("DRIFTLINE_SIGNING_KEY", key)
    done = call("reference", "list", "--model", "fraud")
    assert done.status == 0, done.stderr
    lines = {tuple(line.split()[:2]): line for line in done.stdout.splitlines()}
    assert lines[reference_set.version, "a"].endswith("2026-11-20T00:00:00.000Z to 2026-11-20T00:30:00.000Z  taken over last")
    assert lines[older.version, "a"].endswith("1970-01-01T00:00:00.000Z to 1970-01-01T00:24:00.000Z")
    (north, eu) = (line for line in done.stdout.splitlines() if "the judge" in line)
    assert north.endswith("in force")
    assert eu.endswith("in force; learned anew: amount")
