"""The documents: their links lead somewhere, their configurations are right, what they name is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import metadata
from pathlib import Path

import pytest

from detectors.windows.row import ERROR, PREDICTION, VOLUME
from driftline.cli.main import COMMANDS
from driftline.config.load import parse_settings
from driftline.config.old_keys import OLD_KEYS
from driftline.config.schema import SECTIONS, ModelSection, Section
from tests.support.documents import blocks, prose, text_of
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")),
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
    """The newest section of the change log is the version in pyproject.toml, below what is not released yet."""
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    headings = re.findall(r"^## (\S+)", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == version
    assert "Unreleased" not in headings[1:]


# -- keys of the configuration ---------------------------------------------------------------------


#: Tables inside `[models.NAME]`, by name.
OF_MODELS = {
    name: kind
    for name, field in ModelSection.model_fields.items()
    if isinstance(kind := field.annotation, type) and issubclass(kind, Section)
}
#: Table -> its keys; the tables of a model by what follows `models.NAME`.
TABLES = {
    name: {key for tables in (SECTIONS, OF_MODELS) if name in tables for key in tables[name].toml_keys()}
    for name in SECTIONS | OF_MODELS
}
OF_A_MODEL = set(ModelSection.toml_keys())
KEYS = OF_A_MODEL.union(*TABLES.values())
#: Fields of the settings whose key has another name: a page that names the field misleads.
FIELDS = {field for section in (ModelSection, *SECTIONS.values(), *OF_MODELS.values()) for field in section.model_fields} - KEYS
OLD = {old for keys in OLD_KEYS.values() for old in keys}
#: The pages that say which names are old.
OF_OLD_NAMES = ("CHANGELOG.md", "docs/configuration.md")
#: Page -> words in backquotes that look like keys and are something else.
NO_KEYS = {"docs/scaling.md": ("window_seconds",)}  # a quantity in its formulas
PROGRAMS = ("driftline", "python", "kcat", "make", "pip", "docker", "kafka-configs.sh")
FILES = ("py", "md", "toml", "json", "jsonl", "csv", "gz", "yml", "windows")
#: Features that Driftline makes itself; their names look like paths.
FEATURES = (*PREDICTION, VOLUME, ERROR)


def is_key(path: str, *, old: bool = False) -> bool:
    """Whether a path such as `models.NAME.retrain.patience`, `retrain.patience` or `kafka.prefix` is a table or a key."""
    of_a_model, tables = OF_A_MODEL, TABLES
    if old:
        of_a_model = OF_A_MODEL | OLD_KEYS[""].keys()
        tables = {name: keys | OLD_KEYS.get(name, {}).keys() for name, keys in TABLES.items()}
        tables |= {was: tables[now] for was, now in OLD_KEYS[""].items() if now in tables}
    words = path.split(".")
    if words[0] == "models":
        if len(words) <= 3:
            return len(words) < 3 or words[2] in of_a_model
        words = words[2:]
        if words[0] not in of_a_model:
            return False
    return len(words) <= 2 and words[0] in tables and (len(words) < 2 or words[1] in tables[words[0]])


def wrong_keys(text: str, *, old: bool = False, ignored: Sequence[str] = ()) -> list[str]:
    """Return what stands in backquotes in a text, looks like a key of the configuration, and is none.

    Three forms are looked at: `[table]` with or without a key, a dotted path, and a word with an underscore.

    >>> wrong_keys("`[kafka] prefx` and `retrain.patience` and `max_valeus`")
    ['[kafka] prefx', 'max_valeus']
    """
    quotes = [quoted for quoted in re.findall(r"`([^`\n]+)`", text) if quoted.split()[0] not in PROGRAMS]
    return [quoted for quoted in quotes if is_wrong(quoted, old, ignored)]


def is_wrong(quoted: str, old: bool, ignored: Sequence[str]) -> bool:
    """Whether one text in backquotes names a key that does not exist."""
    bracketed = re.match(r"\[([a-z]\w+(?:\.\w+)*)\](?: (\w+))?", quoted)
    if bracketed:
        return not is_key(".".join(filter(None, bracketed.groups())), old=old)
    return any(is_wrong_path(token, old) or is_wrong_word(token, old, ignored) for token in quoted.split())


def is_wrong_path(token: str, old: bool) -> bool:
    """Whether a dotted path begins like a table, or ends in the name of a key, and leads to no key."""
    if not re.fullmatch(r"[a-z]\w*(\.\w+)+", token):
        return False
    head, *_, last = token.split(".")
    if last in FILES or token in FEATURES or head in PACKAGES:
        return False
    like_a_key = last in KEYS | OLD | FIELDS or get_close_matches(head, [*TABLES, "models"], 1, 0.8)
    return bool(like_a_key) and not is_key(token, old=old)


def is_wrong_word(token: str, old: bool, ignored: Sequence[str]) -> bool:
    """Whether a word with an underscore is a field's name, an old name, or nearly a key."""
    if not re.fullmatch(r"[a-z]+(_[a-z]+)+", token) or token in {*KEYS, *ignored, *(OLD if old else ())}:
        return False
    return token in FIELDS | OLD or bool(get_close_matches(token, KEYS, 1, 0.85))


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_key_that_a_page_names_is_in_the_schema(page: Path):
    """A user who copies a key from a sentence gets no "unknown key"; old names stand only where they are called old."""
    found = wrong_keys(prose(page), old=label(page) in OF_OLD_NAMES, ignored=NO_KEYS.get(label(page), ()))
    assert found == []


@pytest.mark.parametrize(
    "wrong",
    [
        "retrain.patience_seconds",
        "retrain.patiense",
        "models.fraud.retrain.patience_seconds",
        "models.NAME.retrian.patience",
        "p <= retrain.max_eror",
        "refrence.duration",
        "shop.reference.duration",
        "reference.duration.days",
        "kafka.prefx",
        "[kafka] prefx",
        "[kafka] prefx = 3",
        "[kafak] prefix",
        "[models.NAME.refrence] duration",
        "[models.NAME] cooldown",
        "max_buffered_value",
        "label_within_seconds",
        "max_values",
        "outliers.beyond",
        "errors.window",
        "models.fraud.errors.window",
        "[models.NAME.errors]",
    ],
)
def test_a_wrong_key_is_named(wrong: str):
    """A misspelt key, a field's name instead of the key, a key of another table and an old name are reported."""
    assert wrong_keys(f"Set `{wrong}` or `retrain.patience`.") == [wrong]


@pytest.mark.parametrize(
    "right",
    [
        "retrain.patience",
        "models.fraud.retrain.patience",
        "[models.NAME.reference] duration",
        "[models.fraud]",
        "[kafka] replication = 3",
        'reference.duration = "2w"',
        "p <= retrain.max_error",
        "label_within",
        "prediction.volume",
        "driftline.events",
        "retrain.py",
        "driftline explain thresholds --model fraud",
        "[n]",
        "trained_rows",
    ],
)
def test_a_right_key_and_what_is_none_are_left_alone(right: str):
    """Keys in each form, fields of events, topics, files and commands are no faults."""
    assert wrong_keys(f"`{right}`") == []


@pytest.mark.parametrize("old", ["[models.X.errors]", "models.X.errors.window", "max_values", "outliers.beyond"])
def test_an_old_name_is_right_where_old_names_are_listed(old: str):
    """The change log and the page of keys have to name it."""
    assert wrong_keys(f"`{old}`", old=True) == []
    assert wrong_keys(f"`{old}`") == [old]
