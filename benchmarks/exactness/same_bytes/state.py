"""Files that one version has written and the other reads: references and windows."""

from __future__ import annotations

from benchmarks.exactness.same_bytes import goods
from benchmarks.exactness.same_bytes.prints import Prints
from benchmarks.exactness.same_bytes.replays import built, replayed
from benchmarks.exactness.same_bytes.stage import OneSide

#: What `driftline check` says of a reference file that it takes.
_TAKEN = b"by references "
#: Status of a command that refuses its configuration.
_REFUSED = 2


def read_files(stage: OneSide, prints: Prints) -> None:
    """Let the writer write a reference and a file of windows, and take the fingerprints of what the executable makes of them."""
    writer = stage.writer or stage.executable
    goods.SOURCE.prepare(stage)
    stage.say("writing a reference and windows")
    written = Prints(prints.folder / "written")
    built(writer, stage.home, goods.REFERENCE, written)
    replayed(writer, stage.home, goods.WINDOWS, written)
    stage.say("reading them")
    replayed(stage.executable, stage.home, goods.AGAIN, prints)
    checked = stage.executable.run("--config", goods.FROM_REFERENCE.config, "check", home=stage.home)
    if checked.status == _REFUSED:
        prints.refused.append(f"the reference file of before was refused: {checked.said}")
        return
    prints.add("check", [each for each in checked.stdout.splitlines() if _TAKEN in each], needed=True)
    replayed(stage.executable, stage.home, goods.FROM_REFERENCE, prints)
    shown = stage.executable.done("reference", "show", goods.REFERENCE.file, "--json", home=stage.home)
    prints.add_content("reference shown", shown.stdout, needed=True)
