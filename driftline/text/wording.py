"""Phrases that commands share: lists of names, spans, seasons."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.reference.season import OF_WEEK, SeasonName

#: At most so many names in one sentence.
_MOST_NAMES = 10


def listed(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Return names for a sentence; of many the first, and how many more.

    >>> listed(["amount", "age", "country"], 2)
    'amount, age and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def span(least: float, most: float, form: str = ",") -> str:
    """Return both ends of a span, or one value if both print alike.

    >>> span(2, 2000), span(0.101, 0.102, ".2f")
    ('2 to 2,000', '0.10')
    """
    low, high = format(least, form), format(most, form)
    return low if low == high else f"{low} to {high}"


def season(name: SeasonName, holidays: str) -> str:
    """Return the name of a season, with the calendar of holidays if it uses one.

    >>> season("slot-of-week", "DE"), season("constant", "DE")
    ('slot-of-week with public holidays of DE', 'constant')
    """
    return f"{name} with public holidays of {holidays}" if name in OF_WEEK and holidays else name
