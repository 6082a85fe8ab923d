"""A systematic injector: everything that can go wrong inside a worker, one thing a run, at every place in turn.

Rules:
1. The product has no hooks. Faults come in at its borders: where a coroutine waits, where a command goes
   to Redis or a message to Kafka, where a lane calls its stage, and where a stage calls a function.
2. A *site* is such a place with who came there (agent, function, line); a *point* is the k-th passing of a
   site. A run without faults counts the points; every other run has a fault at one of them.
3. Each border has its kinds of fault: before the other side knew of the call, or after it had done what
   was asked; an error of the client library, any other exception, a cancellation as at a rebalance, and
   a crash, after which nothing of that life of the process goes on or writes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import detectors
import streams

STREAMS, DETECTORS = Path(streams.__file__).parent, Path(detectors.__file__).parent
PRODUCT = (str(STREAMS), str(DETECTORS))
#: Waiting for these raises nothing but a cancellation.
_IDLE = {"sleep", "acquire", "wait", "_wait"}

#: Border -> kinds of fault there.
KINDS: dict[str, tuple[str, ...]] = {
    "await": ("crash early", "cancel early", "error early", "crash late", "cancel late", "error late"),
    "idle": ("cancel early", "crash early", "cancel late", "crash late"),
    "redis": ("lost", "refused", "crash after", "oom", "crash before"),
    "redis transaction": ("lost", "broken after", "refused", "crash after", "oom", "crash before", "broken before"),
    "produce": ("crash after", "refused before", "held", "full", "crash before", "refused after"),
    "acknowledgements": ("unacknowledged", "crash before", "all delivered", "crash after", "raises before", "raises after"),
    "stage": ("error after", "error before", "away after", "away before", "crash after"),
    "function": ("error on return", "error on entry"),
    "commit": ("crash before", "lost", "crash after"),
}


class Killed(BaseException):
    """A life of the process is over; not an Exception, because nobody may handle it."""


@dataclass(frozen=True, slots=True)
class Point:
    """The passing number `occurrence` of a site, from 0."""

    border: str
    site: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at one point."""

    point: Point
    kind: str

    def __str__(self) -> str:
        """Say what and where in one line."""
        return f"{self.kind} at {self.point.border} {self.point.site} #{self.point.occurrence}"


class Injector:
    """Counts the points that a run passes, and has one fault happen at most."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.fired = False
        #: Whether what was durable at a crash had been committed by then; both happen, so it takes turns.
        self.commits_at_death = fault is not None and fault.point.occurrence % 2 == 0
        self.seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def reached(self, border: str, site: str) -> str | None:
        """Count a passing, and return the kind of fault that is to happen at it."""
        with self._lock:
            point = Point(border, site, self.seen[border, site])
            self.seen[border, site] += 1
            if self.fault is None or self.fired or self.fault.point != point:
                return None
            self.fired = True
            return self.fault.kind


class Life:
    """One life of a worker's process, with its tasks."""

    def __init__(self, injector: Injector) -> None:
        self.injector = injector
        self.dead = False
        self.held = False
        self.interrupted = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[Any]] = set()

    def kill(self) -> None:
        """End this life; to be called from any thread."""
        self.dead = True
        self.interrupt()

    def interrupt(self) -> None:
        """Wake whoever leads this life: it ended, or a rebalance is due."""
        self._loop.call_soon_threadsafe(self.interrupted.set)

    def hold(self) -> None:
        """Let the broker take no message from now on: those that come wait in the queue, and are never acknowledged."""
        self.held = True
        self.interrupt()

    def check(self) -> None:
        """Raise if this life is over."""
        if self.dead:
            raise Killed

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of this life."""
        token = LIFE.set(self)
        try:
            return asyncio.get_running_loop().create_task(coroutine)
        finally:
            LIFE.reset(token)


#: The life that a task, or a thread it waits for, belongs to.
LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)


def die(kind: str, when: str, life: Life) -> None:
    """Crash if that is the kind of fault, and this the moment."""
    if kind == f"crash {when}":
        life.kill()
        raise Killed


# -- where coroutines wait -------------------------------------------------------------------------


def watch_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let every task that belongs to a life be stepped by us."""

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        life = LIFE.get()
        if life is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        task: asyncio.Task[Any] = asyncio.Task(_Stepped(coroutine, life), loop=loop, **options)
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
        return task

    loop.set_task_factory(factory)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose every suspension is a point; an early fault does not wait for what is awaited, a late one does."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], life: Life) -> None:
        self._coroutine = coroutine
        self._life = life
        self._late: str | None = None

    def send(self, value: Any) -> Any:
        self._end_with_its_life()
        kind, self._late = self._late, None
        if kind == "crash late":
            self._life.kill()
            self._end_with_its_life()
        if kind is not None:
            return self._step(self._coroutine.throw, self._exception(kind))
        return self._step(self._coroutine.send, value)

    def throw(self, *problem: Any) -> Any:
        self._end_with_its_life()
        return self._step(self._coroutine.throw, *problem)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def _end_with_its_life(self) -> None:
        if self._life.dead:
            self._coroutine.close()
            raise asyncio.CancelledError

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        awaited = step(*arguments)
        place = _place_of(self._coroutine)
        kind = None if place is None or self._life.dead else self._life.injector.reached(*place)
        if kind == "crash early":
            self._life.kill()
        elif kind in ("cancel early", "error early"):
            if awaited is not None:
                awaited._asyncio_future_blocking = False
            return self._step(self._coroutine.throw, self._exception(kind))
        else:
            self._late = kind
        return awaited

    def _exception(self, kind: str) -> BaseException:
        if kind.startswith("cancel"):
            self._life.interrupt()
            return asyncio.CancelledError()
        return RuntimeError("injected")


def _place_of(coroutine: Any) -> tuple[str, str] | None:
    """Return border and site of a suspended coroutine, None if it is not ours or waits for one of ours as a task."""
    inner: FrameType | None = None
    agent, waits_for = "", ""
    step: Any = coroutine
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is None:
            break
        if frame.f_code.co_filename.startswith(PRODUCT):
            inner, waits_for = frame, ""
            lane = frame.f_locals.get("lane")
            agent = frame.f_locals.get("agent") or (lane.agent if lane is not None else agent)
        else:
            waits_for = frame.f_code.co_name
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    if inner is None:
        return None
    line = inner.f_lineno - inner.f_code.co_firstlineno
    return "idle" if waits_for in _IDLE else "await", f"{agent} {inner.f_code.co_qualname}+{line} {waits_for}"
