"""Fingerprints: named lists of records, of each list one SHA-256.

The records are kept in files, one a line, and a digest is that of the file: `sha256sum` gives it again, and
`diff` shows where two differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Print:
    """The fingerprint of one list of records; `grows` has the lines of one that after may add to."""

    records: int
    digest: str
    grows: frozenset[bytes] | None = None


class Prints:
    """All fingerprints of one input from one executable."""

    def __init__(self, folder: Path) -> None:
        """Keep the records in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.found: dict[str, Print] = {}
        #: What makes a comparison worth nothing, and what was refused, a sentence each.
        self.faults: list[str] = []
        self.refused: list[str] = []
        #: What a person may want to know, a sentence each.
        self.notes: list[str] = []

    def add(self, what: str, records: Iterable[bytes], *, needed: bool = False) -> None:
        """Take a list of records without line breaks; it is a fault if it is `needed` and empty."""
        self.add_content(what, b"".join(record + b"\n" for record in records), needed=needed)

    def add_growing(self, what: str, records: Iterable[bytes]) -> None:
        """Take a list that has to have all that it had, and may have more."""
        found = frozenset(records)
        self.add(what, sorted(found), needed=True)
        self.found[what] = replace(self.found[what], grows=found)

    def add_content(self, what: str, content: bytes, *, needed: bool = False, records: int | None = None) -> None:
        """Take a whole file; its records are its lines, unless another number is given."""
        (self.folder / what.replace(" ", "-")).write_bytes(content)
        count = content.count(b"\n") if records is None else records
        self.found[what] = Print(count, hashlib.sha256(content).hexdigest())
        if needed and not count:
            self.faults.append(f"there are no {what}, so nothing is proved")


def line(*parts: bytes | str | float | None) -> bytes:
    """Return values as one line of JSON; each byte is the character of its number, so nothing is lost.

    >>> line(b"key", None, 3)
    b'["key",null,3]'
    """
    return orjson.dumps([part.decode("latin-1") if isinstance(part, bytes) else part for part in parts])
