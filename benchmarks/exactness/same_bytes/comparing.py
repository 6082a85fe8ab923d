"""Two sides of an input held against each other: the table for people, the JSON object for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.exactness.same_bytes.prints import Print, Prints

HEADINGS = ("input", "topic or file", "records", "before", "after", "same")
_SHOWN = 12
_NONE = Print(0, "")
_YES, _MORE, _NO = "yes", "yes, and more", "NO"


@dataclass(frozen=True, slots=True)
class Compared:
    """One input: fingerprints of before, None without one, and of after; `broken` says why a side did not come to its end."""

    name: str
    before: Prints | None
    after: Prints
    broken: str = ""

    @property
    def faults(self) -> list[str]:
        """What is wrong besides differences, a sentence each."""
        sides = [(side, prints) for side, prints in (("before", self.before), ("after", self.after)) if prints is not None]
        told = [f"{self.name}, {side}: {fault}" for side, prints in sides for fault in prints.faults]
        return [*told, f"{self.name}: {self.broken}"] if self.broken else told

    @property
    def refused(self) -> list[str]:
        """What after refused to read, a sentence each."""
        return [f"{self.name}: {sentence}" for prints in (self.before, self.after) if prints for sentence in prints.refused]

    @property
    def notes(self) -> list[str]:
        """What a person may want to know, a sentence each."""
        return [f"note: {self.name}: {sentence}" for prints in (self.before, self.after) if prints for sentence in prints.notes]

    @property
    def different(self) -> list[str]:
        """Names of the lists that are not the same, or that one side lacks."""
        if self.before is None:
            return []
        return [what for what, before, after in self._pairs() if _verdict(before, after) == _NO]

    @property
    def same(self) -> bool:
        """Whether both sides are the same and prove something."""
        return not self.faults and not self.refused and not self.different

    def _pairs(self) -> Iterator[tuple[str, Print | None, Print | None]]:
        before = {} if self.before is None else self.before.found
        after = self.after.found
        for what in dict.fromkeys([*before, *after]):
            yield what, before.get(what), after.get(what)

    def rows(self) -> Iterator[list[str]]:
        """Yield a row of the table for each list."""
        for what, before, after in self._pairs():
            counts = dict.fromkeys(f"{one.records:,}" for one in (before, after) if one is not None)
            verdict = "" if self.before is None else _verdict(before, after)
            cells = [(one or _NONE).digest[:_SHOWN] or "-" for one in (before, after)]
            yield [self.name, what, " / ".join(counts), *cells, verdict]

    def as_json(self) -> dict[str, Any]:
        """Return the whole digests."""
        return {
            what: {
                "records": (after or before or _NONE).records,
                "before": before and before.digest,
                "after": after and after.digest,
            }
            for what, before, after in self._pairs()
        }


def _verdict(before: Print | None, after: Print | None) -> str:
    if before == after:
        return _YES
    if before is None or after is None or before.grows is None or after.grows is None:
        return _NO
    return _MORE if before.grows < after.grows else _NO


def differences(compared: Compared) -> Iterator[str]:
    """Yield where the records of each list lie that is not the same."""
    for what in compared.different:
        if compared.before is not None:
            name = what.replace(" ", "-")
            yield f"{compared.name}: {what} differ: diff {compared.before.folder / name} {compared.after.folder / name}"
