"""Snapshots of the format before this one: a table of what was renamed, moved and retyped since.

Rules:
1. One format back is read, so an upgrade keeps all state. An older one is refused (streams/state/snapshot.py).
2. The table is in order. A row names the place of a struct by the names that stand there once the rows above are done; `*` is
   every key of a mapping, such as every segment. Names of users are keys of mappings only, so no row can mistake one.
3. A snapshot may lack a place, as one without a learner does; then the row changes nothing.
4. River's objects are pickled under the module path of their class. `MOVED` says where a class of ours stands now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from streams.state.array_codec import array_in, array_out

BEFORE = 4

#: (module, name) of a pickled class -> where it stands now.
MOVED: dict[tuple[str, str], tuple[str, str]] = {
    ("detectors.detector", "_UpsideDown"): ("detectors.judging.detectors", "_UpsideDown"),
}

Struct = dict[str, Any]
_JUDGE = "models/*/channels/*/judges/*"


@dataclass(frozen=True, slots=True)
class Renamed:
    """A field that has another name now."""

    place: str
    before: str
    now: str

    def apply(self, struct: Struct) -> None:
        """Give the field its name."""
        if self.before in struct:
            struct[self.now] = struct.pop(self.before)


@dataclass(frozen=True, slots=True)
class Moved:
    """Fields that stand in a struct of their own now."""

    place: str
    fields: tuple[str, ...]
    into: str

    def apply(self, struct: Struct) -> None:
        """Put the fields into their struct."""
        struct[self.into] = {name: struct.pop(name) for name in self.fields}


@dataclass(frozen=True, slots=True)
class Retyped:
    """An array of float64 that has another type now."""

    place: str
    field: str
    dtype: str

    def apply(self, struct: Struct) -> None:
        """Give the array its type."""
        struct[self.field] = array_out(array_in(np.ndarray, struct[self.field]).astype(self.dtype))


CHANGES: tuple[Renamed | Moved | Retyped, ...] = (
    Renamed("models/*", "sides", "channels"),
    Renamed("models/*", "document", "reference_set"),
    Renamed("models/*/channels/*", "stream", "aligner"),
    Renamed(_JUDGE, "gather", "rollup"),
    Renamed(_JUDGE, "stack", "matrix"),
    Renamed(f"{_JUDGE}/rollup", "strides", "rollup_widths"),
    *(
        change
        for learner in (f"{_JUDGE}/learner", f"{_JUDGE}/relearning/*")
        for change in (
            Renamed(f"{learner}/recording", "gather", "rollup"),
            Renamed(f"{learner}/recording", "stack", "matrix"),
            Renamed(f"{learner}/recording/rollup", "strides", "rollup_widths"),
        )
    ),
    Renamed(f"{_JUDGE}/monitors", "away", "stage"),
    Moved(
        f"{_JUDGE}/monitors",
        ("fired", "shift", "back", "calm", "lasted", "noise", "cycle", "away_since", "stage"),
        "recovery",
    ),
    Retyped(f"{_JUDGE}/monitors/recovery", "fired", "bool"),
    Retyped(f"{_JUDGE}/monitors/recovery", "stage", "int8"),
    Retyped(f"{_JUDGE}/monitors", "up", "bool"),
    Retyped(f"{_JUDGE}/monitors", "fast", "bool"),
)


def upgraded(payload: bytes) -> bytes:
    """Return a snapshot of format `BEFORE` in the format after it, but for the number.

    Raises:
        msgspec.DecodeError: it is no MessagePack.
        KeyError: a field is missing that every snapshot of that format has.
    """
    snapshot: Struct = msgspec.msgpack.decode(payload)
    for change in CHANGES:
        for struct in _at(snapshot, change.place.split("/")):
            change.apply(struct)
    return msgspec.msgpack.encode(snapshot)


def _at(struct: Struct, path: list[str]) -> Iterator[Struct]:
    """Yield the structs at a place, of which there may be none."""
    if not path:
        yield struct
        return
    name, *rest = path
    for child in list(struct.values()) if name == "*" else [struct.get(name)]:
        if child is not None:
            yield from _at(child, rest)
