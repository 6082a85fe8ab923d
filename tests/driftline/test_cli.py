"""The command line: what it says, what it exits with, and that no user ever sees a traceback."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
from river.dummy import NoChangeClassifier

from driftline.cli.commands.decide import incident
from driftline.cli.commands.models import reference
from driftline.cli.logs import LineFormatter
from driftline.cli.main import COMMANDS, HELP_SECTIONS, run
from driftline.cli.packages import ShadowedError, check_packages
from driftline.text.tables import markdown
from retrainer.request import parse
from serving.registry.artifact import Artifact
from serving.registry.versions import Registry
from streams.kafka import Log
from streams.records.window_codec import HistoryRecord
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.state.store import Store
from streams.topics import RETRAINS, TOPICS, WINDOWS, topic_name
from tests.support.command_line import Done, beside, clean_environment
from tests.support.paths import ROOT

KEY = "a key that only these tests know"


Driftline = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Driftline]:
    """A function that runs one command line here, in an empty directory, and tells how it ended."""

    def run_it(*arguments: str, **environ: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            status = run(arguments)
        return Done(status, *capsys.readouterr())

    with beside(tmp_path, None, monkeypatch):
        yield run_it
    sys.modules.pop("shop", None)


def start(directory: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start `driftline` as a process of its own in a directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "driftline", *arguments],
        cwd=directory,
        env=clean_environment() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for a process and tell how it ended."""
    with process:
        stdout, stderr = process.communicate(timeout=120)
    return Done(process.returncode, stdout, stderr)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nothing listens, held so that nothing begins to."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def configure(directory: Path, kafka: KafkaSettings, redis: RedisSettings | None = None, more: str = "") -> None:
    """Write a driftline.toml for these servers and one model."""
    redis = redis or RedisSettings()
    (directory / "driftline.toml").write_text(
        f'[kafka]\nbootstrap = "{kafka.bootstrap}"\nprefix = "{kafka.prefix}"\n'
        f'[redis]\nurl = "{redis.url}"\nprefix = "{redis.prefix}"\n{more}\n[models.fraud]\nfactory = "shop:make"\n'
    )
    (directory / "shop.py").write_text("def make():\n    return dict()\n")


def said(done: Done, status: int) -> str:
    """Return the one line on stderr, after checking the status and that it is one line."""
    assert done.status == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


# -- help and usage --------------------------------------------------------------------------------


