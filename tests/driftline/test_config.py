"""The configuration: what was written is what is meant, and every fault has its sentence."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from detectors.errors import ConfigError
from detectors.spec import ModelSpec, OutcomeSpec, OutlierSpec, ReferenceSpec, RetrainSpec
from driftline.config.checks import (
    Expected,
    is_calendar,
    is_duration,
    is_factory,
    is_few_names,
    is_names,
    is_size,
    is_topic,
    is_url,
    is_whole,
)
from driftline.config.faults import Faults
from driftline.config.load import SECRETS, VARIABLES, config_path, load_settings, parse_settings
from driftline.config.old_keys import OLD_KEYS, with_new_keys
from driftline.config.schema import SECTIONS, ModelSection, Section
from driftline.text.durations import duration, format_duration, format_rate, weekly_rate
from driftline.text.sizes import format_size, size
from streams.settings import Settings
from streams.topics import TOPICS
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

PAGE = (ROOT / "docs" / "configuration.md").read_text()
BAD_FILES = sorted((ROOT / "tests" / "data" / "config").glob("*.bad.toml"))
KEY = "0123456789abcdef"


def parse(text: str, environ: dict[str, str] | None = None, **options: Any) -> Settings:
    """Parse a text as if it were `driftline.toml` here."""
    return parse_settings(text, "driftline.toml", environ or {}, home=Path(), **options)


def faults(text: str, environ: dict[str, str] | None = None, **options: Any) -> list[str]:
    """Return the lines that a text is refused with."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ, **options)
    return str(caught.value).splitlines()


# -- what is meant ---------------------------------------------------------------------------------


def test_the_smallest_file_gives_the_defaults_of_the_dataclasses():
    """A section for one model is enough, and every default is the dataclass's own."""
    settings = parse("[models.fraud]")
    assert settings.models == (ModelSpec(name="fraud"),)
    assert repr(dataclasses.replace(settings, models=())) == repr(Settings())
    assert not any([settings.signing_key, settings.webhook.secret, settings.grafana.token])


def test_every_key_reaches_its_field():
    """What stands in the file stands in the settings, in base units."""
    settings = parse(
        """
        [kafka]
        bootstrap = "a:1, b:2"
        prefix = "shop"
        replication = 3
        partitions = 12
        session_timeout = "6s"
        [join]
        most_bytes = "2GB"
        labels_topic = "shop.labels"
        [outcomes]
        format = "rows"
        [redis]
        url = "rediss://h:6380/1"
        prefix = "shop"
        [serve]
        host = "::1"
        port = 0
        [metrics]
        host = "0.0.0.0"
        [worker]
        metrics_port = 1
        [retrainer]
        metrics_port = 2
        [models.fraud]
        factory = "shop.models:Make.it"
        window = "250ms"
        lateness = "5m"
        false_alarms = "2 per day"
        timezone = "Europe/Oslo"
        holidays = "AU-NSW"
        detector = "adwin"
        features = ["a", "b"]
        categorical = ["b"]
        groups = ["country", "b"]
        max_features = 2
        max_segments = 3
        reference = { duration = "1w", min_windows = 9 }
        outcomes = { label_within = "1h", detector = "ddm", window = "10m" }
        outliers = { enabled = false, distance = 4, per_window = 0 }
        [models.fraud.retrain]
        enabled = true
        cooldown = "0s"
        min_rows = 10
        max_rows = 20
        holdout = 0.5
        max_error = 0.1
        candidates = ["fresh"]
        patience = "90s"
        rows_per_day = 1000
        """
    )
    assert (settings.kafka.bootstrap, settings.kafka.prefix, settings.kafka.session_timeout_seconds) == ("a:1,b:2", "shop", 6.0)
    assert (settings.kafka.replication, settings.kafka.partitions) == (3, 12)
    assert (settings.join.most_bytes, settings.join.labels_topic) == (2 << 30, "shop.labels")
    assert settings.outcomes_format == "rows"
    assert (settings.redis.url, settings.redis.prefix) == ("rediss://h:6380/1", "shop")
    assert (settings.serve.host, settings.serve.port) == ("::1", 0)
    assert (settings.metrics_host, settings.worker_metrics_port, settings.retrainer_metrics_port) == ("0.0.0.0", 1, 2)
    assert settings.model("fraud") == ModelSpec(
        name="fraud",
        factory="shop.models:Make.it",
        window_seconds=0.25,
        lateness_seconds=300.0,
        false_alarms_per_week=14.0,
        timezone="Europe/Oslo",
        holidays="AU-NSW",
        detector="adwin",
        features=("a", "b"),
        categorical=("b",),
        groups=("country", "b"),
        max_features=2,
        max_segments=3,
        reference=ReferenceSpec(seconds=604_800.0, min_windows=9),
        outcomes=OutcomeSpec(label_within_seconds=3600.0, detector="ddm", window_seconds=600.0),
        outliers=OutlierSpec(enabled=False, distance=4.0, per_window=0),
        retrain=RetrainSpec(
            cooldown_seconds=0.0,
            min_rows=10,
            max_rows=20,
            holdout=0.5,
            max_error=0.1,
            candidates=("fresh",),
            patience_seconds=90.0,
            rows_per_day=1000,
        ),
    )


