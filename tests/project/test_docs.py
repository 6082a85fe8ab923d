"""The documents: their links lead somewhere, their configurations are right, what they name is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest

from driftline.cli.main import COMMANDS
from driftline.config.load import parse_settings
from tests.support.documents import blocks, prose, text_of
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples/electricity/README.md",
]
PACKAGES = ("detectors", "streams", "serving", "retrainer", "dashboards", "driftline")
TOP = (*PACKAGES, "tests", "benchmarks", "docs", "examples", "deploy")


def label(page: Path) -> str:
    """Return a page's name for the test's id."""
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Return the targets of a page's relative links."""
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_link_leads_somewhere(page: Path):
    """A relative link names a file of the repository, and a heading of it if it names one."""
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_leads_to_every_page():
    """Nobody has to guess that a page exists."""
    named = {(ROOT / target.partition("#")[0]).resolve() for target in links(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent != ROOT or page.name != "README.md"} <= named


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_no_page_knows_a_machine(page: Path):
    """No page names a directory that exists on one machine only."""
    assert re.findall(r"(?<![\w.])/(?:work|root|home|Users|tmp)/\S*", text_of(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_file_that_a_page_names_is_there(page: Path):
    """A file in backquotes that looks like one of ours exists; a bare module name is a module of one of our packages."""
    modules = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    for name in re.findall(r"`([\w./*-]+)`", prose(page)):
        top, slash, _ = name.partition("/")
        if name.startswith("deploy/secrets/"):
            continue  # made by deploy/secrets.sh, and never part of the repository
        if slash and top in TOP and "*" not in name:
            assert (ROOT / name).exists() or (page.parent / name).exists(), name
        elif not slash and re.fullmatch(r"\w+\.py", name):
            assert name in modules or (page.parent / name).exists(), name


@pytest.mark.parametrize(
    ("page", "block"), [pytest.param(page, block, id=label(page)) for page in PAGES for block in blocks(page, "toml")]
)
def test_every_configuration_is_right(tmp_path: Path, page: Path, block: str):
    """A whole configuration passes as it stands; a part of one passes behind the README's."""
    for name in ("signing_key", "webhook_secret"):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef")
    if "[models." not in block:
        block = f"{blocks(ROOT / 'README.md', 'toml')[0]}\n{block}"
    parse_settings(block, page.name, {}, home=tmp_path)


def commands(page: Path) -> list[str]:
    """Return the `driftline ...` commands that a page shows or mentions, without what follows them in a shell."""
    shown = [line for block in blocks(page, "", "sh") for line in block.splitlines()]
    mentioned = re.findall(r"`([^`]+)`", prose(page))
    return [line.strip() for line in (*shown, *mentioned) if re.match(r" *driftline [a-z-]", line)]


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_command_exists(page: Path):
    """`driftline NAME` in a page is a command, and so are the two-word ones."""
    for line in commands(page):
        words = [word for word in shlex.split(line, comments=True)[1:] if not word.startswith("-")]
        assert not words or words[0] in COMMANDS, line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_make_target_exists(page: Path):
    """`make TARGET` in a page is one that make would run."""
    text = "\n".join(blocks(page, "sh")) + "\n" + "\n".join(re.findall(r"`([^`]+)`", prose(page)))
    for line in re.findall(r"^make [^\n]+$", text, re.MULTILINE):
        done = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def dependency_rows() -> dict[str, list[str]]:
    """Return package -> cells of its row in docs/dependencies.md."""
    rows = re.findall(r"^\| `([\w-]+)` \|(.+)\|$", text_of(ROOT / "docs/dependencies.md"), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def requirements() -> list[str]:
    """Return the names of the direct dependencies, in the order of pyproject.toml."""
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    return [re.split(r"[\[<>=;~! ]", line)[0] for line in project["dependencies"]]


def test_every_dependency_is_explained():
    """docs/dependencies.md has a row for each direct dependency, in the same order, and no other."""
    assert list(dependency_rows()) == requirements()


@pytest.mark.parametrize("name", requirements())
def test_the_licence_is_the_one_that_the_package_names(name: str):
    """The licence in the table is the one in the installed package's own metadata."""
    try:
        about = metadata(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed on this platform")
    expression = about.get("License-Expression")
    written = dependency_rows()[name][2]
    if expression:
        assert written.partition(";")[0] == expression
    else:
        short = {"Apache-2.0": "Apache", "BSD-3-Clause": "BSD", "MIT": "MIT"}
        told = [about.get("License") or "", *(line for line in about.get_all("Classifier") or [] if "License" in line)]
        assert any(short.get(written, written) in line for line in told)


def test_the_changes_name_the_version():
    """The newest section of the change log is the version in pyproject.toml."""
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    headings = re.findall(r"^## (\S+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == version
