"""A child process with a log file, which never outlives the process that started it.

Rules:
1. The child dies with its parent, kill -9 included: leash.py asks the kernel for that.
2. The kernel ties the leash to the *thread* that forked. So every child is started by one thread
   that lives as long as this process, whichever thread asked.
3. A child is ended by its pid, first with SIGTERM, then with SIGKILL; nothing is looked up by name.
4. The child has a session of its own: Ctrl-C in a terminal reaches the parent, which ends its
   children in its own order.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from detectors.errors import UnavailableError

__all__ = ["Child", "serve_until_signal"]

_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
_T = TypeVar("_T")
_Process = subprocess.Popen[bytes]


@functools.cache
def _launches(_pid: int) -> queue.SimpleQueue[tuple[Future[_Process], Callable[[], _Process]]]:
    """Return the queue of this process's launching thread (see rule 2); a fork gets its own."""
    launches: queue.SimpleQueue[tuple[Future[_Process], Callable[[], _Process]]] = queue.SimpleQueue()

    def run() -> None:
        while True:
            future, launch = launches.get()
            try:
                future.set_result(launch())
            except OSError as error:
                future.set_exception(error)

    threading.Thread(target=run, name="driftline-launcher", daemon=True).start()
    return launches


class Child:
    """One command run as a child; it can be started again after it ended."""

    def __init__(self, command: Sequence[str], *, log: Path, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Keep what to run; `environment` is added to this process's own."""
        self.command = tuple(command)
        self.log = log
        self.name = name
        self._environment = dict(environment or {})
        self._process: _Process | None = None

    @property
    def pid(self) -> int:
        """The process id of the child that was started last; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs or before the first start."""
        return self._process.poll() if self._process else None

    def start(self) -> Self:
        """Start the command and return at once.

        Raises:
            UnavailableError: the command is not on this machine.
        """
        if self.running:
            return self
        if shutil.which(self.command[0]) is None:
            raise UnavailableError(f"cannot start {self.name}: no command {self.command[0]!r} on PATH; install it")
        leashed = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self.command]
        self.log.parent.mkdir(parents=True, exist_ok=True)

        def launch() -> _Process:
            with self.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - the caller's own command, no shell
                    leashed,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment},
                    start_new_session=True,
                )

        future: Future[_Process] = Future()
        _launches(os.getpid()).put((future, launch))
        self._process = future.result()
        atexit.register(self.kill)  # where there is no leash
        return self

    def until(self, answer: Callable[[], _T | None], *, timeout_seconds: float) -> _T:
        """Ask until the answer is not None, and return it.

        Raises:
            UnavailableError: the child ended or the time is up; the end of its log is in the message.
        """
        deadline = time.monotonic() + timeout_seconds
        while (found := answer()) is None:
            if not self.running:
                raise UnavailableError(f"{self.name} ended with status {self.exit_status} while starting; {self._said()}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"{self.name} is not ready after {timeout_seconds:g} s; {self._said()}")
            time.sleep(_POLL_SECONDS)
        return found

    def _said(self) -> str:
        return f"the end of its log {self.log}:\n{self.tail()}"

    def tail(self, characters: int = 2000) -> str:
        """Return the end of the log, empty when there is none."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]
        except OSError:
            return ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the child runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, timeout_seconds: float) -> int | None:
        """Return the exit status once the child has ended, None when it has not within the time."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout_seconds)
        return None

    def kill(self) -> None:
        """End the child with SIGKILL and return once it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        atexit.unregister(self.kill)

    def stop(self, grace_seconds: float = 10.0) -> int | None:
        """End the child with SIGTERM, after the grace with SIGKILL, and return its exit status."""
        self.signal(signal.SIGTERM)
        self.wait(grace_seconds)
        self.kill()
        return self.exit_status

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()


def serve_until_signal(address: str, address_file: Path | None, alive: Callable[[], bool]) -> None:
    """Print the address, write it to the file in one step, and return at SIGTERM, SIGINT or when `alive` says no."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    if address_file is not None:
        draft = address_file.with_name(f"{address_file.name}.{os.getpid()}")
        draft.write_text(address, encoding="ascii")
        draft.replace(address_file)
    while alive() and not ended.wait(0.5):
        pass
