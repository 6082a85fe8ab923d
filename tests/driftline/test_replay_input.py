"""What a replay is given: every file that can be wrong in a way of its own, and what is said of it."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.spec import ModelSpec
from driftline.cli.commands.look.replay import command
from driftline.cli.main import run
from driftline.readers.opened import Opened
from driftline.readers.parquet import read_parquet
from driftline.readers.roles import Roles
from tests.support.command_line import beside, clean_environment
from tests.support.paths import ROOT
from tests.support.replayed import BEGIN, CONFIG, MAPPED, csv_text, rows, write_csv, write_lines, write_parquet

PATIENCE_SECONDS = 60.0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the test, with a configuration in it."""
    with beside(tmp_path, CONFIG, monkeypatch):
        yield tmp_path


Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(here: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """A function that runs one replay here and gives its exit status, stdout and stderr."""

    def tell(*arguments: str | Path) -> tuple[int, str, str]:
        status = run(["replay", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return tell


def started(directory: Path, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a replay as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "driftline", "replay", *arguments], cwd=directory, env=clean_environment(), **streams
    )


# -- wrong usage and wrong files -------------------------------------------------------------------

WRONG: dict[str, tuple[bytes | None, tuple[str, ...], str]] = {
    "no file": (None, (), "name a FILE of rows, or --windows"),
    "a missing file": (None, ("gone.csv", "--time", "t"), "gone.csv: there is no such file"),
    "a directory": (None, ("here.csv", "--time", "t"), "here.csv: cannot be read (Is a directory)"),
    "a name that does not tell": (b"t\n1\n", ("rows.txt",), 'a name that ends in ".txt" does not say'),
    "stdin that does not tell": (None, ("-",), "stdin does not say what the rows are: add --format"),
    "Parquet from stdin": (None, ("-", "--format", "parquet"), "Parquet is read from its end"),
    "a long delimiter": (b"t\n1\n", ("rows.csv", "--delimiter", "::"), "expected one character"),
    "no time": (b"t,x\n1,2\n", ("rows.csv",), "which column is the time? Name it with --time; there are t, x"),
    "another time": (b"time,x\n1,2\n", ("rows.csv", "--time", "tine"), 'no column "tine"; did you mean "time"?'),
    "another column to ignore": (b"t,x\n1,2\n", ("rows.csv", "--time", "t", "--ignore", "y"), '--ignore: no column "y"'),
    "a label alone": (b"t,l\n1,2\n", ("rows.csv", "--time", "t", "--label", "l"), "--label is compared with --prediction"),
    "another model": (
        b"t,x\n1,2\n",
        ("rows.csv", "--time", "t", "--model", "frau"),
        'no model frau in driftline.toml; did you mean "fraud"?',
    ),
    "columns of events": (b"{}\n", ("rows.jsonl", "--segment", "s"), "JSON Lines without --time are events"),
    "columns of windows": (b"", ("rows.csv", "--windows", "--time", "t"), "--time is for rows, and --windows judges windows"),
    "an empty file": (b"", ("rows.csv", "--time", "t"), "rows.csv: empty: expected a first line"),
    "an empty file of lines": (b"\n\n", ("rows.jsonl",), "rows.jsonl: there is nothing in it to replay"),
    "names only": (b"t,x\n", ("rows.csv", "--time", "t"), "rows.csv: there is nothing in it to replay"),
    "two columns of one name": (b"t,x,x\n1,2,3\n", ("rows.csv", "--time", "t"), 'two columns are called "x"'),
    "UTF-16": ("t,x\n1,2\n".encode("utf-16"), ("rows.csv", "--time", "t"), "rows.csv: line 1: not UTF-8"),
    "a long name": (
        b"t," + b"x" * 200 + b"\n1,2\n",
        ("rows.csv", "--time", "t"),
        "expected a name of at most 128 characters, got 200",
    ),
    "a name of ours": (
        b"t,prediction.volume\n1,2\n",
        ("rows.csv", "--time", "t"),
        'column "prediction.volume": that name stands for the number of rows: rename it, or leave it out with --ignore',
    ),
    "too many columns": (
        ",".join(["t", *map(str, range(501))]).encode() + b"\n",
        ("rows.csv", "--time", "t"),
        "501 columns are features, and max_features of models.fraud is 500",
    ),
    "no time in any row": (
        b"t,x\nnow,2\n,3\n",
        ("rows.csv", "--time", "t"),
        "rows.csv: none of its 2 rows can be used\nrows.csv: line 2: t: expected an RFC 3339 time such as",
    ),
    "events of others": (
        b'{"model":"m","features":{"x":1},"ts":5}\n',
        ("rows.jsonl",),
        "rows.jsonl: line 1: model: no [models.m]",
    ),
    "an event without time": (
        b'{"model":"fraud","features":{"x":1}}\n',
        ("rows.jsonl",),
        "ts: expected a time, got nothing: in a file",
    ),
    "no Parquet": (
        b"PAR1, but not really",
        ("rows.parquet", "--time", "t"),
        "rows.parquet: not a Parquet file, or a damaged one",
    ),
    "no windows": (b"t,x\n1,2\n", ("rows.csv", "--windows"), "not a file of windows, which --write-windows writes"),
    "windows cut off": (b"driftline windows 1\n\x00\x00\x00\x09abc", ("rows.w", "--windows"), "damaged at record 1"),
    "windows changed": (
        b"driftline windows 1\n\x00\x00\x00\x03abc",
        ("rows.w", "--windows"),
        "none of its 1 records can be used\nrows.w: record 1: expected a window, mark, decision or acceptance",
    ),
    "no windows in it": (b"driftline windows 1\n", ("rows.w", "--windows"), "rows.w: there is nothing in it to replay"),
    "its own file": (
        b"t,x\n1,2\n",
        ("rows.csv", "--time", "t", "--write-windows", "./rows.csv"),
        "./rows.csv is the file that is read: name another",
    ),
    "no place to write": (b"t,x\n1,2\n", ("rows.csv", "--time", "t", "--write-windows", "no/w"), "no/w: cannot be written"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_words(told: Told, here: Path, case: str) -> None:
    """Each kind of wrong file or option ends with 2, names the place and the way out, and prints no alert."""
    content, arguments, words = WRONG[case]
    (here / "here.csv").mkdir()
    if content is not None:
        (here / arguments[0]).write_bytes(content)
    status, out, err = told(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert not list(here.glob("*.part"))


def test_several_models_need_a_name(told: Told, here: Path) -> None:
    """Rows do not say whose they are: with two models --model must."""
    (here / "driftline.toml").write_text(CONFIG + CONFIG.replace("fraud", "other"))
    (here / "rows.csv").write_text("t,x\n1,2\n")
    status, _, err = told("rows.csv", "--time", "t")
    assert status == 2
    assert "say with --model whose rows these are; fraud, other" in err
    assert told("rows.csv", "--time", "t", "--model", "other")[0] == 0


def test_parquet_without_pyarrow_names_the_extra(told: Told, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installed Driftline without the extra is told its name."""
    write_parquet(here, rows(seconds=60))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, err = told("rows.parquet", *MAPPED)
    assert (status, err) == (2, "rows.parquet: Parquet needs pyarrow, which is not installed: pip install 'driftline[parquet]'\n")


def test_a_parquet_column_that_is_no_scalar_is_refused(told: Told, here: Path) -> None:
    """A list is named with its type, and can be ignored."""
    pq.write_table(pa.table({"t": [BEGIN], "x": [1.0], "tags": [["a"]]}), here / "rows.parquet")
    status, _, err = told("rows.parquet", "--time", "t")
    assert status == 2
    assert "column tags is of type list" in err
    assert "leave it out with --ignore" in err
    assert told("rows.parquet", "--time", "t", "--ignore", "tags")[0] == 0


def test_every_option_is_documented() -> None:
    """The table of docs/replay.md has every option of the command, and no other."""
    page = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
    named = {
        option
        for line in re.findall(r"^\| (`(?:--|FILE).*?) \|", page, re.MULTILINE)
        for option in re.findall("`(--[a-z-]+)`", line)
    }
    assert named == {opt for param in command.params for opt in param.opts if opt.startswith("--")} - {"--config"}


# -- rows that cannot be used ------------------------------------------------------------------------


def test_bad_rows_are_counted_and_the_first_are_named(told: Told, here: Path) -> None:
    """Rows without a time or with other cells stop nothing; lines are those of the file, though a cell holds two."""
    text = 't,x,y\n60,1,"two\nlines"\n\n,2,a\n120,3\n99999999999999999,4,b\nnoon,5,c\n180,6,d\n'
    (here / "rows.csv").write_text(text)
    status, _, err = told("rows.csv", "--time", "t")
    assert status == 0
    assert "note: 4 of 6 rows could not be used (wrong_time: 3, wrong_width: 1)" in err
    assert "note: line 5: t: expected a time, got nothing" in err
    assert "note: line 6: expected 3 cells, as the first line has, got 2" in err
    assert "note: line 7: t: expected a time from 1970 on" in err
    assert 'note: line 8: t: expected an RFC 3339 time such as "2026-11-21T07:30:00.123Z", or epoch seconds, got "noon"' in err


def test_what_is_no_csv_is_passed_over(told: Told, here: Path) -> None:
    """A cell without end and quotes in the wrong place cost their own rows; bytes that are not UTF-8 cost none."""
    lines = [b"t,x", b"60,1", b"61," + b"z" * 200_000, b'62,"a"b', b"63,\xff\xfe", b"64,\x00", b'65,"no end', b"66,1"]
    (here / "rows.csv").write_bytes(b"\n".join(lines))
    status, _, err = told("rows.csv", "--time", "t")
    assert status == 0
    assert "note: 3 of 6 rows could not be used (not_csv: 3)" in err
    assert "note: line 3: field larger than field limit" in err
    assert "note: line 4: ',' expected after" in err


def test_bad_lines_are_counted_and_the_first_are_named(told: Told, here: Path) -> None:
    """What is no flat object, or too long, is passed over."""
    lines = [
        b"{",
        b'{"t": 60, "x": 1}',
        b"[1]",
        b'{"t": 61, "x": {"y": 1}}',
        b'{"t": 62, "x": "' + b"z" * (2 << 20) + b'"}',
        b"\xff",
    ]
    write_lines(here, lines)
    status, _, err = told("rows.jsonl", "--time", "t")
    assert status == 0
    assert "note: 5 of 6 rows could not be used (nested: 1, not_json: 4)" in err
    assert "note: line 3: expected a JSON object, got list" in err
    assert "note: line 4: x: expected a number, string, boolean or null: flatten it, or --ignore it" in err
    assert "note: line 5: expected a line of at most 1 MiB" in err


def test_bad_events_are_counted_as_dead_letters_are(told: Told, here: Path) -> None:
    """The reasons are those of the dead letters."""
    good = {"model": "fraud", "ts": 60, "features": {"x": 1}}
    write_lines(here, [good, {**good, "ts": None}, {**good, "model": "m"}, {**good, "features": {"x": []}}, b"{}", b"nonsense"])
    status, _, err = told("rows.jsonl")
    assert status == 0
    assert "5 of 6 rows could not be used (missing: 1, nested: 1, not_json: 1, unknown_model: 1, wrong_time: 1)" in err


# -- as a process -----------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_cleanly(here: Path) -> None:
    """Interrupted in the middle it ends with 130, without a traceback and without half a file of windows."""
    arguments = ("-", "--format", "csv", *MAPPED, "--write-windows", "w")
    process = started(here, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        process.stdin.write(csv_text(rows(seconds=600)).encode())
        process.stdin.flush()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (here / "w.part").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (here / "w.part").exists()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    assert sorted(path.name for path in here.iterdir()) == ["driftline.toml"]


def test_rows_and_windows_come_from_stdin_as_well(told: Told, here: Path) -> None:
    """`-` is stdin: the alerts are those of the file."""
    file = write_csv(here, rows())
    _, expected, _ = told(file, *MAPPED, "--write-windows", "w")
    assert expected
    for name, arguments in ((file, ("--format", "csv", *MAPPED)), (here / "w", ("--windows",))):
        with name.open("rb") as source:
            process = started(here, "-", *arguments, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, out.decode()) == (0, expected), err


def test_a_reader_that_goes_away_is_no_fault(here: Path) -> None:
    """`driftline replay ... | head -0` says nothing of a broken pipe."""
    write_csv(here, rows())
    reading, writing = os.pipe()
    os.close(reading)
    process = started(here, "rows.csv", *MAPPED, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (141, b"")


def test_progress_is_shown_on_a_terminal_only(here: Path) -> None:
    """On a terminal a line says how far it is and is taken away; in a pipe there is the table alone."""
    write_csv(here, rows())
    ours, theirs = pty.openpty()
    process = started(here, "rows.csv", *MAPPED, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # the other side was closed: how Linux says so
        pass
    os.close(ours)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert b"% " in shown.replace(b" %, ", b"% ")
    assert b"read\r\x1b[K" in shown
    piped = started(here, "rows.csv", *MAPPED, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, err = piped.communicate(timeout=PATIENCE_SECONDS)
    assert b"\x1b" not in err
    assert [line.split()[0] for line in err.decode().splitlines()] == ["model", "fraud"]


def test_parquet_is_read_row_group_by_row_group(here: Path) -> None:
    """However long a file is, no more of it is held than what comes next: the first rows are there when a tenth was read."""
    count = 200_000
    at, x = BEGIN + np.arange(count) / 100, np.random.default_rng(1).normal(size=count)
    pq.write_table(pa.table({"t": at, "x": x}), here / "rows.parquet", row_group_size=10_000)

    class Counted(io.BufferedReader):
        """A file that counts what is read of it."""

        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

    with Counted(io.FileIO(here / "rows.parquet")) as stream:
        whole = (here / "rows.parquet").stat().st_size
        stretches = read_parquet(Opened("rows.parquet", stream, whole), Roles(ModelSpec("m"), "t"), rows=5_000)
        next(stretches)
        assert 0 < stream.taken < 0.2 * whole
        assert len(list(stretches)) == count / 5_000 - 1
        assert stream.taken > 0.9 * whole
