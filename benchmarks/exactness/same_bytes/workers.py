"""A log through workers on a real Kafka and Redis: one worker undisturbed, or two, the second where the first was stopped.

Handed over means: a worker of before stops at half of the log, and a worker of after goes on with what it left in
Redis and Kafka. Then everything has to be what an undisturbed run leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.exactness.same_bytes.deployment import RunningDeployment, deployment
from benchmarks.exactness.same_bytes.executable import Executable, FailedError
from benchmarks.exactness.same_bytes.left import TOPICS, alert_ids, left
from benchmarks.exactness.same_bytes.log import ReplayedLog
from benchmarks.exactness.same_bytes.prints import Prints, line
from benchmarks.exactness.same_bytes.stage import OneSide
from driftline.servers.child import Child

_HALF = 0.5
#: Status of a worker that refuses what is stored.
_REFUSED = 4
_TAKEN_OVER = b"taken over"
#: Counters of the worker that follow from the log alone.
_COUNTERS = ("events", "late_events", "outcomes", "dead_letters", "windows", "alerts", "retrains")
#: What a run leaves on its topics.
_WRITTEN = tuple(left(dict.fromkeys(TOPICS, ())))
#: Lists that may only grow.
_GROWING = "metric names"


@dataclass(slots=True)
class Runs:
    """Runs over one log; `home` has a folder for each undisturbed one."""

    log: Callable[[], ReplayedLog]
    home: Path
    #: (executable, whether it is before) -> what its run left. Both may be one executable, and are run all the same.
    _found: dict[tuple[Executable, bool], dict[str, list[bytes]]] = field(default_factory=dict)

    def undisturbed(self, stage: OneSide, prints: Prints) -> None:
        """Take the fingerprints of a run that nothing disturbs."""
        self._input(prints)
        _take(self._run(stage), prints)

    def handed_over(self, stage: OneSide, prints: Prints) -> None:
        """Take those of a run that the writer begins and the executable ends; without a writer those of an undisturbed one."""
        self._input(prints)
        if stage.writer is None:
            found = self._run(stage)
            _take({"state": [_TAKEN_OVER], **{what: found[what] for what in _WRITTEN}}, prints)
            return
        with deployment(stage.writer, stage.home, self.log(), stage.say) as at:
            first = at.start(stage.writer)
            if not at.until(first, lambda: at.share() >= _HALF and bool(at.broker.records["alerts"])):
                raise FailedError(f"the worker of before ended by itself: {first.tail()}")
            at.stop(first)
            at.broker.look_to_the_end()
            before = alert_ids(at.broker.records["alerts"])
            prints.notes.append(f"handed over with {at.share():.0%} of the time in windows and {len(before)} alerts sent")
            if at.finished():
                raise FailedError("the worker of before was through before it could be stopped")
            state = _taken_over(at, stage.executable, prints)
            repeated = alert_ids(at.broker.records["alerts"])[len(before) :]
            if state == _TAKEN_OVER and set(before) <= set(repeated):
                state = b"judged again from the beginning"
            found = left(at.broker.records)
        _take({"state": [state], **found}, prints)

    def _input(self, prints: Prints) -> None:
        prints.add("input", (line(*record) for record in self.log().records), needed=True)

    def _run(self, stage: OneSide) -> dict[str, list[bytes]]:
        side = (stage.executable, stage.writer is None)
        if side not in self._found:
            home = self.home / f"undisturbed-{len(self._found)}"
            with deployment(stage.executable, home, self.log(), stage.say) as at:
                self._found[side] = _undisturbed(at, stage.executable)
        return self._found[side]


def _undisturbed(at: RunningDeployment, executable: Executable) -> dict[str, list[bytes]]:
    topics = [
        line(name, partitions, *(part for setting in settings.items() for part in setting))
        for name, (partitions, settings) in at.broker.topics().items()
    ]
    worker = at.start(executable)
    _finish(at, worker)
    metrics = at.metrics(worker).decode().splitlines()
    at.stop(worker)
    at.broker.look_to_the_end()
    return {
        "topics": topics,
        **left(at.broker.records),
        _GROWING: [each.encode() for each in metrics if re.match(r"# TYPE driftline_", each)],
        "counters": sorted(each.encode() for each in metrics if re.match(rf"driftline_({'|'.join(_COUNTERS)})_total", each)),
        "thresholds": [_thresholds(at, executable, model) for model in at.log.models],
    }


def _thresholds(at: RunningDeployment, executable: Executable, model: str) -> bytes:
    """Return what `driftline explain thresholds` says, but for its notes, which may name files of the source."""
    told = orjson.loads(at.command(executable, "explain", "thresholds", "--model", model, "--json"))
    return orjson.dumps({name: value for name, value in told.items() if name != "notes"})


def _finish(at: RunningDeployment, worker: Child) -> None:
    if not at.until(worker, at.finished):
        raise FailedError(f"the worker ended by itself with status {worker.exit_status}: {worker.tail()}")


def _taken_over(at: RunningDeployment, executable: Executable, prints: Prints) -> bytes:
    """Let a worker go on with what another one left, and return what it made of that; take the way out if it refuses."""
    at.command(executable, "topics", "create")  # those that before did not have
    second = at.start(executable)
    if at.until(second, at.finished):
        state = _TAKEN_OVER
    elif second.exit_status == _REFUSED:
        last = (second.tail().strip().splitlines() or ["without a word"])[-1]
        prints.refused.append(f"the snapshot of before was refused, and `driftline rebuild` made it again: {last}")
        at.command(executable, "rebuild", "--from", "windows", "--yes")
        second = at.start(executable)
        _finish(at, second)
        state = b"refused and made again"
    else:
        raise FailedError(f"the worker of after ended by itself with status {second.exit_status}: {second.tail()}")
    at.stop(second)
    at.broker.look_to_the_end()
    return state


def _take(found: dict[str, list[bytes]], prints: Prints) -> None:
    for what, lines in found.items():
        if what == _GROWING:
            prints.add_growing(what, lines)
        else:
            prints.add(what, lines, needed=True)
