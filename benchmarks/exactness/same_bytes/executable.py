"""One `driftline` executable, run as a user runs it: nothing of this process's packages or environment reaches it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: No command of a benchmark takes longer than this, in seconds.
_PATIENCE_SECONDS = 900.0
#: Starts of names of environment variables that would change what a command does.
_MEDDLING = ("DRIFTLINE_", "PYTHONPATH", "PYTHONHOME")
#: Where servers find their jars; it changes no command.
_HARMLESS = "DRIFTLINE_CACHE"
_FACTS = """
import importlib.metadata, json, os, platform, driftline
found = {"package": os.path.dirname(driftline.__file__), "python": platform.python_version()}
names = ("driftline", "river", "numpy", "scipy", "orjson", "msgspec")
print(json.dumps(found | {name: importlib.metadata.version(name) for name in names}))
"""


class FailedError(RuntimeError):
    """An input cannot be played to its end; what was said last is in the message."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command that has ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def said(self) -> str:
        """The end of what it said on stderr, or on stdout if that is empty."""
        return (self.stderr or self.stdout).decode(errors="replace").strip()[-1000:]


@dataclass(frozen=True, slots=True)
class Executable:
    """One of the two that are compared."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Executable:
        """Return the executable at a path.

        Raises:
            FailedError: there is none.
        """
        found = path.absolute()  # not resolved: an environment's python is known by its own name
        if not os.access(found, os.X_OK):
            raise FailedError(f"{path} is no program that can be run")
        return cls(found)

    def run(self, *arguments: str, home: Path, stdin: Path | None = None, secrets: dict[str, str] | None = None) -> CommandResult:
        """Run a command in a directory and wait for its end.

        Args:
            arguments: behind the program.
            home: working directory.
            stdin: file to read as stdin; None for none.
            secrets: environment variables beside those of this process.

        Raises:
            FailedError: it did not end.
        """
        environment = {**os.environ, **(secrets or {})}
        with (stdin or Path(os.devnull)).open("rb") as given:
            try:
                done = subprocess.run(
                    [str(self.path), *arguments],
                    cwd=home,
                    stdin=given,
                    capture_output=True,
                    timeout=_PATIENCE_SECONDS,
                    env=environment,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise FailedError(f"{self.path} {' '.join(arguments)} had not ended after {_PATIENCE_SECONDS:g} s") from None
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def done(self, *arguments: str, home: Path, secrets: dict[str, str] | None = None) -> CommandResult:
        """Run a command that has to succeed.

        Raises:
            FailedError: it did not.
        """
        done = self.run(*arguments, home=home, secrets=secrets)
        if done.status:
            raise FailedError(f"{self.path} {' '.join(arguments)} ended with status {done.status}: {done.said}")
        return done

    def facts(self, home: Path) -> dict[str, str]:
        """Return where its package lies, and the versions of what may change bytes.

        Raises:
            FailedError: there is no Python beside it that imports it.
        """
        # -P keeps the working directory, which may hold packages of the same names, off the import path
        found = Executable(self.path.with_name("python")).done("-P", "-c", _FACTS, home=home)
        return {"executable": str(self.path), **json.loads(found.stdout)}


def leave_alone() -> None:
    """Take what would change a command out of this process's environment, which all children inherit."""
    for name in [name for name in os.environ if name.startswith(_MEDDLING) and name != _HARMLESS]:
        del os.environ[name]
