"""How far trials in several processes have come: they write it into memory that they share, and read there whether to stop."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event


class StoppedError(Exception):
    """The benchmark has to end while a trial was running."""


class Board:
    """How far trials in several processes have come, by number, and whether they are to stop."""

    def __init__(self, context: SpawnContext, names: Sequence[str]) -> None:
        self.names = names
        self._shares: SynchronizedArray[float] = context.Array("d", len(names))
        self._stop: Event = context.Event()

    def tick(self, name: str, share: float) -> None:
        """Write down how much of a trial is done.

        Raises:
            StoppedError: it is to go no further.
        """
        if self._stop.is_set():
            raise StoppedError
        self._shares[self.names.index(name)] = share

    def stop(self) -> None:
        """Let every trial end at its next tick."""
        self._stop.set()

    @property
    def words(self) -> str:
        """What runs, and how far it is.

        >>> import multiprocessing
        >>> board = Board(multiprocessing.get_context("spawn"), ["t3", "daily"])
        >>> board.tick("daily", 0.25)
        >>> board.words
        'daily 25 %'
        """
        shares = [(name, self._shares[at]) for at, name in enumerate(self.names)]
        running = [(name, share) for name, share in shares if 0 < share < 1]
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in running)


_attended: list[Board] = []


def attend(board: Board) -> None:
    """Begin a process that writes its progress on this board; an interrupt is for the process that shows it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _attended.append(board)


def attended() -> Board:
    """Return the board of this process."""
    return _attended[-1]
