"""Who may import whom, read from the sources.

Rules:
1. The packages are a stack: detectors <- streams <- serving <- retrainer; dashboards beside them sees
   streams.metrics and streams.patience alone; driftline is on top and imported by none.
2. The rooms of a package are a stack too (`ROOMS`): a room imports what stands below it, never what stands above. What an
   edge device installs, `detectors.windows`, imports NumPy and msgspec and nothing else.
3. No module imports itself through others.
4. Imports stand at the top of a file, so that a cycle cannot hide in a function; only the front door
   imports late, to answer `--help` at once.
5. Every library with a life of its own comes in by one door.
6. The core is pure: nothing in detectors/ can reach a file, a socket, a clock, a thread or a log.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

#: Package -> prefixes of our own modules that it may import besides itself.
MAY_IMPORT = {
    "detectors": (),
    "streams": ("detectors",),
    "serving": ("detectors", "streams"),
    "retrainer": ("detectors", "streams", "serving"),
    "dashboards": ("streams.metrics", "streams.patience"),
    "driftline": ("detectors", "streams", "serving", "retrainer", "dashboards"),
}

#: Package -> its rooms and the modules beside them, each line a step up. What shares a line is of one height, and knows nothing
#: of its neighbours. A name is a prefix: a new module of a room is in its place without a word here.
ROOMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "detectors": (
        ("errors", "identity", "arrays", "statistics"),
        ("windows",),
        ("reference", "pairing"),
        ("spec",),
        ("measure", "outlier"),
        ("learning",),
        ("judging",),
        ("incidents",),
        ("model",),
    ),
    "streams": (
        ("settings", "topics", "listening", "patience"),
        ("metrics",),
        ("kafka",),
        ("events", "records"),
        ("state", "routing"),
        ("engine",),
        ("stages",),
        ("worker",),
    ),
    "serving": (("registry",), ("live",), ("http",)),
    "driftline": (
        ("text", "servers"),
        ("config", "readers", "explain", "annotating"),
        ("replay",),
        ("references", "demo"),
        ("cli",),
        ("__main__",),
    ),
}

#: Room -> all that it may import besides itself and the standard library.
NOTHING_BUT = {"detectors.windows": ("detectors.arrays", "msgspec", "numpy")}

#: Library -> the files through which it comes in.
DOORS = {
    "aiokafka": ("streams/engine/fetch.py", "streams/engine/transport.py", "streams/kafka/partitioner.py"),
    "click": ("driftline/*",),
    "confluent_kafka": ("streams/kafka/*", "driftline/servers/*"),
    "faust": ("streams/engine/lanes.py", "streams/engine/transport.py", "streams/kafka/batch.py", "streams/worker/*"),
    "grafana_api": ("dashboards/push.py",),
    "holidays": ("detectors/reference/holidays.py",),
    "pickle": ("serving/registry/artifact.py", "streams/state/snapshot.py"),
    "prometheus_client": ("streams/metrics.py",),
    "pyarrow": ("driftline/readers/parquet.py",),
    "pydantic": ("driftline/*",),
    "redis": ("streams/state/store.py",),
    "rich": ("driftline/*",),
    "river": ("detectors/*", "retrainer/*", "serving/registry/artifact.py"),
    "subprocess": ("driftline/*", "driftline/servers/*"),
}

IMPURE = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}

LATE_IMPORTS = "driftline/*"
MOST_FILES = 21


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, as it is named in a file."""

    file: str
    line: int
    module: str
    late: bool

    def fault(self, sentence: str) -> str:
        """The place and what is wrong there."""
        return f"{self.file}:{self.line}: {sentence}"


