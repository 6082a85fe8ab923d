"""Secrets: from a file or from the environment, never from `driftline.toml` and never printed."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

from driftline.config.faults import Faults, Place
from streams.settings import Secret

LEAST_KEY_BYTES = 16
_MOST_BYTES = 64 << 10
_log = logging.getLogger("driftline.config.load")

MAKE_KEY = 'python -c "import secrets; print(secrets.token_hex(32))" > signing_key && chmod 600 signing_key'


def read_secret(faults: Faults, place: Place, path: Path) -> Secret:
    """Return the content of the file at `path`, without white space around it; empty after a fault.

    A file that cannot be used is a fault at `place`. A file that every user of the machine may read is a warning.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            faults.add(place, f"{path} is not a file", "name the file that holds the secret")
            return Secret(b"")
        with path.open("rb") as source:
            content = source.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        faults.add(place, f"there is no file {path}", "make it, or mend the path")
        return Secret(b"")
    except OSError as error:
        faults.add(place, f"cannot read {path} ({error.strerror})", "let the user that runs Driftline read it")
        return Secret(b"")
    if len(content) > _MOST_BYTES:
        faults.add(place, f"{path} is larger than {_MOST_BYTES} bytes", "that is no secret: mend the path")
    elif not content.strip():
        faults.add(place, f"{path} is empty", "put the secret in it")
    elif mode & stat.S_IROTH:
        _log.warning("%s can be read by every user of this machine: run `chmod 600 %s`", path, path)
    return Secret(content.strip())


def check_key(faults: Faults, place: Place, key: Secret, *, needed: bool) -> None:
    """Add a fault when the signing key is too short, or missing although it is needed."""
    length = len(key.reveal())
    if key and length < LEAST_KEY_BYTES:
        faults.add(place, f"the signing key has {length} bytes, {LEAST_KEY_BYTES} are the least", f"make one with `{MAKE_KEY}`")
    elif needed and not key:
        faults.add(
            place,
            "there is no signing key, and this process signs what it stores",
            f"make one with `{MAKE_KEY}`, then name the file here or in DRIFTLINE_SIGNING_KEY_FILE",
        )
