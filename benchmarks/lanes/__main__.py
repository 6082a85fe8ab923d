"""Run the benchmarks by their lanes.

    python -m benchmarks.lanes quick [NAME ...]     the quick forms, one after another: make quick
    python -m benchmarks.lanes full NAME            the full form of one, and its table into docs/: make full-NAME
    python -m benchmarks.lanes list [--write]       the table of all lanes; --write puts it into docs/development.md

A terminal shows what goes on; a pipe gets the table at the end. The last line of `quick` is one JSON object. Its exit status is 1
if a figure is out of its bounds, or if a benchmark failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.documents import ROOT, replaced
from benchmarks.lanes.catalogue import LANES, documented, listed
from benchmarks.lanes.full import full
from benchmarks.lanes.lane import BenchmarkLane
from benchmarks.lanes.quick import as_json, passed, quick, show
from benchmarks.progress import progress
from detectors.errors import ConfigError, DriftlineError
from driftline.text.nearest import nearest

#: Kept parts and logs; git ignores it.
HOME = ROOT / ".benchmarks"
DEVELOPMENT = ROOT / "docs" / "development.md"
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked for and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes", description="Run the benchmarks by their lanes.")
    parser.add_argument("lane", choices=["quick", "full", "list"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(LANES))
    parser.add_argument("--write", action="store_true", help="with list: put the table into docs/development.md")
    chosen = parser.parse_args(arguments)
    try:
        lanes = [lane_of(name) for name in dict.fromkeys(chosen.names)] or list(LANES.values())
        if chosen.lane == "list":
            print(listed(lanes))
            if chosen.write:
                DEVELOPMENT.write_text(replaced(DEVELOPMENT.read_text(encoding="utf-8"), "lanes", documented()), encoding="utf-8")
            return 0
        if chosen.lane == "full":
            return _full(chosen.names)
        return _quick(lanes)
    except DriftlineError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def lane_of(name: str) -> BenchmarkLane:
    """Return the lane of a benchmark.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in LANES:
        meant = nearest(name, LANES)
        raise ConfigError(f"there is no benchmark {name!r}{f', {meant}' if meant else ''}; there are {', '.join(LANES)}")
    return LANES[name]


def _quick(lanes: list[BenchmarkLane]) -> int:
    with progress() as say:
        results = quick(lanes, _home("quick"), say=say)
    show(results)
    print(json.dumps(as_json(results)))
    return 0 if passed(results) else 1


def _full(names: list[str]) -> int:
    if len(names) != 1:
        raise ConfigError("name one benchmark: python -m benchmarks.lanes full NAME")
    with progress() as say:
        print(full(lane_of(names[0]), _home("full"), say=say))
    return 0


def _home(lane: str) -> Path:
    home = HOME / lane
    home.mkdir(parents=True, exist_ok=True)
    return home


if __name__ == "__main__":
    sys.exit(main())