def test_help_lists_every_command_and_loads_none(tmp_path: Path):
    """--help shows every command under its section, and no library but click was imported for it."""
    done = end(start(tmp_path, "--help", PYTHONPROFILEIMPORTTIME="1"))
    assert done.status == 0
    shown = re.findall(r"^(?:\S.*:|  \S.*)$", done.stdout.partition("--help")[2].partition("\n")[2], re.MULTILINE)
    wanted = [entry for title, commands in HELP_SECTIONS.values() for entry in (f"{title}:", *commands)]
    assert [line if line.endswith(":") else line.split()[0] for line in shown] == wanted
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in loaded
    heavy = {"pydantic", "numpy", "river", "faust", "rich", "confluent_kafka", "redis", "aiohttp", "orjson", "asyncio"}
    assert not loaded & heavy


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]):
    """`driftline NAME --help` starts with the same sentence as the table of all."""
    assert run([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"Usage: driftline {name} ")
    assert COMMANDS[name] in shown


def test_the_version_is_the_one_that_is_installed(capsys: pytest.CaptureFixture[str]):
    """It comes from the metadata of the installed package, which has it from pyproject.toml."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"driftline {version('driftline')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chekc"], "did you mean check?"),
        (["xyzzy"], "known: demo, topics"),
        (["topics", "shred"], "shred"),
        (["serve", "--port", "99999"], "99999"),
        (["--log-level", "loud", "check"], "loud"),
        (["models", "promote", "fraud", "newest"], "newest"),
        (["retrain"], "MODEL"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_word(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    """A misspelt command, option or argument is shown back, with the nearest one that exists."""
    assert run(arguments) == 2
    assert words in capsys.readouterr().err


def test_an_old_command_works_and_names_the_new_one(call: Driftline, tmp_path: Path):
    """`reference accept` takes the options of `incident accept` and answers alike; --help does not show it."""
    configure(tmp_path, KafkaSettings())
    old, new = call("reference", "accept", "--model", "frau"), call("incident", "accept", "--model", "frau")
    said_first, _, rest = old.stderr.partition("\n")
    assert (
        said_first
        == "driftline: `reference accept` is `driftline incident accept` now; the next version does not have the old one"
    )
    assert (old.status, old.stdout, rest) == (new.status, new.stdout, new.stderr) == (2, "", new.stderr)
    assert "accept" not in call("reference", "--help").stdout.partition("Commands:")[2]
    options = [[option.name for option in group.commands["accept"].params] for group in (reference.command, incident.command)]
    assert options[0] == options[1]


# -- check -----------------------------------------------------------------------------------------


def test_check_prints_what_was_understood(call: Driftline, tmp_path: Path):
    """A right file gives status 0, readable columns in a pipe, and no secret."""
    configure(tmp_path, KafkaSettings(), RedisSettings(url="redis://user:hunter2@127.0.0.1:6379/0"))
    with (tmp_path / "driftline.toml").open("a") as config:
        config.write('window = "30s"\noutcomes.detector = "ddm"\n')
    done = call("check", DRIFTLINE_SIGNING_KEY=KEY)
    assert done.status == 0
    assert done.stderr == ""
    row = r"^fraud +30s +1 per week +UTC +all, 500 at most +page_hinkley +ddm, windows of 30s +shop:make$"
    assert re.search(row, done.stdout, re.MULTILINE)
    assert "note: models.fraud.outcomes.detector ddm keeps no false-alarm budget" in done.stdout
    assert "note: 512MB of [join] most_bytes hold about 6.71 million waiting predictions" in done.stdout
    assert "redis://127.0.0.1:6379/0" in done.stdout
    assert "hunter2" not in done.stdout
    assert KEY not in done.stdout


def test_an_old_key_is_a_note_of_check_and_a_log_line_of_others(call: Driftline, tmp_path: Path):
    """`check` prints what to write instead; any other command logs it."""
    configure(tmp_path, KafkaSettings(bootstrap="127.0.0.1:9"))
    with (tmp_path / "driftline.toml").open("a") as config:
        config.write("max_values = 20000\n")
    words = 'models.fraud.max_values is an old name: write "max_buffered_values" instead'
    checked, other = call("check"), call("retrain", "nobody")
    assert f"note: {words}" in checked.stdout
    assert checked.stderr == ""
    assert other.stdout == ""
    assert sum(words in line and " warning driftline.config " in line for line in other.stderr.splitlines()) == 1


def test_check_takes_the_file_from_every_place(call: Driftline, tmp_path: Path):
    """--config works before and after the command, and DRIFTLINE_CONFIG without it."""
    other = tmp_path / "conf"
    other.mkdir()
    configure(other, KafkaSettings(prefix="elsewhere"))
    path = str(other / "driftline.toml")
    for done in (call("-c", path, "check"), call("check", "--config", path), call("check", DRIFTLINE_CONFIG=path)):
        assert "topics elsewhere.*" in done.stdout


def test_check_prints_every_fault_and_exits_with_2(call: Driftline, tmp_path: Path):
    """Nothing is printed on stdout, and stderr has the sentences and nothing else."""
    text = (ROOT / "tests" / "data" / "config" / "several.bad.toml").read_text()
    (tmp_path / "driftline.toml").write_text(text)
    done = call("check")
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [line[2:] for line in text.splitlines() if line.startswith("# ")]


@pytest.mark.parametrize(
    "command", ["check", "worker", "retrainer", "serve", "topics create", "topics list", "models list", "retrain m"]
)
def test_without_a_file_every_command_says_what_to_write(command: str, call: Driftline):
    """One line, status 2, before anything starts."""
    assert said(call(*command.split()), 2).startswith("driftline.toml: there is no such file; write one")


def test_broken_toml_is_one_line(call: Driftline, tmp_path: Path):
    """The place in the file stands before the reason."""
    (tmp_path / "driftline.toml").write_text("[models.fraud\n")
    assert said(call("check"), 2).startswith("driftline.toml: line 1, column 14: not TOML: expected ']'")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", 'module shop has no "make"'),
        ("make = 3", "expected a callable"),
        ("import no_such_module", "no_such_module"),
        ("1 / 0", "ZeroDivisionError"),
        ("def make(:", "SyntaxError"),
    ],
)
def test_check_imports_the_factories(source: str, words: str, call: Driftline, tmp_path: Path):
    """A factory that cannot be had is a fault with its place, whatever the module does."""
    configure(tmp_path, KafkaSettings())
    (tmp_path / "shop.py").write_text(source)
    line = said(call("check"), 2)
    assert line.startswith("driftline.toml: models.fraud.factory: ")
    assert words in line


def test_a_module_beside_the_file_hides_nothing_installed(tmp_path: Path):
    """A `json.py` in the directory of a configuration elsewhere is not imported instead of Python's."""
    other = tmp_path / "conf"
    other.mkdir()
    configure(other, KafkaSettings())
    (other / "zipfile.py").write_text("raise SystemExit('hidden')")
    (other / "shop.py").write_text("import zipfile\nmake = zipfile.ZipFile\n")
    assert end(start(tmp_path, "check", "-c", str(other / "driftline.toml"))).status == 0


# -- neighbours ------------------------------------------------------------------------------------


def test_without_kafka_every_command_says_so(tmp_path: Path, free_port: int):
    """One line with the address and what to do, status 3, no traceback."""
    configure(tmp_path, KafkaSettings(bootstrap=f"127.0.0.1:{free_port}"))
    commands = ["worker", "retrainer", "serve", "topics create", "retrain fraud"]
    for process in [start(tmp_path, *command.split(), DRIFTLINE_SIGNING_KEY=KEY) for command in commands]:
        line = said(end(process), 3)
        assert line.startswith(f"driftline: no Kafka at 127.0.0.1:{free_port} ")
        assert line.endswith("start it, or set [kafka] bootstrap in driftline.toml")


@pytest.mark.parametrize("command", ["worker", "retrainer", "serve", "models list", "models promote fraud 1"])
def test_without_redis_a_command_says_so(
    command: str, call: Driftline, tmp_path: Path, kafka_settings: KafkaSettings, free_port: int
):
    """One line with the address and what to do, status 3."""
    configure(tmp_path, kafka_settings, RedisSettings(url=f"redis://:hunter2@127.0.0.1:{free_port}/0?password=hunter2"))
    line = said(call(*command.split(), DRIFTLINE_SIGNING_KEY=KEY), 3)
    assert line.startswith(f"driftline: no Redis at 127.0.0.1:{free_port}/0 ")
    assert line.endswith("start it, or set [redis] url in driftline.toml")


def test_a_taken_port_is_one_line(
    call: Driftline, tmp_path: Path, kafka_settings: KafkaSettings, redis_settings: RedisSettings, taken_port: int
):
    """The address and the key that moves it, status 3."""
    for command, section, key in (
        ("worker", "[worker]", "metrics_port"),
        ("retrainer", "[retrainer]", "metrics_port"),
        ("serve", "[serve]", "port"),
    ):
        configure(tmp_path, kafka_settings, redis_settings, more=f"{section}\n{key} = {taken_port}\n")
        line = said(call(command, DRIFTLINE_SIGNING_KEY=KEY), 3)
        assert line.startswith(f"driftline: cannot listen on 127.0.0.1:{taken_port} (")
        assert f"set {section} {key}" in line


def test_a_missing_topic_is_one_line_and_create_makes_it(
    call: Driftline, tmp_path: Path, kafka_settings: KafkaSettings, redis_settings: RedisSettings
):
    """A process names the missing topics; `topics create` creates them once; `topics list` shows both states."""
    prefix = f"{kafka_settings.prefix}x"
    configure(tmp_path, KafkaSettings(bootstrap=kafka_settings.bootstrap, prefix=prefix), redis_settings)
    line = said(call("worker", DRIFTLINE_SIGNING_KEY=KEY), 3)
    assert f"{prefix}.events" in line
    assert line.endswith("run `driftline topics create`")
    assert _states(call("topics", "list")) == {"missing"}

    first, second = call("topics", "create"), call("topics", "create")
    assert first.status == second.status == 0
    assert _states(first) == {"created"}
    assert _states(second) == {"exists"}
    assert "note:" not in first.stdout + second.stdout
    looked = call("check", "--connect")
    assert looked.status == 0
    assert "note: the events topic holds too little yet" in looked.stdout
    assert {state.split(" ")[0] for state in _states(call("topics", "list"))} == {"exists"}


def _states(done: Done) -> set[str]:
    """Return what stands in the last column, after checking that every topic has a row."""
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines()[1:]]
    assert [row[0].partition(".")[2] for row in rows] == [topic.name for topic in TOPICS]
    return {row[-1] for row in rows}


