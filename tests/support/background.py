"""Work beside a test, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def background(work: Callable[[threading.Event], object], *, seconds: float = 30.0) -> Iterator[None]:
    """Do work in a thread for the length of a block; it ends soon after its event is set.

    Raises:
        AssertionError: it raised, or it was still at work so many seconds after the block.
    """
    stopping = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(stopping)
        except BaseException as error:  # noqa: BLE001 - the block raises it
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(seconds)
    assert not thread.is_alive()
    assert not failures, failures