def test_every_field_of_a_model_can_be_set():
    """A field added to a spec has a key, or this fails."""
    nested = {"": ModelSection, **{name: _kind(ModelSection, name) for name in ("reference", "outcomes", "outliers", "retrain")}}
    for section in nested.values():
        fields = {field.name for field in dataclasses.fields(section.fills)} - {"name"}
        assert fields == set(section.model_fields)


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("10s", 10.0), ("1.5h", 5400.0), ("3d", 259_200.0), ("1 w", 604_800.0), ("3ms", 0.003)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float):
    """Every unit stands for its seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1e3s", "10 potatoes", "1h30m", "٣s", "9" * 40 + "s"])
def test_what_is_no_duration_is_refused(text: str):
    """A number without a unit, a sign, an exponent or another word is no duration."""
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.25, 1.0, 90.0, 3600.0, 86_400.0, 604_800.0, 1_209_600.0])
def test_a_printed_duration_reads_back(seconds: float):
    """What `check` prints can be put into the file."""
    assert duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["1 per week", "2 per day", "1 per month", "5 per hour", "1 per year"])
def test_a_printed_rate_reads_back(text: str):
    """What `check` prints as a budget can be put into the file."""
    assert format_rate(weekly_rate(text)) == text


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("512MB", 512 << 20), ("1.5 GB", 3 << 29), ("64KiB", 65_536), ("7b", 7), ("1tb", 1 << 40), ("2G", 2 << 30)],
)
def test_a_size_is_read_in_bytes(text: str, bytes_: int):
    """Every unit stands for its bytes, a power of 1,024."""
    assert size(text) == bytes_


@pytest.mark.parametrize("text", ["", "10", "MB", "-1MB", "1e3MB", "10 potatoes", "1GB512MB", "٣MB", "9" * 40 + "B"])
def test_what_is_no_size_is_refused(text: str):
    """A number without a unit, a sign, an exponent or another word is no size."""
    with pytest.raises(ValueError, match="not a size"):
        size(text)


@pytest.mark.parametrize("number", [1, 1000, 1024, 1 << 20, (1 << 20) + 1, 512 << 20, 1 << 40])
def test_a_printed_size_reads_back(number: int):
    """What is printed as a size can be put into the file."""
    assert size(format_size(number)) == number


def test_whole_bytes_are_a_size():
    """A number without quotes is that many bytes."""
    assert parse("[join]\nmost_bytes = 1048576\n[models.m]").join.most_bytes == 1 << 20


def test_a_labels_topic_may_have_any_legal_name_but_ours():
    """Only what Driftline writes is refused, with the prefix that is configured; an empty name is none."""
    for name in ("shop.events", "driftline.labels", "a" * 249, "A-b_c.1", ""):
        assert parse(f'[join]\nlabels_topic = "{name}"\n[models.m]').join.labels_topic == name
    for topic in TOPICS:
        (line,) = faults(f'[kafka]\nprefix = "shop"\n[join]\nlabels_topic = "shop.{topic.name}"\n[models.m]')
        assert line.startswith("driftline.toml: join.labels_topic: expected a topic of your own")


def test_the_environment_wins_over_the_file():
    """A variable that is set replaces the key; an empty one does not."""
    environ = {"DRIFTLINE_KAFKA_BOOTSTRAP": "kafka:9092", "DRIFTLINE_SERVE_PORT": "81", "DRIFTLINE_REDIS_URL": ""}
    settings = parse('[kafka]\nbootstrap = "x:1"\nprefix = "p"\n[redis]\nurl = "redis://r"\n[models.m]', environ)
    assert (settings.kafka.bootstrap, settings.kafka.prefix, settings.serve.port) == ("kafka:9092", "p", 81)
    assert settings.redis.url == "redis://r"


def test_every_variable_sets_its_key(tmp_path: Path):
    """Each variable of the table changes the settings."""
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    values = {"bootstrap": "k:1", "url": "redis://other", "host": "0.0.0.0", "port": "1", "metrics_port": "2"}
    for variable, (_, key) in VARIABLES.items():
        text = "[models.m]"
        assert parse(text, {variable: values.get(key, str(secret))}) != parse(text), variable


def test_the_file_is_the_one_named_before_the_variable_before_the_working_directory():
    """--config, then DRIFTLINE_CONFIG, then ./driftline.toml."""
    assert config_path(Path("a"), {"DRIFTLINE_CONFIG": "b"}) == Path("a")
    assert config_path(None, {"DRIFTLINE_CONFIG": "b"}) == Path("b")
    assert config_path(None, {}) == Path("driftline.toml")


# -- old names -------------------------------------------------------------------------------------

OLD = """
[models.a]
max_values = 20000
outliers = { beyond = 4 }
[models.a.errors]
detector = "ddm"
window = "1h"
[models.b]
"""
NEW = OLD.replace("max_values", "max_buffered_values").replace("beyond", "distance").replace("errors", "outcomes")


def test_an_old_name_means_what_the_new_one_means():
    """Old keys give the same models, and a note each that says what to write."""
    old, new = parse(OLD), parse(NEW)
    assert old.models == new.models
    assert new.models[0].outcomes.detector == "ddm"
    assert new.notes == ()
    assert sorted(old.notes) == [
        f'models.a.{key} is an old name: write "{now}" instead; the next version does not read the old one'
        for key, now in (("errors", "outcomes"), ("max_values", "max_buffered_values"), ("outliers.beyond", "distance"))
    ]


def test_every_old_name_stands_for_a_key_and_is_none_itself():
    """What the table calls new is in the schema, and what it calls old is not."""
    for table, keys in OLD_KEYS.items():
        known = (_kind(ModelSection, table) if table else ModelSection).toml_keys()
        assert set(keys.values()) <= set(known)
        assert not set(keys) & set(known)


def test_the_table_that_was_read_does_not_change():
    """Old names are replaced in a copy: the table that is handed in stays as it was."""
    raw = {"errors": {"window": "1h"}, "outliers": {"beyond": 4}}
    found = Faults("driftline.toml")
    assert with_new_keys(found, ("models", "a"), raw) == {"outcomes": {"window": "1h"}, "outliers": {"distance": 4}}
    assert raw == {"errors": {"window": "1h"}, "outliers": {"beyond": 4}}
    assert found.lines == []


# -- secrets ---------------------------------------------------------------------------------------


def test_a_secret_is_read_from_the_file_beside_the_configuration(tmp_path: Path):
    """A relative path starts at the configuration, and the newline at the end is no part of the secret."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "key").chmod(0o600)
    config = tmp_path / "driftline.toml"
    config.write_text('[security]\nsigning_key_file = "key"\n[models.m]')
    assert load_settings(config, {}, need_key=True).signing_key.reveal() == KEY.encode()