def test_topics_are_listed_without_a_broker_too(call: Driftline, tmp_path: Path, free_port: int):
    """The table comes from the code; only the state needs the broker, and its absence is said."""
    configure(tmp_path, KafkaSettings(bootstrap=f"127.0.0.1:{free_port}", prefix="shop"))
    done = call("topics", "list")
    assert done.status == 0
    assert "no Kafka at" in done.stderr
    assert all(topic_name("shop", topic) in done.stdout for topic in TOPICS)


def test_the_page_of_topics_is_the_table(call: Driftline):
    """docs/topics.md is what `driftline topics list --markdown` prints, and that needs no configuration."""
    assert call("topics", "list", "--markdown").stdout == (ROOT / "docs" / "topics.md").read_text()


def test_every_record_of_the_windows_topic_is_named():
    """Its row in the table names each kind of record that the judge reads there, by its tag."""
    tags = [kind.__struct_config__.tag for kind in get_args(HistoryRecord)]
    assert len(tags) > 1
    assert [tag for tag in tags if str(tag) not in WINDOWS.carries] == []


def test_a_bar_in_a_cell_does_not_break_a_markdown_table():
    """It is written as an entity."""
    assert markdown(["a"], [["x|y"]]) == "| a |\n| --- |\n| x&#124;y |"


