"""The wheel: built as a user builds it, it holds everything that runs and nothing that does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
EXAMPLE = "driftline/examples/electricity"


def build(source: Path, directory: Path) -> Path:
    """Build the wheel of a source tree into a directory, with the build backend that it asks for."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--wheel-dir", directory, source], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = directory.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    """Return the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


def in_tree(directory: str, pattern: str) -> set[str]:
    """Return the files below a directory of the checkout, relative to the checkout."""
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / directory).rglob(pattern)}
    assert found, f"nothing like {pattern} in {directory}: the test would hold for an empty wheel"
    return found


@pytest.mark.parametrize(
    ("directory", "pattern"), [*((name, "*.py") for name in PACKAGES), ("streams/schemas", "*.json"), ("dashboards/files", "*.*")]
)
def test_the_wheel_holds_every_module_and_data_file(wheel: Path, directory: str, pattern: str):
    """Modules, event schemas, the dashboard and the rules are where the code looks for them."""
    assert in_tree(directory, pattern) <= names_in(wheel)


def test_the_wheel_says_that_our_packages_have_types(wheel: Path):
    """Every package carries py.typed, so that the type checker of a user reads our annotations."""
    assert {f"{name}/py.typed" for name in PACKAGES} <= names_in(wheel)


def test_the_wheel_holds_the_demo(wheel: Path):
    """Every file of the example is inside the package, so that `driftline demo` runs without a checkout."""
    files = [path.name for path in (ROOT / "examples" / "electricity").iterdir() if path.is_file()]
    assert len(files) >= 5
    assert {f"{EXAMPLE}/{name}" for name in files} <= names_in(wheel)


def test_the_wheel_holds_nothing_else(wheel: Path):
    """No tests, benchmarks, deployment files or byte code travel with it; the licence does."""
    names = names_in(wheel)
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, f"driftline-{PROJECT['project']['version']}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]
    assert f"driftline-{PROJECT['project']['version']}.dist-info/licenses/LICENSE" in names


def test_an_installed_demo_finds_its_example(wheel: Path, tmp_path: Path):
    """Installed and started from elsewhere, Driftline's packages are its own and the example is the one inside the wheel."""
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", target]
    subprocess.run([*install, wheel], check=True, timeout=300)
    code = (
        "from driftline.cli.packages import check_packages; check_packages()\n"
        "from driftline.demo.example import directory, module\n"
        "print(directory())\n"
        "print(sum(1 for _ in module('rows').read_rows()))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [str(target / EXAMPLE), "45312"], done.stderr


def test_the_image_builds_the_same_wheel(wheel: Path, tmp_path: Path):
    """What the Dockerfile copies is enough to build the wheel, and gives the same files."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    context = tmp_path / "context"
    for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE):
        *sources, target = line.split()
        for name in sources:
            source, place = ROOT / name, context / (name if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place)
    (tmp_path / "wheel").mkdir()
    assert names_in(build(context, tmp_path / "wheel")) == names_in(wheel)
