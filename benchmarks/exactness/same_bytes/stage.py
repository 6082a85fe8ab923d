"""What one input is played with on one side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.exactness.same_bytes.executable import Executable
from benchmarks.exactness.same_bytes.prints import Prints


@dataclass(frozen=True, slots=True)
class OneSide:
    """One side of one input.

    Args:
        executable: whose bytes are looked at.
        writer: whose state it goes on with, where the input is about state; None for its own, undisturbed.
        home: a directory for this side of this input.
        inputs: a directory of input files, the same for both sides.
        say: is told what goes on.
    """

    executable: Executable
    writer: Executable | None
    home: Path
    inputs: Path
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Input:
    """Something that goes through both executables; `play` takes the fingerprints of one side."""

    name: str
    says: str
    play: Callable[[OneSide, Prints], None]