def sources(root: Path) -> dict[str, Path]:
    """Module name -> file, for all our packages."""
    found = {}
    for package in MAY_IMPORT:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path, modules: dict[str, Path]) -> Iterator[tuple[str, Import]]:
    """Every import of every module; `from package import module` names the module."""
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        late = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = (
                    ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
                    if node.level
                    else node.module
                )
                inside = [f"{base}.{alias.name}" for alias in node.names]
                targets = [target if target in modules else str(base) for target in inside]
            else:
                continue
            for target in dict.fromkeys(targets):
                yield name, Import(path.relative_to(root).as_posix(), node.lineno, target, id(node) in late)


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module is one of the prefixes or inside one."""
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def height(module: str) -> int | None:
    """Return how high the room of a module stands in its package, None for what is in no room."""
    package, *inside = module.split(".")
    for step, rooms in enumerate(ROOMS.get(package, ())):
        if inside and inside[0] in rooms:
            return step
    return None


def climbs(module: str, imported: str) -> bool:
    """Whether an import inside a package goes up, or to another room of the same height."""
    (package, *inside), (top, *target) = module.split("."), imported.split(".")
    if package != top or not inside or not target or inside[0] == target[0]:
        return False
    here, there = height(module), height(imported)
    return here is not None and there is not None and there >= here


def faults(root: Path) -> list[str]:
    """Every breach of the rules but 3, with file and line."""
    modules = sources(root)
    found = []
    for name, imported in imports(root, modules):
        package, top = name.split(".")[0], imported.module.split(".")[0]
        if top in MAY_IMPORT and not within(imported.module, (package, *MAY_IMPORT[package])):
            found.append(imported.fault(f"{package} may not import {imported.module}"))
        if climbs(name, imported.module):
            found.append(
                imported.fault(f"{'.'.join(name.split('.')[:2])} may not import {imported.module}, which stands above it")
            )
        for room, allowed in NOTHING_BUT.items():
            if within(name, (room,)) and top not in sys.stdlib_module_names and not within(imported.module, (room, *allowed)):
                found.append(imported.fault(f"{room} may import {', '.join(allowed)} only"))
        if imported.late and not fnmatch(imported.file, LATE_IMPORTS):
            found.append(imported.fault(f"{imported.module} is imported inside a function"))
        if top in DOORS and not any(fnmatch(imported.file, door) for door in DOORS[top]):
            found.append(imported.fault(f"{top} comes in by {' and '.join(DOORS[top])} only"))
        if package == "detectors" and top in IMPURE:
            found.append(imported.fault(f"the core may not import {top}"))
    return found


def cycles(root: Path) -> list[str]:
    """Every cycle among modules, as `a -> b -> a`, found by depth-first search."""
    modules = sources(root)
    edges: dict[str, set[str]] = {name: set() for name in modules}
    for name, imported in imports(root, modules):
        if imported.module in modules:
            edges[name].add(imported.module)
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    return found


def test_the_packages_are_a_stack_with_one_door_a_library() -> None:
    """No file breaks the rules at the top of this file."""
    assert faults(ROOT) == []


def test_there_are_no_cycles() -> None:
    """No module imports itself through others, not even for its types."""
    assert cycles(ROOT) == []


def test_every_module_has_a_room() -> None:
    """Each module of a package with rooms is in one of them, and each room that is named is there."""
    modules = sources(ROOT)
    lost = [name for name in modules if name.count(".") and name.split(".")[0] in ROOMS and height(name) is None]
    assert lost == []
    named = {f"{package}.{room}" for package, steps in ROOMS.items() for rooms in steps for room in rooms}
    assert [room for room in sorted(named) if room not in modules] == []


def test_no_folder_is_a_crowd() -> None:
    """A folder of a package has at most 21 files, so that one look takes it in."""
    sizes = {folder: len(list(folder.glob("*.py"))) for package in MAY_IMPORT for folder in (ROOT / package).rglob("*/")}
    sizes |= {ROOT / package: len(list((ROOT / package).glob("*.py"))) for package in MAY_IMPORT}
    assert {folder.relative_to(ROOT).as_posix(): size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_a_class_name_means_one_thing() -> None:
    """No two classes of the project have the same name, those of benchmarks, examples and tests included."""
    found: dict[str, list[str]] = {}
    for top in (*MAY_IMPORT, "benchmarks", "examples", "tests"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}")
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_every_package_is_read() -> None:
    """The check sees the sources: every package has modules in it."""
    assert {name.split(".")[0] for name in sources(ROOT)} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("file", "source", "sentence"),
    [
        ("detectors/a.py", "import streams.kafka", "detectors/a.py:1: detectors may not import streams.kafka"),
        ("streams/a.py", "from serving import registry", "streams/a.py:1: streams may not import serving"),
        ("streams/sub/a.py", "from ...retrainer import x", "streams/sub/a.py:1: streams may not import retrainer"),
        (
            "dashboards/a.py",
            "from streams.state import store",
            "dashboards/a.py:1: dashboards may not import streams.state.store",
        ),
        ("retrainer/a.py", "import driftline", "retrainer/a.py:1: retrainer may not import driftline"),
        (
            "streams/a.py",
            "if True:\n    import redis.asyncio",
            "streams/a.py:2: redis comes in by streams/state/store.py only",
        ),
        ("serving/a.py", "def f():\n    import json", "serving/a.py:2: json is imported inside a function"),
        ("detectors/a.py", "from time import monotonic", "detectors/a.py:1: the core may not import time"),
        (
            "streams/engine/a.py",
            "from streams.stages.join import Join",
            "streams/engine/a.py:1: streams.engine may not import streams.stages.join, which stands above it",
        ),
        (
            "streams/events/a.py",
            "import streams.records",
            "streams/events/a.py:1: streams.events may not import streams.records, which stands above it",
        ),
        (
            "detectors/windows/a.py",
            "import scipy",
            "detectors/windows/a.py:1: detectors.windows may import detectors.arrays, msgspec, numpy only",
        ),
    ],
)
def test_a_breach_is_named(tmp_path: Path, file: str, source: str, sentence: str) -> None:
    """A file that breaks a rule is reported with its line and the rule."""
    for path, text in {"streams/state/store.py": "", file: source}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert faults(tmp_path) == [sentence]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("driftline/cli/main.py", "def f():\n    from retrainer import worker\n    import rich"),
        ("dashboards/a.py", "from streams.metrics import CATALOGUE\nimport streams.metrics"),
        ("retrainer/a.py", "from serving.registry.versions import Registry\nfrom . import gate"),
        ("driftline/servers/a.py", "import confluent_kafka\nfrom streams.kafka import Log"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, file: str, source: str) -> None:
    """Imports down the stack, late ones at the front door and libraries at their doors are fine."""
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source)
    assert faults(tmp_path) == []


def test_a_cycle_is_named(tmp_path: Path) -> None:
    """A cycle over three modules is reported as the way around it."""
    (tmp_path / "streams").mkdir()
    for name, target in {"a": "b", "b": "c", "c": "a", "d": "a"}.items():
        (tmp_path / "streams" / f"{name}.py").write_text(f"from streams.{target} import thing\n")
    assert cycles(tmp_path) == ["streams.a -> streams.b -> streams.c -> streams.a"]