# -- models and retrains ---------------------------------------------------------------------------


def test_models_are_listed_and_promoted(
    call: Driftline, tmp_path: Path, kafka_settings: KafkaSettings, redis_settings: RedisSettings
):
    """`models list` shows the versions and the one that is served; `promote` moves it, also back."""
    configure(tmp_path, kafka_settings, redis_settings)
    registry = Registry(Store(redis_settings, Secret(KEY.encode())))
    assert re.search(r"^fraud +none", call("models", "list", DRIFTLINE_SIGNING_KEY=KEY).stdout, re.MULTILINE)
    for _ in range(2):
        registry.publish("fraud", Artifact(model=NoChangeClassifier(), created_at=0.0, kind="classifier"))

    done = call("models", "promote", "fraud", "2", DRIFTLINE_SIGNING_KEY=KEY)
    assert done.stdout == "model fraud: version 2 is served now (generation 1)\n"
    done = call("models", "promote", "fraud", "1", DRIFTLINE_SIGNING_KEY=KEY)
    assert done.stdout == "model fraud: version 1 is served now (generation 2)\n"
    rows = call("models", "list", "fraud", DRIFTLINE_SIGNING_KEY=KEY).stdout.splitlines()[1:]
    assert [row.split()[:3] for row in rows] == [["fraud", "1", "served"], ["fraud", "2"]]

    assert said(call("models", "promote", "fraud", "9", DRIFTLINE_SIGNING_KEY=KEY), 1).startswith(
        "driftline: model fraud: no version 9"
    )
    assert "fraud/2" in said(call("models", "promote", "fraud", "2", DRIFTLINE_SIGNING_KEY="another key of some length"), 4)
    pointer = registry.current("fraud")
    assert pointer is not None
    assert pointer.version == 1


