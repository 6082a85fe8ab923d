"""References in force, in Redis, for the scoring of single events.

Each is an immutable signed blob named by its content; a pointer per model and segment names the newest. The judge
publishes them after the alerts of its snapshot were acknowledged. A late reference delays outlier events and changes no
alert. Redis also has the reference sets (streams/state/reference_file.py) that a judge began with or took over, so
`driftline reference show` can read them when the file is gone.
"""

from __future__ import annotations

import hashlib

import msgspec

from detectors.errors import StateError
from detectors.model.finding import ReferenceLearned
from detectors.reference.reference_set import ReferenceSet
from streams.state import reference_file
from streams.state.array_codec import array_in, array_out
from streams.state.store import Store

_encoder = msgspec.msgpack.Encoder(enc_hook=array_out, order="deterministic")
_decoder = msgspec.msgpack.Decoder(ReferenceLearned, dec_hook=array_in)


class References:
    """References by model and segment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def publish(self, learned: ReferenceLearned) -> str:
        """Store a reference and let the pointer name it; return its version. A second call changes nothing."""
        payload = _encoder.encode(learned.features)
        version = hashlib.blake2b(payload, digest_size=8).hexdigest()
        name = _name(learned.model, learned.segment)
        pointer = self._store.pointer(name)
        if not self._store.has_blob(f"{name}/{version}"):  # new, or deleted because it could not be read
            self._store.put_blob(f"{name}/{version}", _encoder.encode(learned))
        if pointer.get("version") != version:
            self._store.move_pointer(name, int(pointer.get("generation", 0)), {"version": version})
        return version

    def current(self, model: str, segment: str, known: str | None) -> tuple[str, ReferenceLearned] | None:
        """Return (version, reference) in force, None when there is none or it is the one `known`.

        Raises:
            StateError: it was altered, signed with another key, or written by another Driftline.
            UnavailableError: Redis is away.
        """
        name = _name(model, segment)
        version = self._store.pointer(name).get("version")
        if version is None or version == known:
            return None
        payload = self._store.get_blob(f"{name}/{version}")
        if payload is None:
            return None
        return version, _decoded(f"{name}/{version}", payload)

    def published(self, model: str, segment: str) -> list[tuple[str, ReferenceLearned, bool]]:
        """Return (version, reference, whether it is in force) of all that were ever published for a segment, the oldest first.

        Raises:
            StateError: one was altered, signed with another key, or written by another Driftline.
            UnavailableError: Redis is away.
        """
        name = _name(model, segment)
        now = self._store.pointer(name).get("version")
        found = []
        for version in self._store.blob_names(name):
            payload = self._store.get_blob(f"{name}/{version}")
            if payload is not None:
                found.append((version, _decoded(f"{name}/{version}", payload), version == now))
        return sorted(found, key=lambda one: (one[1].at, one[0]))

    def keep(self, reference_set: ReferenceSet) -> None:
        """Store a reference set under its version; a second call changes nothing."""
        name = _set_name(reference_set.model, reference_set.version)
        if not self._store.has_blob(name):
            self._store.put_blob(name, reference_file.dump(reference_set))

    def reference_set(self, model: str, version: str) -> ReferenceSet | None:
        """Return the reference set of that version, None if no judge took it over.

        Raises:
            StateError: it was altered, signed with another key, or is of another format.
            UnavailableError: Redis is away.
        """
        payload = self._store.get_blob(_set_name(model, version))
        return None if payload is None else reference_file.load(f"references {version} of model {model} in Redis", payload)

    def versions(self, model: str) -> list[str]:
        """Return the versions of the reference sets that judges took over for a model, sorted.

        Raises:
            UnavailableError: Redis is away.
        """
        return sorted(self._store.blob_names(f"references/{model}"))


def _decoded(name: str, payload: bytes) -> ReferenceLearned:
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, ValueError) as error:
        raise StateError(f"{name} cannot be read ({error}): delete it and restart the workers") from None


def _name(model: str, segment: str) -> str:
    return f"reference/{model}/{segment}"


def _set_name(model: str, version: str) -> str:
    return f"references/{model}/{version}"
