"""Faults of the configuration, one line each: place, what was expected, what was there, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from driftline.config.checks import Expected, show
from driftline.config.schema import SECTIONS, ModelSection, Section
from driftline.text.nearest import nearest

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRETS = {"signing_key": "signing_key_file", "secret": "secret_file", "token": "token_file", "password": "secret_file"}

Place = tuple[str, ...]


@dataclass(slots=True)
class Faults:
    """The faults of one configuration, in the order in which they were noticed.

    Args:
        file: its name in messages.
        origins: place -> what to call it, where the value came from the environment.
        lines: the faults, a sentence each.
        notes: what is no fault and has to change before the next version, a sentence each.
        written: place -> the old key under which the user wrote it.
    """

    file: str
    origins: Mapping[Place, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: dict[Place, Place] = field(default_factory=dict)

    def add(self, place: Place, sentence: str, hint: str = "") -> None:
        """Add one fault at a place of the file."""
        where = self.origins.get(place) or ": ".join(filter(None, (self.file, _dotted(self._as_written(place)))))
        self.lines.append(f"{where}: {sentence}{'; ' if hint else ''}{hint}")

    def read_as(self, old: Place, new: Place) -> None:
        """Note that a key has a new name; faults at the new place name the old one from now on."""
        self.written[new] = old
        self.notes.append(f'{_dotted(old)} is an old name: write "{new[-1]}" instead; the next version does not read the old one')

    def _as_written(self, place: Place) -> Place:
        for end in range(len(place), 0, -1):
            if place[:end] in self.written:
                return (*self._as_written(self.written[place[:end]]), *place[end:])
        return place

    def add_all(self, place: Place, section: type[Section], error: ValidationError) -> None:
        """Add the errors that pydantic reports for one section, in the order of the file."""
        for found in error.errors(include_url=False):
            inner = tuple(str(part) for part in found["loc"])
            here = (*place, *inner)
            cause = found.get("ctx", {}).get("error")
            if isinstance(cause, Expected):
                self.add(here, f"{cause}, got {show(found['input'])}" if cause.shown else str(cause), cause.hint)
            elif found["type"] == "extra_forbidden":
                self.unknown(here, _at(section, inner[:-1]))
            else:
                self.add(here, f"expected a table of keys, got {show(found['input'])}")

    def unknown(self, place: Place, section: type[Section]) -> None:
        """Add an unknown key, with the likeliest meaning; its value is not shown, it may be a secret."""
        word = place[-1]
        known = section.toml_keys()
        if word in _SECRETS and _SECRETS[word] in known:
            hint = f'secrets do not belong in this file: put it in a file of its own and name that in "{_SECRETS[word]}"'
        else:
            hint = nearest(word, known) or _elsewhere(word) or f"known here: {', '.join(known)}"
        self.add(place, "unknown key", hint)

    def unknown_section(self, name: str, known: Iterable[str], *, is_table: bool) -> None:
        """Add an unknown table or a key outside every table."""
        self.add(
            (name,),
            "unknown section" if is_table else "key outside every section",
            nearest(name, known) or _elsewhere(name) or f"known: {', '.join(known)}",
        )


def _elsewhere(word: str) -> str:
    homes = [f"[{name}]" for name, section in SECTIONS.items() if word in section.toml_keys()]
    inner: dict[str, type[Section]] = {"": ModelSection, **_sections_of(ModelSection)}
    homes += [f"[models.NAME{'.' if name else ''}{name}]" for name, section in inner.items() if word in section.toml_keys()]
    return f'"{word}" belongs in {" or ".join(homes)}' if homes else ""


def _sections_of(section: type[Section]) -> dict[str, type[Section]]:
    kinds = {name: found.annotation for name, found in section.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}


def _at(section: type[Section], path: Place) -> type[Section]:
    for name in path:
        section = _sections_of(section)[name]
    return section


def _dotted(place: Place) -> str:
    return ".".join(part if _BARE.fullmatch(part) else show(part) for part in place)
