"""A port that cannot be listened on, as one sentence with its remedy."""

from __future__ import annotations

from detectors.errors import UnavailableError


def cannot_listen(host: str, port: int, error: OSError, remedy: str) -> UnavailableError:
    """Return the error to raise when a port is taken, or the address is not one of this machine's.

    >>> str(cannot_listen("127.0.0.1", 80, PermissionError(13, "Permission denied"), "set [serve] port"))
    'cannot listen on 127.0.0.1:80 (Permission denied): set [serve] port'
    """
    return UnavailableError(f"cannot listen on {host}:{port} ({error.strerror or error}): {remedy}")
