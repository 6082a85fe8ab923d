"""How many incidents are opened on streams in which nothing changes.

One trial for each kind of stream, two at a time in processes of their own. Each is one model with one budget.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from benchmarks.progress import Say
from benchmarks.quality.budget.board import Board, attend, attended
from benchmarks.quality.budget.kinds import EventStream
from benchmarks.quality.budget.trial import BEGIN, BudgetTrial, Size
from detectors.errors import UnavailableError

_PROCESSES = 2
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Quiet:
    """The alerts on a stream in which nothing changed: incidents opened, features in them, and how fast it was judged."""

    kind: str
    opened: int
    alerted: int
    per_second: float


def quiet(kind: str, size: Size, seed: int, tick: Callable[[float], None] = lambda _share: None) -> Quiet:
    """Return the alerts on a stream of one kind after its reference."""
    trial = BudgetTrial(size.spec, size.features)
    stream = EventStream(kind, size.features, begin=BEGIN, seed=seed)
    trial.run(stream, until=size.counted_from + size.week_seconds, tick=tick)
    return Quiet(kind, len(trial.opened), len(trial.verdicts), trial.per_second)


def _attended(kind: str, size: Size, seed: int) -> Quiet:
    board = attended()
    return quiet(kind, size, seed, lambda share: board.tick(kind, share))


def all_quiet(kinds: Sequence[str], size: Size, seed: int, *, say: Say, ready: Callable[[Quiet], None]) -> list[Quiet]:
    """Return the alerts on each kind of stream, in order; `ready` is called with each as it is finished.

    Raises:
        UnavailableError: a process was killed.
    """
    # Begun anew, not forked: a thread may be drawing the line of progress.
    context = multiprocessing.get_context("spawn")
    board = Board(context, kinds)
    found: dict[str, Quiet] = {}
    with ProcessPoolExecutor(_PROCESSES, mp_context=context, initializer=attend, initargs=(board,)) as pool:
        waiting: set[Future[Quiet]] = {pool.submit(_attended, kind, size, seed) for kind in kinds}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for one in (future.result() for future in done):
                    found[one.kind] = one
                    ready(one)
                say(f"false alarms: {board.words or 'starting'}")
        except BrokenProcessPool:
            raise UnavailableError("a process of the benchmark was killed; if it was for memory, take fewer --features") from None
        except BaseException:
            board.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[kind] for kind in kinds]
