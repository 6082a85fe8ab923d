"""Files through `driftline replay`: each command in a directory with the input files and configurations in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.exactness.same_bytes.executable import Executable, FailedError
from benchmarks.exactness.same_bytes.prints import Prints
from benchmarks.exactness.same_bytes.stage import OneSide


@dataclass(frozen=True, slots=True)
class Replay:
    """One run of `driftline replay`.

    Args:
        what: a name for its fingerprints.
        arguments: behind `replay`.
        config: file name of the configuration.
        stdin: file that it reads as stdin; empty for none.
        windows: file of windows that it writes; empty for none.
    """

    what: str
    arguments: tuple[str, ...]
    config: str = "driftline.toml"
    stdin: str = ""
    windows: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """One run of `driftline reference build`, which writes a file."""

    what: str
    arguments: tuple[str, ...]
    file: str
    config: str = "driftline.toml"


@dataclass(frozen=True, slots=True)
class ReplaySource:
    """A stream of data.

    Args:
        write: writes its files into a directory, the same bytes every time.
        configs: file name -> configuration.
        steps: in this order.
    """

    name: str
    says: str
    write: Callable[[Path], None]
    configs: Mapping[str, str]
    steps: tuple[Replay | Build, ...]

    def play(self, stage: OneSide, prints: Prints) -> None:
        """Take the fingerprints of all steps, each of which has to raise alerts."""
        for file in self.prepare(stage):
            prints.add_content(f"input {file.name}", file.read_bytes(), needed=True)
        for step in self.steps:
            stage.say(step.what)
            if isinstance(step, Build):
                built(stage.executable, stage.home, step, prints)
            else:
                replayed(stage.executable, stage.home, step, prints)

    def prepare(self, stage: OneSide) -> list[Path]:
        """Put the input files, which are written once, and the configurations into the stage's directory; return the former."""
        if not stage.inputs.is_dir():
            draft = stage.inputs.with_suffix(".part")
            draft.mkdir(parents=True)
            stage.say("writing its input")
            self.write(draft)
            draft.rename(stage.inputs)
        stage.home.mkdir(parents=True, exist_ok=True)
        found = sorted(stage.inputs.iterdir())
        for file in found:
            shutil.copy(file, stage.home)
        for name, text in self.configs.items():
            (stage.home / name).write_text(text, encoding="utf-8")
        return found


#: A log line with the time of day: after says so of each key that before knows by another name.
_OLD_NAME = re.compile(rb"^.* warning driftline\.config .* is an old name: .*\n", re.MULTILINE)


def reported(said: bytes) -> bytes:
    r"""Return what a command said to people, without the notes about keys of the configuration that have new names.

    >>> reported(b"12:00 warning driftline.config a.toml: models.x.errors is an old name: write it anew\n3 alerts\n")
    b'3 alerts\n'
    """
    return _OLD_NAME.sub(b"", said)


def replayed(executable: Executable, home: Path, step: Replay, prints: Prints) -> None:
    """Take the fingerprints of one replay: alerts, their ids, the report, and the windows if it writes any."""
    arguments = ["--config", step.config, "replay", *step.arguments]
    if step.windows:
        arguments += ["--write-windows", step.windows]
    done = executable.run(*arguments, home=home, stdin=home / step.stdin if step.stdin else None)
    if done.status:
        raise FailedError(f"{executable.path} {' '.join(arguments)} ended with status {done.status}: {done.said}")
    prints.add_content(f"{step.what}: alerts", done.stdout, needed=True)
    ids = [orjson.loads(event)["id"].encode() for event in done.stdout.splitlines()]
    prints.add(f"{step.what}: ids", ids, needed=True)
    prints.add_content(f"{step.what}: report", reported(done.stderr), needed=True)
    if step.windows:
        content = (home / step.windows).read_bytes()
        prints.add_content(f"{step.what}: windows", content, needed=True, records=_count(content))


def built(executable: Executable, home: Path, step: Build, prints: Prints) -> None:
    """Take the fingerprints of a reference file, of what is said while it is built, and of what is shown of it."""
    arguments = ("--config", step.config, "reference", "build", *step.arguments, "--output", step.file)
    done = executable.done(*arguments, home=home)
    prints.add_content(f"{step.what}: file", (home / step.file).read_bytes(), needed=True, records=1)
    prints.add_content(f"{step.what}: report", reported(done.stdout + done.stderr), needed=True)
    shown = executable.done("reference", "show", step.file, "--json", home=home)
    prints.add_content(f"{step.what}: shown", shown.stdout, needed=True)


def _count(content: bytes) -> int:
    """Return how many records a file of windows holds: each stands behind its length, in four bytes."""
    at, count = content.index(b"\n") + 1, 0
    while at < len(content):
        at += 4 + int.from_bytes(content[at : at + 4], "big")
        count += 1
    return count
