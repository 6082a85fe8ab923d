"""The registry: every version of every model, and a pointer to the served version.

Rules:
1. A version is one signed blob, `model/{name}/{version}`. It is written once and never changed. The number of a version is
   used once, even if its blob was deleted since.
2. The pointer alone says which version is served. Promotion and rollback both move it; publishing does not.
3. The pointer moves by compare-and-set on its generation. Of two processes that move it at once, the first succeeds and the
   other gets an error. The generation only grows, on a rollback too.
4. A move is announced on the channel `swap/{name}`. The announcement is a hint: serving processes poll as well, so a lost
   announcement costs seconds and nothing more.
5. Nothing is unpickled before its signature is checked (streams/state/store.py, serving/registry/artifact.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from detectors.errors import ModelError
from serving.registry.artifact import Artifact, dump, load
from streams.state.store import Store

#: Versions skipped because somebody else published them at the same time.
_ATTEMPTS = 100
#: Most digits of a version number; longer names are not ours.
_DIGITS = 18


class PointerMovedError(ModelError):
    """Somebody else moved the model's pointer first: read it again and decide again."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """The served version; `generation` counts the moves, `moved_at` is wall epoch seconds, `by` the id of the cause."""

    version: int
    generation: int
    moved_at: float
    by: str


class Registry:
    """The models in a store."""

    def __init__(self, store: Store) -> None:
        """Read and write through `store`."""
        self._store = store

    def publish(self, model: str, artifact: Artifact) -> int:
        """Store the artifact as the model's next version and return its number; it is not served yet.

        Raises:
            ModelError: the model cannot be pickled.
            UnavailableError: Redis is away.
        """
        version = max(self._published(model), default=0) + 1
        for candidate in range(version, version + _ATTEMPTS):
            if self._store.put_blob(_blob(model, candidate), dump(artifact.numbered(candidate))):
                return candidate
        raise ModelError(
            f"model {model}: versions {version} to {version + _ATTEMPTS - 1} were all taken; who else is publishing?"
        )

    def current(self, model: str) -> Pointer | None:
        """Return the pointer to the served version, or None before the first promotion.

        Raises:
            ModelError: somebody else wrote the pointer, and it cannot be read.
            UnavailableError: Redis is away.
        """
        fields = self._store.pointer(_pointer(model))
        if not fields:
            return None
        try:
            return Pointer(int(fields["version"]), int(fields["generation"]), float(fields["moved_at"]), fields["by"])
        except (KeyError, ValueError):
            raise ModelError(
                f"model {model}: the pointer reads {fields}; roll back to a known version to write it again"
            ) from None

    def promote(self, model: str, version: int, expected_generation: int, by: str, moved_at: float) -> Pointer:
        """Serve `version` if the pointer is still at `expected_generation` (0: never set), and announce it.

        Raises:
            PointerMovedError: somebody else moved it first.
            ModelError: there is no such version.
            UnavailableError: Redis is away; the pointer may or may not have moved.
        """
        if not self._store.has_blob(_blob(model, version)):
            raise ModelError(f"model {model}: no version {version}; published are {self.versions(model) or 'none'}")
        wanted = Pointer(version, expected_generation + 1, moved_at, by)
        fields = {"version": str(version), "moved_at": repr(moved_at), "by": by}
        # The answer to the first try was lost: the pointer is already where this move puts it, which is a success.
        moved = self._store.move_pointer(_pointer(model), expected_generation, fields)
        if not moved and (standing := self.current(model)) != wanted:
            raise PointerMovedError(
                f"model {model}: expected generation {expected_generation}, found {standing}; "
                f"version {version} was not promoted; compare it with the one that is served now"
            )
        self._store.publish(f"swap/{model}", str(wanted.generation))
        return wanted

    def rollback(self, model: str, version: int, *, by: str = "rollback", moved_at: float | None = None) -> Pointer:
        """Serve an earlier version, from whatever generation the pointer is at; `moved_at` defaults to now.

        Raises:
            PointerMovedError: somebody else moved it at the same time.
            ModelError: there is no such version.
            UnavailableError: Redis is away.
        """
        generation = int(self._store.pointer(_pointer(model)).get("generation", "0"))
        return self.promote(model, version, generation, by, time.time() if moved_at is None else moved_at)

    def load(self, model: str, version: int) -> Artifact:
        """Return one version.

        Raises:
            SignatureError: its blob was altered or signed with another key; it was not unpickled.
            ModelError: there is no such version, or it cannot be used here.
            UnavailableError: Redis is away.
        """
        payload = self._store.get_blob(_blob(model, version))
        if payload is None:
            raise ModelError(f"model {model}: no version {version}; published are {self.versions(model) or 'none'}")
        return load(payload)

    def moves(self, model: str, poll_seconds: float) -> Iterator[None]:
        """Yield each time that `current` should be read again: a move was announced, or `poll_seconds` passed.

        It goes on for ever, also while Redis is away.
        """
        for _ in self._store.listen(f"swap/{model}", poll_seconds):
            yield None

    def versions(self, model: str) -> list[int]:
        """Return the versions that can be loaded, oldest first.

        Raises:
            UnavailableError: Redis is away.
        """
        return [version for version in self._published(model) if self._store.has_blob(_blob(model, version))]

    def _published(self, model: str) -> list[int]:
        # Names that are no numbers come from somebody else; they must not stop the versions.
        names = self._store.blob_names(f"model/{model}")
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and len(name) <= _DIGITS)


def _blob(model: str, version: int) -> str:
    return f"model/{model}/{version}"


def _pointer(model: str) -> str:
    return f"model/{model}"
