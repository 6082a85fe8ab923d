"""Signed blobs: nothing is unpickled or restored before its signature is checked.

Layout: `b"DLS1"`, 32 bytes of HMAC-SHA256, payload. The code covers the blob's name as well as its
bytes, so a genuine blob put under another name is refused too.

    >>> key = Secret(b"k" * 32)
    >>> verify(key, "model/fraud/1", sign(key, "model/fraud/1", b"state"))
    b'state'
"""

from __future__ import annotations

import hashlib
import hmac

from detectors.errors import SignatureError
from streams.settings import Secret

_MAGIC = b"DLS1"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size


def _code(key: Secret, name: str, payload: bytes) -> bytes:
    encoded = name.encode()
    return hmac.digest(key.reveal(), len(encoded).to_bytes(4, "big") + encoded + payload, "sha256")


def sign(key: Secret, name: str, payload: bytes) -> bytes:
    """Return the payload with its signature before it."""
    return _MAGIC + _code(key, name, payload) + payload


def verify(key: Secret, name: str, blob: bytes) -> bytes:
    """Return the payload of a signed blob.

    Raises:
        SignatureError: the blob is short, altered, of another name, or signed with another key.
    """
    payload = blob[_HEAD:]
    if len(blob) < _HEAD or blob[: len(_MAGIC)] != _MAGIC:
        raise SignatureError(f"{name}: not a signed blob of this version; delete it or restore it from a backup")
    if not hmac.compare_digest(blob[len(_MAGIC) : _HEAD], _code(key, name, payload)):
        raise SignatureError(
            f"{name}: the signature does not match: it was altered, or signed with another key; "
            "check DRIFTLINE_SIGNING_KEY on every process, then delete the blob or publish it again"
        )
    return payload
