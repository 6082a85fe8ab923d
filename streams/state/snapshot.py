"""The judge's state as bytes, and back.

MessagePack of the state's own structs, with a version. Arrays keep their type and shape (streams/state/array_codec.py). River's
detectors have no format of their own, so they are pickled, and the River version stands beside them. Bytes come here only after
their signature was checked (streams/state/store.py). The format before this one is read as well
(streams/state/snapshot_upgrade.py).
"""

from __future__ import annotations

import io
import pickle
from importlib.metadata import version
from typing import Any

import msgspec

from detectors.errors import StateError
from detectors.judging.detectors import Armed
from detectors.model.model_monitor import ModelMonitor
from detectors.reference.matrix import ReferenceMatrix
from detectors.spec import BoundSpec
from streams.state.array_codec import array_in, array_out
from streams.state.snapshot_upgrade import BEFORE, MOVED, upgraded

FORMAT = 5


#: How the state is made again; `driftline rebuild` touches nothing else.
REBUILD = "stop the workers and `driftline rebuild --from windows`, which judges the history again"


class Snapshot(msgspec.Struct, frozen=True):
    """State of one partition of the windows topic, and what wrote it."""

    river: str
    models: dict[str, ModelMonitor]
    format: int = FORMAT
    driftline: str = ""


class _SnapshotHead(msgspec.Struct, frozen=True):
    """What every format has: a number, and names for the message when it is another."""

    format: int
    river: str = ""
    driftline: str = ""


def _out(value: Any) -> Any:
    if isinstance(value, ReferenceMatrix | BoundSpec):
        return None  # made from the references again, or bound again
    return pickle.dumps(value.river, protocol=5) if isinstance(value, Armed) else array_out(value)


class _Unpickler(pickle.Unpickler):
    """Finds classes of ours where they stand now."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class by the path under which it was pickled."""
        return super().find_class(*MOVED.get((module, name), (module, name)))


def _in(kind: type, value: Any) -> Any:
    if kind is Armed:
        return Armed(_Unpickler(io.BytesIO(value)).load())
    return array_in(kind, value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_out)
_decoder = msgspec.msgpack.Decoder(Snapshot, dec_hook=_in)
_head = msgspec.msgpack.Decoder(_SnapshotHead)


def name_of(partition: int) -> str:
    """Return the name under which the state of one partition of the windows topic is stored.

    >>> name_of(2)
    'judge/2'
    """
    return f"judge/{partition}"


def dump(models: dict[str, ModelMonitor]) -> bytes:
    """Return the state as bytes."""
    return _encoder.encode(Snapshot(river=version("river"), models=models, driftline=version("driftline")))


def load(name: str, payload: bytes) -> dict[str, ModelMonitor]:
    """Return the state in a snapshot whose signature was checked; each monitor has yet to be bound to its specification.

    Raises:
        StateError: it comes from a format that is not read or another River; the message says which, and the way out.
    """
    try:
        head = _head.decode(payload)
    except msgspec.DecodeError as error:
        raise StateError(f"snapshot {name} cannot be read ({error}): {REBUILD}") from None
    if head.format not in (BEFORE, FORMAT):
        here, by = version("driftline"), head.driftline or "unknown"
        age = "newer" if head.format > FORMAT else "older"
        raise StateError(
            f"snapshot {name} has format {head.format}, written by Driftline {by}, which is {age} than format {FORMAT} of this "
            f"Driftline {here}: run Driftline {by}; or {REBUILD}"
        )
    if head.river != version("river"):
        raise StateError(
            f"snapshot {name} was made with River {head.river}, here is {version('river')}: install that one; or {REBUILD}"
        )
    try:
        return dict(_decoder.decode(upgraded(payload) if head.format == BEFORE else payload).models)
    except Exception as error:  # noqa: BLE001 - restoring a detector runs River's code, which may raise anything
        raise StateError(f"snapshot {name} cannot be read ({type(error).__name__}: {error}): {REBUILD}") from None
