"""A file of windows: a first line, then records of the windows topic, each after its length in bytes (4, big-endian)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectors.errors import ConfigError
from driftline.readers.opened import Opened
from streams.topics import WINDOWS

#: The first line of the file.
MAGIC = b"driftline windows 1\n"
_LENGTH = struct.Struct(">I")

Keep = Callable[[bytes], None]


@contextmanager
def writing(name: str) -> Iterator[Keep]:
    """Give a function that writes a record to a new file, which gets its name once all are written and is removed after an error.

    Raises:
        ConfigError: the file cannot be written.
    """
    part = Path(f"{name}.part")
    try:
        stream = part.open("wb")
    except OSError as error:
        raise _refused(name, error) from None

    def keep(value: bytes) -> None:
        try:
            stream.write(_LENGTH.pack(len(value)))
            stream.write(value)
        except OSError as error:
            raise _refused(name, error) from None

    try:
        with stream:
            stream.write(MAGIC)
            yield keep
        part.replace(name)
    finally:
        part.unlink(missing_ok=True)


def _refused(name: str, error: OSError) -> ConfigError:
    return ConfigError(f"{name}: cannot be written ({error.strerror}); name another place with --write-windows")


def read_windows(file: Opened) -> Iterator[bytes]:
    """Yield the records of a file of windows.

    Raises:
        ConfigError: the file has another form, or is damaged.
    """
    if file.stream.read(len(MAGIC)) != MAGIC:
        raise ConfigError(
            f"{file.name}: not a file of windows, which --write-windows writes; if it holds rows, leave out --windows"
        )
    number = 0
    while head := file.stream.read(_LENGTH.size):
        number += 1
        size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
        value = file.stream.read(size) if size <= WINDOWS.max_message_bytes else b""
        if not size or len(value) < size:
            raise ConfigError(f"{file.name}: damaged at record {number:,}: it was cut off, or changed; write it again")
        yield value
