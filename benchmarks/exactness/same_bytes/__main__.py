"""Nothing that a user relies on has changed: the same bytes from two versions of Driftline.

    python -m benchmarks.same_bytes --before OLD [--after NEW] [--only NAME] [--out DIR]

What goes through both is listed at the end of --help. The last line is one JSON object; the exit status is 0
if all digests are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaException
from rich.console import Console

from benchmarks.exactness.same_bytes import electricity, goods, segments, shops
from benchmarks.exactness.same_bytes.comparing import HEADINGS, Compared, differences
from benchmarks.exactness.same_bytes.executable import Executable, FailedError, leave_alone
from benchmarks.exactness.same_bytes.log import chaos_log
from benchmarks.exactness.same_bytes.prints import Prints
from benchmarks.exactness.same_bytes.stage import Input, OneSide
from benchmarks.exactness.same_bytes.state import read_files
from benchmarks.exactness.same_bytes.workers import Runs
from benchmarks.machine import run, show_table

_AFTER = Path(".venv/bin/driftline")
_BROKEN = 1
#: Versions that may change bytes by themselves.
_OF_OTHERS = ("python", "river", "numpy", "scipy", "orjson", "msgspec")

NAMES = {
    "chaos": "the log of benchmarks.chaos through a worker on a real Kafka and Redis",
    **{source.name: source.says for source in (electricity.SOURCE, goods.SOURCE, shops.SOURCE, segments.SOURCE)},
    "files": "references and windows written by before, read by after",
    "handover": "chaos, and a worker of after goes on with the snapshots, offsets and waiting predictions of one of before",
    "handover-shops": "the same of the events of shops, whose snapshots hold seasons, and detectors of River",
}


def inputs(home: Path) -> tuple[Input, ...]:
    """Return what goes through both executables; `home` keeps logs of runs that are made once."""
    chaos = Runs(chaos_log, home / "chaos")
    plays: dict[str, Callable[[OneSide, Prints], None]] = {
        "chaos": chaos.undisturbed,
        **{source.name: source.play for source in (electricity.SOURCE, goods.SOURCE, shops.SOURCE, segments.SOURCE)},
        "files": read_files,
        "handover": chaos.handed_over,
        "handover-shops": Runs(shops.shops_log, home / "handover-shops").handed_over,
    }
    return tuple(Input(name, says, plays[name]) for name, says in NAMES.items())


@dataclass(frozen=True, slots=True)
class BothVersions:
    """Both executables and where everything is kept; without a `before` nothing is compared."""

    before: Executable | None
    after: Executable
    home: Path
    say: Callable[[str], None]

    def play(self, one: Input) -> Compared:
        """Let one input go through both."""
        before = None if self.before is None else Prints(self.home / one.name / "before-records")
        after = Prints(self.home / one.name / "after-records")
        try:
            if self.before is not None and before is not None:
                self._play(one, "before", before, self.before, None)
            self._play(one, "after", after, self.after, self.before or self.after)
        except (FailedError, KafkaException) as error:
            return Compared(one.name, before, after, str(error))
        return Compared(one.name, before, after)

    def _play(self, one: Input, side: str, prints: Prints, executable: Executable, writer: Executable | None) -> None:
        source = goods.SOURCE.name if one.name == "files" else one.name
        stage = OneSide(
            executable=executable,
            writer=writer,
            home=self.home / one.name / side,
            inputs=self.home / "inputs" / source,
            say=lambda text: self.say(f"{one.name}, {side}: {text}"),
        )
        one.play(stage, prints)


def compare() -> tuple[dict[str, Any], int]:
    """Run what was asked for, print it, and return the JSON object and the exit status."""
    arguments = _arguments()
    leave_alone()
    began = time.monotonic()
    with _home(arguments.out) as home, _progress() as say:
        try:
            before = Executable.at(arguments.before) if arguments.before else None
            after = Executable.at(arguments.after)
            facts = {"before": before and before.facts(home), "after": after.facts(home)}
        except FailedError as error:
            print(f"benchmarks.same_bytes: {error}")
            return {"benchmark": "same_bytes", "same": False, "error": str(error)}, _BROKEN
        sides = BothVersions(before, after, home, say)
        chosen = [one for one in inputs(home) if not arguments.only or one.name in arguments.only]
        found = [sides.play(one) for one in chosen]
        say("")
        show_table(HEADINGS, [row for one in found for row in one.rows()])
        result = _result(found, facts, time.monotonic() - began)
        for sentence in (*_others(facts), *result["notes"], *result["faults"], *result["refused"], *result["differences"]):
            print(sentence)
        if arguments.out is not None:
            (home / "fingerprints.json").write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    return result, 0 if result["same"] else 1


def _result(found: Sequence[Compared], facts: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "benchmark": "same_bytes",
        "same": bool(found) and all(one.same for one in found),
        "compared": facts["before"] is not None,
        "seconds": round(seconds, 1),
        **facts,
        "notes": [note for one in found for note in one.notes],
        "faults": [fault for one in found for fault in one.faults],
        "refused": [sentence for one in found for sentence in one.refused],
        "differences": [sentence for one in found for sentence in differences(one)],
        "inputs": {one.name: one.as_json() for one in found},
    }


def _others(facts: dict[str, Any]) -> Iterator[str]:
    """Say which libraries have other versions: what differs may then be theirs."""
    if facts["before"] is not None:
        for name in _OF_OTHERS:
            one, other = facts["before"][name], facts["after"][name]
            if one != other:
                yield f"note: {name} is {one} in before and {other} in after; what differs may come of that"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_bytes",
        description="The same inputs through two versions of Driftline, and digests of all that they say.",
        epilog="inputs: " + "; ".join(f"{name}: {says}" for name, says in NAMES.items()),
    )
    parser.add_argument("--before", type=Path, metavar="FILE", help="the driftline of before; without it nothing is compared")
    parser.add_argument("--after", type=Path, metavar="FILE", default=_AFTER, help=f"that of after; {_AFTER} by default")
    parser.add_argument("--only", choices=NAMES, metavar="NAME", action="append", help="this input; may be given again")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep inputs, records, logs and digests in a new folder here")
    return parser.parse_args()


@contextlib.contextmanager
def _home(out: Path | None) -> Iterator[Path]:
    """Give a new directory for everything; it is gone at the end unless it lies in one to keep."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="driftline-same-bytes-") as folder:
            yield Path(folder)
    else:
        out.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(dir=out.absolute(), prefix="run-"))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show one line of what goes on, on a terminal only."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("beginning") as status:
        yield status.update


if __name__ == "__main__":
    run(compare)
