"""The command line in tests: where it runs here, and how it ended, here or in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Done:
    """Its exit status and what it printed; `stderr` is empty where both streams were read as one."""

    status: int
    stdout: str
    stderr: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """The JSON object in the last line of stdout."""
        return dict(json.loads(self.stdout.splitlines()[-1]))


def clean_environment() -> dict[str, str]:
    """Return the environment of this run without Driftline's own variables, for a process of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}


@contextmanager
def beside(home: Path, config: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let commands run in this process, beside a configuration if one is given; what they change here is as before afterwards."""
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("DRIFTLINE_")]:
        monkeypatch.delenv(name)
    if config is not None:
        (home / "driftline.toml").write_text(config)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
