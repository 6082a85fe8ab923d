"""An opened file, or stdin: bytes, a name for messages, and how far it was read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from detectors.errors import ConfigError

#: The name of stdin.
STDIN = "-"
#: Longest line that is read; the rest of a longer one is skipped.
_MOST_LINE_BYTES = 1 << 20
#: The byte order mark that some editors write before UTF-8.
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is read once from its beginning; `size` in bytes, None if unknown."""

    name: str
    stream: BinaryIO
    size: int | None

    def share(self) -> float | None:
        """Return the share that was read, 0 to 1; None if the size is unknown."""
        return min(1.0, self.stream.tell() / self.size) if self.size else None

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield (number, line) of the lines that are not blank; None for one that is too long."""
        number = 0
        whole = True
        while piece := self.stream.readline(_MOST_LINE_BYTES):
            began, whole = whole, piece.endswith(b"\n") or len(piece) < _MOST_LINE_BYTES
            if not began:
                continue
            number += 1
            if not whole:
                yield number, None
            elif not piece.isspace():
                yield number, piece.removeprefix(_MARK) if number == 1 else piece


@contextmanager
def opened(name: str) -> Iterator[Opened]:
    """Give the file of that name, or stdin for `-`.

    Raises:
        ConfigError: it cannot be read.
    """
    if name == STDIN:
        yield Opened("stdin", sys.stdin.buffer, None)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only opening may fail here
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}); name a file that can") from None
    with stream:
        yield Opened(name, stream, os.fstat(stream.fileno()).st_size)
