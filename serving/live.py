"""A live model: the version that this process answers with, kept current without a pause.

Rules:
1. `served` is one reference. A request reads it once and keeps that version to its end. A swap binds the next version and
   changes nothing that a request uses.
2. A thread of its own loads a version, with the garbage collector off, and checks its golden rows. Only then is the version
   bound.
3. A version that cannot be loaded, or a pointer that cannot be read, is refused, counted and logged once. The old version
   goes on answering. The next try comes after a pause that doubles, or at once when the pointer moves.
4. Redis is needed to learn of a new version, never to answer.
5. The generation only grows. A pointer with a smaller generation is refused: a stale replica answered, or Redis was
   emptied. In the second case restart the process.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from detectors.errors import DriftlineError, ModelError, SignatureError, StateError, UnavailableError
from serving.registry.artifact import Artifact
from serving.registry.versions import Pointer, Registry
from streams.metrics import Metrics
from streams.patience import Backoff

POLL_SECONDS = 2.0
_BACKOFF = Backoff(first=5.0, longest=300.0)
_SWAPS_KEPT = 100

_LOG = logging.getLogger("driftline.serve")
_COLLECTOR = threading.Lock()


@dataclass(frozen=True, slots=True)
class Served:
    """A version in service; `loaded_at` is wall epoch seconds."""

    artifact: Artifact
    pointer: Pointer
    loaded_at: float


@dataclass(frozen=True, slots=True)
class VersionChange:
    """One change of version: `seconds` passed from the pointer's move to the first answer of the new version."""

    replaced: int
    version: int
    generation: int
    by: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pointer that this process refuses (None: it cannot be read), the reason, and the pause before the next try."""

    pointer: Pointer | None
    reason: str
    error: str
    pause_seconds: float
    retry_at: float


class LiveModel:
    """The served version of one model; `served` is None before the first promotion."""

    def __init__(self, name: str, registry: Registry, metrics: Metrics, *, poll_seconds: float = POLL_SECONDS) -> None:
        """Serve no version yet; `refresh` reads the pointer once, `watch` follows it."""
        self.name = name
        self.served: Served | None = None
        #: The new version between its swap and its first answer, else None: so each answer costs one comparison.
        self.awaiting: Served | None = None
        self.refused: Refusal | None = None
        self._registry = registry
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._swaps: deque[VersionChange] = deque(maxlen=_SWAPS_KEPT)
        self._replaced = 0
        self._swapping = threading.Lock()
        self._stopping = threading.Event()

    @property
    def swaps(self) -> tuple[VersionChange, ...]:
        """Return the last 100 swaps, oldest first."""
        with self._swapping:
            return tuple(self._swaps)

    def watch(self) -> None:
        """Follow the pointer from a daemon thread, until `stop`."""
        threading.Thread(target=self._follow, name=f"driftline-live-{self.name}", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end before it reads the pointer again; the served version stays."""
        self._stopping.set()

    def refresh(self) -> bool:
        """Read the pointer once, and return whether another version is served now.

        Raises:
            UnavailableError: Redis is away.
        """
        try:
            pointer = self._registry.current(self.name)
        except ModelError as error:
            if not self._still_refused(None):
                self._refuse(None, error)
            return False
        served = self.served
        if served is not None and pointer == served.pointer:
            self.refused = None
        if pointer is None or (served is not None and pointer == served.pointer) or self._still_refused(pointer):
            return False
        try:
            self._bind(Served(self._artifact(pointer, served), pointer, time.time()))
        except (ModelError, StateError) as error:
            self._refuse(pointer, error)
            return False
        return True

    def first_answer(self, served: Served) -> None:
        """Record the swap to `served`, which has just answered for the first time."""
        with self._swapping:
            if self.awaiting is not served:
                return
            self.awaiting = None
            pointer = served.pointer
            seconds = max(0.0, time.time() - pointer.moved_at)  # clocks of two machines may differ
            self._swaps.append(VersionChange(self._replaced, pointer.version, pointer.generation, pointer.by, seconds))
        self._metrics.observe("driftline_swap_seconds", seconds, model=self.name)

    def _artifact(self, pointer: Pointer, served: Served | None) -> Artifact:
        if served is not None:
            if pointer.generation <= served.pointer.generation:
                raise ModelError(
                    f"model {self.name}: the pointer is at generation {pointer.generation}, behind {served.pointer.generation} "
                    "which is served; if Redis was emptied on purpose, restart this process"
                )
            if pointer.version == served.pointer.version:
                return served.artifact
        with _collector_off():
            return self._registry.load(self.name, pointer.version)

    def _bind(self, served: Served) -> None:
        previous = self.served
        with self._swapping:
            if previous is not None and previous.pointer.version != served.pointer.version:
                if self.awaiting is None:
                    self._replaced = previous.pointer.version
                self.awaiting = served
            elif self.awaiting is not None:
                self.awaiting = served
            self.served = served
        self.refused = None
        self._metrics.gauge("driftline_model_version", served.pointer.version, model=self.name)
        self._metrics.gauge("driftline_model_generation", served.pointer.generation, model=self.name)
        _LOG.info("model %s: serving version %d, generation %d", self.name, served.pointer.version, served.pointer.generation)

    def _still_refused(self, pointer: Pointer | None) -> bool:
        refused = self.refused
        return refused is not None and refused.pointer == pointer and time.monotonic() < refused.retry_at

    def _refuse(self, pointer: Pointer | None, error: DriftlineError) -> None:
        refused = self.refused
        again = refused is not None and refused.pointer == pointer
        pause = _BACKOFF.after(refused.pause_seconds if refused and again else 0.0)
        reason = "signature" if isinstance(error, SignatureError) else "unusable"
        self.refused = Refusal(pointer, reason, str(error), pause, time.monotonic() + pause)
        self._metrics.count("driftline_model_load_failures_total", model=self.name, reason=reason)
        if not (refused and again and refused.error == str(error)):
            what = "pointer" if pointer is None else f"version {pointer.version}"
            _LOG.warning("model %s: %s refused: %s", self.name, what, error)

    def _follow(self) -> None:
        away = ""
        for _ in self._registry.moves(self.name, self._poll_seconds):
            if self._stopping.is_set():
                return
            try:
                self.refresh()
                away = ""
            except UnavailableError as error:
                if not away:
                    _LOG.warning("model %s: %s; the version in service goes on answering", self.name, error)
                away = str(error)
            except Exception:  # noqa: BLE001 - the thread must outlive any fault, or the model is never swapped again
                self._metrics.count("driftline_model_load_failures_total", model=self.name, reason="unexpected")
                _LOG.exception("model %s: looking for a new version failed", self.name)


@contextmanager
def _collector_off() -> Iterator[None]:
    # Unpickling makes many objects and no garbage: each collection would walk all of them and hold the GIL.
    # No gc.freeze afterwards: frozen objects are never collected, and a model that was replaced must be.
    with _COLLECTOR:
        was_on = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if was_on:
                gc.enable()
