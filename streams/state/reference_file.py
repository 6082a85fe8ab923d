"""Reference sets as files and blobs: JSON whose head people and programs can read, with the references inside as MessagePack.

Rules:
1. The version is BLAKE2b over everything else in the file, keys sorted. A file that was changed or cut off does not
   match its version, and is refused.
2. The format number rises when the content changes its meaning. A file of another format is refused and not converted:
   its owner has the rows, and learns again.
3. Nothing is pickled: reading a file runs no code that is in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from importlib.metadata import version
from typing import Any

import msgspec
import orjson

from detectors.errors import StateError
from detectors.reference.reference_head import ReferenceHead
from detectors.reference.reference_set import ReferenceSet, SegmentReference
from detectors.spec import ModelSpec
from detectors.windows.record import Kind
from streams.records.times import rfc3339
from streams.state.array_codec import array_in, array_out

FORMAT = 3
#: Larger files are no references of ours.
MOST_BYTES = 256 << 20

AGAIN = "make it again with `driftline reference build`"

_Segments = dict[Kind, dict[str, SegmentReference]]
_encoder = msgspec.msgpack.Encoder(enc_hook=array_out)
_decoder = msgspec.msgpack.Decoder(_Segments, dec_hook=array_in)


class _Learned(msgspec.Struct, frozen=True):
    """The part of a file that only programs read: segments and their references, MessagePack in base64."""

    learned: str


def reference_set_of(spec: ModelSpec, segments: _Segments) -> ReferenceSet:
    """Return the reference set of a model, with its version."""
    head = ReferenceHead(
        version="",
        model=spec.name,
        window_seconds=spec.window_seconds,
        outcome_window_seconds=spec.outcome_window_seconds,
        timezone=spec.timezone,
        holidays=spec.holidays,
        features=spec.features,
        categorical=spec.categorical,
        driftline=version("driftline"),
        river=version("river"),
    )
    unnamed = ReferenceSet(head, segments)
    return ReferenceSet(msgspec.structs.replace(head, version=_version(_content(unnamed))), segments)


def dump(reference_set: ReferenceSet) -> bytes:
    """Return the file of a reference set: equal sets give equal bytes."""
    return (
        orjson.dumps(
            {**_content(reference_set), "version": reference_set.version}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2
        )
        + b"\n"
    )


def load(name: str, payload: bytes) -> ReferenceSet:
    """Return the reference set in a file; `name` is what messages call the file.

    Raises:
        StateError: the file holds none, has another format, or was changed; the message says the way out.
    """
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int) or "learned" not in content:
        raise StateError(f"{name}: not a file of references: {AGAIN}, or name the file that it wrote")
    if content["format"] != FORMAT:
        raise StateError(
            f"{name}: format {content['format']}, written by Driftline {content.get('driftline', 'unknown')}; this Driftline "
            f"{version('driftline')} reads format {FORMAT}: {AGAIN}"
        )
    named = content.pop("version", None)
    if named != _version(content):
        raise StateError(f"{name}: its content is not that of version {named}: it was changed by hand, or damaged: {AGAIN}")
    try:
        head = msgspec.convert({**content, "version": named}, ReferenceHead)
        learned = msgspec.convert(content, _Learned).learned
        segments = _decoder.decode(base64.b64decode(learned, validate=True))
    except (msgspec.ValidationError, msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise StateError(f"{name}: cannot be read ({error}): {AGAIN}") from None
    return ReferenceSet(head, segments)


def _content(reference_set: ReferenceSet) -> dict[str, Any]:
    """Return what the version is a hash of; people can read what `learned` holds in the lines beside it."""
    head = msgspec.to_builtins(reference_set.head)
    del head["version"]
    return {
        "format": FORMAT,
        **head,
        "since": rfc3339(reference_set.since),
        "until": rfc3339(reference_set.until),
        "segments": [
            {"windows_of": kind, "segment": segment, "windows": found.windows, "features": sorted(found.learned)}
            for kind, segments in reference_set.segments.items()
            for segment, found in segments.items()
        ],
        "learned": base64.b64encode(_encoder.encode(reference_set.segments)).decode(),
    }


def _version(content: dict[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
