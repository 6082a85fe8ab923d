"""The version: pyproject.toml says it, and nothing else says another."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
#: `version = "1.2.3"`, `__version__ = '1.2.3'`, `"version": "1.2.3"`, `VERSION=1.2.3`, but no version of something else.
ASSIGNED = re.compile(
    rf"""(?i)(?<![\w.-])(?:__)?version(?:__)?["']?(?:\s*:\s*\w+)?\s*[:=]\s*["']?{re.escape(VERSION)}(?![\w.])"""
)
IMAGE = re.compile(r"(?<![\w/-])driftline:(\d+\.\d+\.\d+)")


@pytest.fixture
def texts(tool: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Path and text of every file that git tracks and that is text."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: git does not say which files are tracked")
    listed = subprocess.run([tool("git"), "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return ((name, text) for name in listed.stdout.split("\0") if name and (text := text_of(ROOT / name)))


def text_of(file: Path) -> str:
    """Return the text of a file; nothing for one that is no text, or that was deleted and not yet committed."""
    try:
        return file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError):
        return ""


@pytest.mark.parametrize(
    "line", ['version = "{}"', "__version__ = '{}'", '__version__: str = "{}"', '"version": "{}"', "VERSION={}"]
)
def test_an_assignment_is_recognised(line: str):
    """Each usual way to write the version down is found."""
    assert ASSIGNED.search(line.format(VERSION))


@pytest.mark.parametrize("line", ['river_version="{}"', 'version = "{}.1"', "# version {} did otherwise", "## {}"])
def test_what_is_no_assignment_is_left_alone(line: str):
    """The version of something else, a longer one, and a sentence are no second place."""
    assert not ASSIGNED.search(line.format(VERSION))


def test_the_version_is_assigned_in_one_place(texts: Iterator[tuple[str, str]]):
    """No tracked file but pyproject.toml has the version as a literal that would have to be changed with it."""
    assert [name for name, text in texts if ASSIGNED.search(text)] == ["pyproject.toml"]


def test_our_image_has_the_version_as_its_tag(texts: Iterator[tuple[str, str]]):
    """Compose files and documents name the image of this version, and at least one does."""
    tags = {(name, tag) for name, text in texts for tag in IMAGE.findall(text)}
    assert tags
    assert {(name, tag) for name, tag in tags if tag != VERSION} == set()


def test_the_command_prints_the_version_of_the_project():
    """`driftline --version` prints what pyproject.toml says."""
    command = [sys.executable, "-m", "driftline", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"driftline {VERSION}\n"), done.stderr