def test_a_retrain_asked_for_is_one_the_retrainer_can_read(call: Driftline, tmp_path: Path, kafka_settings: KafkaSettings):
    """The request is on its topic, keyed by the model, with the time that --since gave."""
    configure(tmp_path, kafka_settings)
    done = call("retrain", "fraud", "--since", "2026-11-21T07:30:00+01:00")
    assert done.status == 0, done.stderr
    log = Log(kafka_settings, "test")
    topic = topic_name(kafka_settings.prefix, RETRAINS)
    (record,) = log.read(topic, {0: 0})
    log.close()
    request = parse(record.value)
    assert record.key == b"fraud"
    assert (request.model, request.reason, request.alert, request.features) == ("fraud", "on_demand", None, [])
    assert request.began_at == 1_795_242_600.0
    assert done.stdout.startswith(f"{request.id} written to {topic}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frau"], 'no model frau in driftline.toml; did you mean "fraud"?'),
        (["watched"], "model watched has no factory"),
        (["fraud", "--since", "yesterday"], 'got "yesterday"'),
        (["fraud", "--since", "2026-11-21T07:30:00"], "expected a time with its zone"),
        (["fraud", "--since", "2026-11-21"], "expected a time with its zone"),
    ],
)
def test_a_retrain_that_cannot_be_is_refused(arguments: list[str], words: str, call: Driftline, tmp_path: Path):
    """An unknown model, one without a factory, and a time without a zone are wrong usage."""
    configure(tmp_path, KafkaSettings())
    with (tmp_path / "driftline.toml").open("a") as config:
        config.write("[models.watched]\n")
    done = call("retrain", *arguments)
    assert done.status == 2
    assert words in done.stderr


def test_dashboards_are_written(call: Driftline, tmp_path: Path):
    """The files named on stdout are there."""
    done = call("dashboards", "build", "out")
    assert done.status == 0
    paths = [tmp_path / line for line in done.stdout.splitlines()]
    assert paths
    assert all(path.stat().st_size for path in paths)
    assert any(json.loads(path.read_text()) for path in paths if path.suffix == ".json")


# -- the last place --------------------------------------------------------------------------------


def test_a_package_that_hides_ours_is_named(tmp_path: Path):
    """Another `detectors` earlier on the path is told by its file, before anything of it runs."""
    (tmp_path / "detectors.py").write_text("raise SystemExit('ran')")
    line = said(end(start(tmp_path, "check")), 2)
    assert line.startswith(f"driftline: {tmp_path / 'detectors.py'} hides Driftline's own package detectors")


def test_a_package_that_is_missing_is_named():
    """A broken installation says so."""
    with pytest.raises(ShadowedError, match="no_such_package is missing"):
        check_packages(("no_such_package",))


def test_an_unexpected_error_is_one_line_and_a_traceback_only_on_demand(call: Driftline, tmp_path: Path):
    """A defect names its type and place and how to get more; DRIFTLINE_DEBUG=1 shows all."""
    configure(tmp_path, KafkaSettings())
    (tmp_path / "out").write_text("a file where a directory is wanted")
    done = call("dashboards", "build", str(tmp_path / "out" / "deeper"))
    line = said(done, 1)
    assert line.startswith("driftline: unexpected NotADirectoryError at ")
    assert line.endswith("DRIFTLINE_DEBUG=1 shows the traceback")
    done = call("dashboards", "build", str(tmp_path / "out" / "deeper"), DRIFTLINE_DEBUG="1")
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.stderr


def test_an_interrupt_is_quiet(tmp_path: Path):
    """Ctrl-C ends a command with status 130 and no word of Python's."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configure(tmp_path, KafkaSettings(), RedisSettings(url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        silent.settimeout(60)
        process = start(tmp_path, "models", "list", DRIFTLINE_SIGNING_KEY=KEY)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        done = end(process)
        connection.close()
    assert done.status == 130
    assert "Traceback" not in done.stderr


def test_a_log_record_is_one_line():
    """Newlines in a message and an exception stay on the record's line."""
    try:
        int("two\nlines")
    except ValueError:
        record = logging.LogRecord("driftline.worker", logging.WARNING, __file__, 1, "a\nb %s", ("c",), sys.exc_info())
    record.created = 1_795_242_600.5
    line = LineFormatter().format(record)
    assert re.fullmatch(
        r"2026-11-21T06:30:00\.500Z warning driftline\.worker a \| b c: ValueError: invalid literal .* at test_cli\.py:\d+", line
    )
