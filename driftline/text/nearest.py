"""The known word that a wrong one probably means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def nearest(word: object, known: Iterable[str]) -> str:
    """Return `did you mean "x"?` for the nearest known word, or nothing when none is near.

    >>> nearest("windw", ["window", "lateness"])
    'did you mean "window"?'
    """
    found = nearest_meaning(word, {name: name for name in known})
    return f'did you mean "{found}"?' if found else ""


def nearest_meaning(word: object, spellings: Mapping[str, str]) -> str:
    """Return the meaning of the nearest spelling, or nothing when none is near."""
    folded = {spelling.casefold(): spellings[spelling] for spelling in sorted(spellings)}
    found = difflib.get_close_matches(str(word).casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""
