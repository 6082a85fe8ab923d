"""The full lane: the full form of one benchmark, part by part, and its table in the documents.

Rules:
1. A part that has finished is kept under `.benchmarks/`, which git ignores. After an interruption the next run does the parts
   that are left. Parts of another commit are not mixed with these: they are dropped.
2. A run takes 60 minutes at most: a part that would not fit any more is left to the next run.
3. The document is written once all parts are there, with the date and the commit. Then the kept parts go, so that the next run
   measures anew.
"""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.documents import ROOT, replaced, with_constants
from benchmarks.lanes.lane import BenchmarkLane
from benchmarks.lanes.running import run
from benchmarks.progress import Say
from benchmarks.speed.scaling import PAGE, renewed
from detectors.errors import DriftlineError

#: The longest that one run may take.
FULL_SECONDS = 60 * 60.0
#: A part is stopped at so many times its estimate.
PATIENCE = 2.0


class KeptParts:
    """The finished parts of one full form at one commit, in a file."""

    def __init__(self, home: Path, name: str, commit: str) -> None:
        """Read what is there; parts of another commit count for nothing."""
        self._file = home / f"{name}.json"
        self._commit = commit
        kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        self.parts: dict[str, dict[str, Any]] = kept.get("parts", {}) if kept.get("commit") == commit else {}

    def add(self, arguments: tuple[str, ...], printed: dict[str, Any]) -> None:
        """Keep a finished part; the file is whole at any moment."""
        self.parts[" ".join(arguments)] = printed
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps({"commit": self._commit, "parts": self.parts}), encoding="utf-8")
        draft.replace(self._file)

    def drop(self) -> None:
        """Forget all parts."""
        self._file.unlink(missing_ok=True)


def full(lane: BenchmarkLane, home: Path, *, say: Say, root: Path = ROOT) -> str:
    """Run the parts that are left and write the table; return a sentence about what was done.

    Raises:
        DriftlineError: a part failed, or parts are left for the next run.
    """
    kept = KeptParts(home, lane.name, commit_of(root))
    began = time.monotonic()
    for number, part in enumerate(lane.full, 1):
        if " ".join(part.arguments) in kept.parts:
            continue
        spent = time.monotonic() - began
        if spent and spent + part.seconds > FULL_SECONDS and number > 1:
            done = f"{len(kept.parts)} of {len(lane.full)} parts are done"
            raise DriftlineError(
                f"{lane.name}: {done}, the next one does not fit into this hour: run make full-{lane.name} again"
            )
        title = f"{lane.name}, part {number} of {len(lane.full)}: {' '.join(part.arguments) or 'defaults'}"
        found = run(
            lane.name,
            part.arguments,
            log=home / f"{lane.name}-{number}.log",
            limit_seconds=min(PATIENCE * part.seconds, FULL_SECONDS - spent),
            tick=lambda seconds, title=title: say(f"{title}, {seconds:.0f} s"),  # type: ignore[misc]
        )
        if found.late:
            limit = "it takes longer than benchmarks/lanes/catalogue.py says"
            raise DriftlineError(f"{title} was stopped after {found.seconds:.0f} s: {limit}")
        if found.status != 0:
            raise DriftlineError(f"{title} ended with status {found.status}; the end of its log {found.log}:\n{found.tail()}")
        kept.add(part.arguments, found.printed)
    printed = [kept.parts[" ".join(part.arguments)] for part in lane.full]
    document = root / lane.page.file
    document.write_text(written(document.read_text(encoding="utf-8"), lane, printed, commit=commit_of(root)), encoding="utf-8")
    kept.drop()
    return f"{lane.name}: the table is in {lane.page.file}"


def written(text: str, lane: BenchmarkLane, printed: list[dict[str, Any]], *, commit: str, date: str = "") -> str:
    """Return the document with the table, the constants and where they come from."""
    day = date or datetime.now(UTC).strftime("%Y-%m-%d")
    source = f"Made by `make full-{lane.name}` on {day} at commit `{commit}`."
    text = replaced(text, f"full {lane.name}", f"{lane.page.table(printed)}\n\n{source}")
    constants = lane.page.constants(printed)
    text = with_constants(text, constants)
    return renewed(text) if constants or lane.page.file.endswith(PAGE.name) else text


def commit_of(root: Path) -> str:
    """Return the short commit of the checkout, with a `+` if files that git knows differ from it."""
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=7", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
