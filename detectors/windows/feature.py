"""Values of one feature in one window -> a numeric part, a categorical part, and how often it was missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from detectors.arrays import Floats
from detectors.windows.row import Value
from detectors.windows.sample import LARGEST, Numeric, merged, summarise

#: Most categories of a feature that a window counts by name; all others are `other`.
CATEGORIES = 100
#: Most categories that a folded window counts by name; when it closes, the `CATEGORIES` most frequent keep their names.
_FOLDED_CATEGORIES = 200
#: Longest category, in characters; longer categories are cut, so a window stays small.
CATEGORY_LENGTH = 64


class Feature(msgspec.Struct, frozen=True, array_like=True):
    """One feature in one window: a numeric part, a categorical part, and how often it was missing."""

    missing: int
    numeric: Numeric | None = None
    #: Category -> count, most frequent first; ties by name.
    categories: dict[str, int] = {}
    #: Values of categories beyond the `CATEGORIES` most frequent.
    other: int = 0


def condensed(feature: Feature, categories: int) -> Feature:
    """Return the feature with at most `categories` categories by name; `other` counts the rest.

    >>> condensed(Feature(missing=0, categories={"a": 3, "b": 2, "c": 1}), 1)
    Feature(missing=0, numeric=None, categories={'a': 3}, other=3)
    """
    ranked = list(feature.categories.items())
    rest = sum(count for _, count in ranked[categories:])
    return Feature(feature.missing, feature.numeric, dict(ranked[:categories]), feature.other + rest)


class Column(msgspec.Struct, frozen=True):
    """Values of one feature in some rows of a window; `other` counts values whose categories have lost their names."""

    numeric: Numeric | None = None
    counts: Mapping[str, int] = {}
    other: int = 0

    def feature(self, rows: int) -> Feature:
        """Return the feature of a window of `rows` rows; a row without a value counts as missing."""
        seen = (self.numeric.n if self.numeric is not None else 0) + sum(self.counts.values()) + self.other
        named, rest = _most_frequent(self.counts, CATEGORIES)
        return Feature(rows - seen, self.numeric, named, rest + self.other)

    def folded(self, later: Column) -> Column:
        """Return the values of both columns in one."""
        numeric = self.numeric
        if later.numeric is not None:
            numeric = later.numeric if numeric is None else merged(numeric, later.numeric)
        return Column(numeric, Counter(self.counts) + Counter(later.counts), self.other + later.other)

    def bounded(self) -> Column:
        """Return the column with `_FOLDED_CATEGORIES` categories by name at most; `other` counts the rest."""
        if len(self.counts) <= _FOLDED_CATEGORIES:
            return self
        counts, rest = _most_frequent(self.counts, _FOLDED_CATEGORIES)
        return Column(self.numeric, counts, self.other + rest)


def _most_frequent(counts: Mapping[str, int], most: int) -> tuple[dict[str, int], int]:
    """Return the most frequent categories, ties by name, and the number of values of all others."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:most]), sum(count for _, count in ranked[most:])


def category_of(value: str | bool) -> str:
    """Return the name of the category of a text or a truth value."""
    return value if isinstance(value, str) else "true" if value else "false"


def column_of(values: Sequence[Value]) -> Column:
    """Return the column of a list of values of any types; None, NaN and infinities are missing.

    >>> column_of([1.0, "a", True, None, "a"]).feature(5).categories
    {'a': 2, 'true': 1}
    """
    kinds = set(map(type, values))
    counts: Counter[str] = Counter()
    for name, count in Counter(values if kinds == {str} else [value for value in values if type(value) is str]).items():
        counts[str(name)[:CATEGORY_LENGTH]] += count
    truths: list[bool] = [value for value in values if type(value) is bool] if bool in kinds else []
    for truth, count in Counter(truths).items():
        counts[category_of(truth)] += count
    if not kinds & {float, int}:
        return Column(None, counts)
    numbers = doubles([value for value in values if type(value) in (float, int)])
    numbers = numbers[np.isfinite(numbers)]
    return Column(summarise(numbers) if len(numbers) else None, counts)


def doubles(values: list[Value]) -> Floats:
    """Return numbers as doubles; an integer beyond their range becomes the greatest double, None becomes NaN."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        bounded = (max(-int(LARGEST), min(int(LARGEST), value)) if type(value) is int else value for value in values)
        return np.array(list(bounded), dtype=np.float64)
