"""The one door to Redis: snapshots, immutable blobs, pointers, pending predictions.

Rules:
1. A blob is written once and never changed; its name says what it is (`model/fraud/7`).
2. A pointer carries a generation that only grows; it moves by compare-and-set on that generation.
3. A snapshot carries the source offset it stands for, inside the signed record. It is replaced only
   by who knows the offset that is stored now; a worker that lost its partition does not, and is
   refused (it is a zombie).
4. Every value that is later unpickled is signed (streams/state/signature.py). Pointers and waiting halves are not: who may
   write to this Redis decides which genuine version is served, and what a label is joined with.
5. The binding (streams/state/binding.py) is written once by whoever comes first; only a rebuild replaces it.

The client is synchronous; agents call it through `asyncio.to_thread`.
"""

from __future__ import annotations

import hmac
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import redis

from detectors.errors import SignatureError, StateError, UnavailableError
from streams.settings import RedisSettings, Secret
from streams.state.signature import sign, verify

_OFFSET = struct.Struct(">q")
_LOOKS = 5
_BINDING = "binding"
#: Keys that one step of a scan looks at.
_SCANNED = 1000
_T = TypeVar("_T")


class FencedError(StateError):
    """Another worker has written a newer snapshot: this one no longer owns the partition."""


class Store:
    """Redis as Driftline sees it; every key starts with the deployment's prefix."""

    def __init__(self, settings: RedisSettings, key: Secret, *, timeout_seconds: float = 5.0) -> None:
        """Connect lazily; `key` signs blobs and snapshots."""
        self._settings = settings
        where = urlsplit(settings.url)  # a password may stand before the host or among the options
        self._where = f"{where.netloc.rpartition('@')[2]}{where.path}"
        self._key = key
        self._redis: Any = redis.Redis.from_url(
            settings.url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            health_check_interval=15,
        )

    def _name(self, *parts: str) -> str:
        return ":".join((self._settings.prefix, *parts))

    def _call(self, operation: Callable[[], _T]) -> _T:
        try:
            return operation()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise UnavailableError(
                f"no Redis at {self._where} ({type(error).__name__}): start it, or set [redis] url in driftline.toml"
            ) from None
        except redis.ResponseError as error:
            reason = str(error).rpartition("caused error: ")[2]  # what is before it repeats the command, payload and all
            raise UnavailableError(f"Redis at {self._where} refuses: {reason}") from None

    def _transact(self, attempt: Callable[[], _T]) -> _T:
        """Run a WATCH transaction, and look again when it was broken off.

        redis-py reports a connection lost while watching as if somebody else had written; only the
        second look tells which it was.
        """
        for _ in range(_LOOKS):
            try:
                return self._call(attempt)
            except redis.WatchError:
                continue
        raise UnavailableError(f"Redis at {self._where} broke off {_LOOKS} transactions: is it restarting?")

    def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            UnavailableError: it does not.
        """
        self._call(self._redis.ping)

    # -- blobs ---------------------------------------------------------------------------------

    def put_blob(self, name: str, payload: bytes) -> bool:
        """Store a signed blob under a new name; False (and nothing stored) when the name is taken."""
        blob = sign(self._key, name, payload)
        folder, _, leaf = name.rpartition("/")

        def attempt() -> bool:
            with self._redis.pipeline() as pipe:
                pipe.set(self._name("blob", name), blob, nx=True)
                pipe.sadd(self._name("blobs", folder), leaf)
                return bool(pipe.execute()[0])

        return self._call(attempt)

    def has_blob(self, name: str) -> bool:
        """Tell whether there is a blob of that name, without reading it."""
        return bool(self._call(lambda: self._redis.exists(self._name("blob", name))))

    def blob_names(self, folder: str) -> list[str]:
        """Return the last parts of the names ever stored under `folder`, unordered; a blob may have been deleted since."""
        return [name.decode() for name in self._call(lambda: self._redis.smembers(self._name("blobs", folder)))]

    def get_blob(self, name: str) -> bytes | None:
        """Return a blob's payload after checking its signature, or None when there is none.

        Raises:
            SignatureError: it was altered or signed with another key.
        """
        blob = self._call(lambda: self._redis.get(self._name("blob", name)))
        return None if blob is None else verify(self._key, name, blob)

    # -- pointers ------------------------------------------------------------------------------

    def pointer(self, name: str) -> dict[str, str]:
        """Return a pointer's fields (with `generation`), empty when it was never set."""
        found = self._call(lambda: self._redis.hgetall(self._name("pointer", name)))
        return {field.decode(): value.decode() for field, value in found.items()}

    def move_pointer(self, name: str, expected_generation: int, fields: Mapping[str, str]) -> bool:
        """Set a pointer's fields and raise its generation by one, if it is still at `expected_generation`.

        A pointer never set has generation 0. False means that somebody else moved it first.
        """
        key = self._name("pointer", name)

        def attempt() -> bool:
            with self._redis.pipeline() as pipe:
                pipe.watch(key)
                current = int(pipe.hget(key, "generation") or 0)
                if current != expected_generation:
                    return False
                pipe.multi()
                pipe.hset(key, mapping={**fields, "generation": str(current + 1)})
                pipe.execute()
                return True

        return self._transact(attempt)

    # -- announcements -------------------------------------------------------------------------

    def publish(self, channel: str, text: str) -> None:
        """Tell whoever listens; nobody may be there, so it is a hint and never the only way."""
        self._call(lambda: self._redis.publish(self._name("channel", channel), text))

    def listen(self, channel: str, poll_seconds: float) -> Iterator[str | None]:
        """Yield each text published, and None whenever `poll_seconds` passed without one.

        A lost connection is not an error here: it yields None and subscribes again.
        """
        while True:
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    pubsub.subscribe(self._name("channel", channel))
                    while True:
                        message = pubsub.get_message(timeout=poll_seconds)
                        yield message["data"].decode() if message else None
            except redis.RedisError:
                time.sleep(poll_seconds)  # a refused connection fails at once: without a pause this would spin
                yield None

    # -- snapshots -----------------------------------------------------------------------------

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        """Return (offset, payload) of the last snapshot, or None.

        Raises:
            SignatureError: it was altered or signed with another key.
        """
        blob = self._call(lambda: self._redis.get(self._name("snapshot", name)))
        if blob is None:
            return None
        record = verify(self._key, f"snapshot/{name}", blob)
        return _OFFSET.unpack_from(record)[0], record[_OFFSET.size :]

    def save_snapshot(self, name: str, expected_offset: int | None, offset: int, payload: bytes) -> None:
        """Replace the snapshot that stands for `expected_offset` (None: there must be none).

        Raises:
            FencedError: another one is stored; the caller must not write any more.
            UnavailableError: Redis is away; nothing was written, or the same bytes were.
        """
        key = self._name("snapshot", name)
        record = sign(self._key, f"snapshot/{name}", _OFFSET.pack(offset) + payload)

        def attempt() -> None:
            with self._redis.pipeline() as pipe:
                pipe.watch(key)
                stored = pipe.get(key)
                found = None if stored is None else self._offset_of(name, stored)
                if found != expected_offset and stored != record:
                    raise FencedError(
                        f"snapshot {name}: another worker stored offset {found}, this one expected {expected_offset}; "
                        "it lost the partition and stops writing"
                    )
                pipe.multi()
                pipe.set(key, record)
                pipe.execute()

        self._transact(attempt)

    def _offset_of(self, name: str, blob: bytes) -> int | None:
        try:
            return int(_OFFSET.unpack_from(verify(self._key, f"snapshot/{name}", blob))[0])
        except SignatureError:
            return None

    # -- what the prefix is bound to -----------------------------------------------------------

    @property
    def prefix(self) -> str:
        """First part of every key."""
        return self._settings.prefix

    def bind(self, payload: bytes) -> bytes:
        """Store the binding if there is none, and return the one that stands.

        Raises:
            SignatureError: it was altered or signed with another key.
        """
        self._call(lambda: self._redis.set(self._name(_BINDING), sign(self._key, _BINDING, payload), nx=True))
        return self.binding() or payload

    def binding(self) -> bytes | None:
        """Return the binding, or None.

        Raises:
            SignatureError: it was altered or signed with another key.
        """
        blob = self._call(lambda: self._redis.get(self._name(_BINDING)))
        return None if blob is None else verify(self._key, _BINDING, blob)

    def bind_anew(self, payload: bytes) -> None:
        """Replace the binding, whatever stands there."""
        self._call(lambda: self._redis.set(self._name(_BINDING), sign(self._key, _BINDING, payload)))

    def drop(self, kind: Literal["snapshot", "pending"]) -> int:
        """Delete every snapshot, or everything that waits for its other half; return how many there were."""
        prefix = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._name(kind, ""))
        dropped, cursor = 0, 0
        while True:
            cursor, keys = self._call(lambda at=cursor: self._redis.scan(at, match=f"{prefix}*", count=_SCANNED))  # type: ignore[misc]
            if keys:
                dropped += self._call(lambda found=keys: self._redis.unlink(*found))  # type: ignore[misc]
            if cursor == 0:
                return dropped

    def seed(self, purpose: str) -> int:
        """Return 63 bits that follow from the signing key, for hashes that a stranger must not be able to compute."""
        return (
            int.from_bytes(hmac.digest(self._key.reveal(), f"seed:{self._settings.prefix}:{purpose}".encode(), "sha256")[:8]) >> 1
        )

    # -- pending predictions, which earlier versions kept here ---------------------------------

    def pending(self, partition: int) -> Iterator[tuple[str, str, bytes]]:
        """Yield (model, "p" for a prediction or "l" for a label, value) of what waited for its other half in a partition."""
        for names in self._pending_names(partition):
            values = self._call(lambda found=names: self._redis.mget(found))  # type: ignore[misc]
            for name, value in zip(names, values, strict=True):
                if value is not None:
                    model, _, half = name.decode().removeprefix(self._name("pending", "")).split(":", 3)[:3]
                    yield model, half, value

    def drop_pending(self, partition: int) -> int:
        """Delete what waited in a partition, and return how many there were."""
        dropped = 0
        for names in self._pending_names(partition):
            dropped += self._call(lambda found=names: self._redis.unlink(*found))  # type: ignore[misc]
        return dropped

    def _pending_names(self, partition: int) -> Iterator[list[bytes]]:
        prefix = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._name("pending", ""))
        cursor = 0
        while True:
            cursor, names = self._call(
                lambda at=cursor: self._redis.scan(at, match=f"{prefix}*:{partition}:[pl]:*", count=_SCANNED)  # type: ignore[misc]
            )
            # An id may look like the rest of a name.
            head = len(self._name("pending", "").encode())
            mine = [name for name in names if name[head:].split(b":", 2)[1] == str(partition).encode()]
            if mine:
                yield mine
            if cursor == 0:
                return