def test_a_secret_in_the_environment_wins_and_is_never_shown():
    """The value itself is taken, and no text of the settings contains it."""
    environ = {"DRIFTLINE_SIGNING_KEY": KEY, "DRIFTLINE_WEBHOOK_SECRET": "hush-1", "DRIFTLINE_GRAFANA_TOKEN": "hush-2"}
    settings = parse('[webhook]\nurl = "https://h/x"\n[grafana]\nurl = "https://g"\n[models.m]', environ, need_key=True)
    assert (settings.webhook.secret.reveal(), settings.grafana.token.reveal()) == (b"hush-1", b"hush-2")
    assert KEY not in repr(settings)
    assert "hush" not in repr(settings)


def test_a_secret_file_that_everybody_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The process starts, and the log says what to run."""
    secret = tmp_path / "key"
    secret.write_text(KEY)
    secret.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        parse("[models.m]", {"DRIFTLINE_SIGNING_KEY_FILE": str(secret)})
    assert caplog.messages == [f"{secret} can be read by every user of this machine: run `chmod 600 {secret}`"]


def test_a_missing_empty_short_or_large_secret_is_a_fault(tmp_path: Path):
    """Each says which variable named it and what to do."""
    empty, short, large = (tmp_path / name for name in ("empty", "short", "large"))
    empty.write_text("\n")
    short.write_text("abc")
    large.write_bytes(b"x" * 100_000)
    place = "environment: DRIFTLINE_SIGNING_KEY_FILE"
    for path, said in (
        (tmp_path / "none", f"{place}: there is no file {tmp_path / 'none'}; make it, or mend the path"),
        (empty, f"{place}: {empty} is empty; put the secret in it"),
        (large, f"{place}: {large} is larger than 65536 bytes; that is no secret: mend the path"),
    ):
        assert faults("[models.m]", {"DRIFTLINE_SIGNING_KEY_FILE": str(path)}) == [said]
    (line,) = faults("[models.m]", {"DRIFTLINE_SIGNING_KEY_FILE": str(short)})
    assert line.startswith(f"{place}: the signing key has 3 bytes, 16 are the least; make one with `python -c")


def test_a_process_that_signs_says_how_to_make_a_key():
    """Without a key the worker does not start; `check` does."""
    (line,) = faults("[models.m]", need_key=True)
    assert "there is no signing key" in line
    assert "secrets.token_hex" in line
    assert parse("[models.m]")


def test_no_fault_shows_a_password():
    """Addresses and secrets stay out of every message, whatever is wrong with them."""
    text = '[redis]\nurl = "http://u:hunter2@h"\n[webhook]\nurl = "hunter2"\nsecret = "hunter2"\n[models.m]'
    environ = {"DRIFTLINE_SIGNING_KEY": "hunter2"}
    lines = faults(text, environ)
    assert len(lines) == 4
    assert "hunter2" not in "\n".join(lines)
    assert "hunter2" not in "\n".join(faults("[models.m]", {"DRIFTLINE_REDIS_URL": "hunter2"}))


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD_FILES, ids=lambda path: path.name.removesuffix(".bad.toml"))
def test_a_bad_file_gets_the_sentences_in_its_first_lines(path: Path):
    """The comment at the top is what the user sees, all of it and nothing else."""
    text = path.read_text()
    expected = [line.removeprefix("# ") for line in text[: re.search(r"^[^#]", text, re.MULTILINE).start()].splitlines()]
    assert faults(text) == expected


def test_faults_of_file_environment_and_secrets_come_together():
    """One run shows everything that is wrong."""
    lines = faults(
        '[kafka]\npartitions = 0\n[security]\nsigning_key_file = "no/file"\n'
        '[models.m]\nwindow = 1\n[models.n]\nfalse_alarms = "9999 per hour"',
        {"DRIFTLINE_SERVE_PORT": "http", "DRIFTLINE_WORKER_METRICS_PORT": "-1"},
    )
    assert [line.split(": ")[1] for line in lines] == [
        "kafka.partitions",
        "DRIFTLINE_SERVE_PORT",
        "DRIFTLINE_WORKER_METRICS_PORT",
        "security.signing_key_file",
        "models.m.window",
        "models.n.false_alarms",
    ]


def test_every_line_names_the_file_as_it_was_given(tmp_path: Path):
    """A fault in /etc/x.toml starts with /etc/x.toml."""
    config = tmp_path / "x.toml"
    config.write_text("[models.m]\nwindow = 1\n[kafka]\npartitions = 0")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    assert all(line.startswith(f"{config}: ") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"\xff[models.m]", "byte 0 is not UTF-8"),
        (b"#" * 2_000_000, "larger than 1048576 bytes"),
        (b"[models.m", "not TOML"),
        (b"[models.m]\n[models.m]", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, said: str):
    """No file, no text, no TOML: the reason stands behind the file's name."""
    config = tmp_path / "driftline.toml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    assert str(caught.value).startswith(f"{config}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_no_configuration(tmp_path: Path):
    """--config with a directory is refused by its name."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (is_duration("1s", "1h"), True),
        (is_duration("1s", "1h"), ["10s"]),
        (is_whole(1, 9), True),
        (is_whole(1, 9), 10**400),
        (is_size("1MB", "1TB"), True),
        (is_size("1MB", "1TB"), 1.5),
        (is_size("1MB", "1TB"), "2TB"),
        (is_size("1MB", "1TB"), "1MB\n1"),
        (is_topic, ".."),
        (is_topic, "a" * 250),
        (is_topic, "labels\n"),
        (is_topic, 3),
        (is_few_names(2), ["a", "b", "c"]),
        (is_few_names(2), ["a", "a"]),
        (is_names, [1]),
        (is_names, [["a"]]),
        (is_names, ["a\n"]),
        (is_calendar, 3),
        (is_calendar, ["DE"]),
        (is_calendar, "-"),
        (is_calendar, "DE-"),
        (is_calendar, "SG-"),
        (is_calendar, "DE-BY\n"),
        (is_factory, "os.system:"),
        (is_factory, "a:b\n"),
        (is_url("http://x", "http"), "http://h:99999"),
        (is_url("http://x", "http"), "http://[::1"),
        (is_url("http://x", "http"), "http://"),
        (is_url("http://x", "http"), 3),
    ],
)
def test_odd_values_are_refused_and_never_crash(check: Any, value: Any):
    """Booleans are no numbers, lists no names, and a broken address is a fault like others."""
    with pytest.raises(Expected):
        check(value)


# -- the page --------------------------------------------------------------------------------------


def _kind(section: type[Section], name: str) -> type[Section]:
    kind = section.model_fields[name].annotation
    assert isinstance(kind, type)
    assert issubclass(kind, Section)
    return kind


def _documented() -> list[tuple[str, str, str, str]]:
    """Return (section, key, field, default as the page must say it) of every key."""
    nested = {f"models.NAME.{name}": _kind(ModelSection, name) for name in ("reference", "outcomes", "outliers", "retrain")}
    rows = []
    for name, section in {**SECTIONS, "models.NAME": ModelSection, **nested}.items():
        filled = section.fills(name="x") if section.fills is ModelSpec else section.fills()
        for key, field in section.toml_keys().items():
            if f"{name}.{key}" not in nested:
                rows.append((name, key, field, _default(getattr(filled, field, None), field)))
    return rows


def _default(value: object, field: str) -> str:
    if value is None:
        return "the model's `window`" if field == "window_seconds" else "none"
    if field == "false_alarms_per_week":
        return f'`"{format_rate(float(str(value)))}"`'
    if field == "most_bytes" or field.endswith("seconds"):
        return f'`"{format_size(int(str(value))) if field == "most_bytes" else format_duration(float(str(value)))}"`'
    if isinstance(value, tuple):
        return f"`{json.dumps(list(value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


@pytest.mark.parametrize(("section", "key", "field", "default"), _documented(), ids=str)
def test_the_page_documents_every_key_with_its_default(section: str, key: str, field: str, default: str):
    """docs/configuration.md has a row for the key, under its section, with the default of the dataclass."""
    headed = re.search(rf"^## [^\n]*\[{re.escape(section)}\][^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert headed, f"no heading with [{section}]"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in headed[1].splitlines() if line.startswith("|")]
    found = [row[-2] for row in rows if f"`{key}`" in row[:-2] and row[0] in (f"`{key}`", f"`[{section}]`")]
    assert found == [default]


def test_the_page_documents_no_key_that_does_not_exist():
    """Every key of the tables is a key of the file."""
    known = {key for _, key, _, _ in _documented()}
    tables = PAGE.split("## Environment")[0]
    keys = set(re.findall(r"^\| (?:`\[\w+\]` \| )?`(\w+)` \|", tables, re.MULTILINE))
    assert keys == known


def test_the_page_documents_every_old_name():
    """Its table of old names is the one in the code."""
    (table,) = re.findall(r"^## Old names\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    rows = re.findall(
        r"^\| `\[models\.NAME\.?(\w*)\](?: (\w+))?` \| `\[models\.NAME\.?(\w*)\](?: (\w+))?` \|$", table, re.MULTILINE
    )
    found: dict[str, dict[str, str]] = {}
    for old_table, old, new_table, new in rows:
        found.setdefault(old_table if old else "", {})[old or old_table] = new or new_table
    assert found == OLD_KEYS


def test_the_page_documents_every_variable():
    """The environment's table is the one in the code."""
    found = set(re.findall(r"`(DRIFTLINE_\w+)`", PAGE))
    assert found == {*VARIABLES, *SECRETS, "DRIFTLINE_CONFIG", "DRIFTLINE_DEBUG"}


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_every_toml_block_of_the_page_is_right(block: str):
    """What the page shows can be copied."""
    assert parse(block).models


def test_the_environment_of_this_run_is_not_read(monkeypatch: pytest.MonkeyPatch):
    """Settings depend on what is handed in, never on os.environ behind its back."""
    monkeypatch.setenv("DRIFTLINE_SERVE_PORT", "nonsense")
    assert parse("[models.m]").serve.port == 8080
