"""Values of one feature in one window -> a numeric part, a categorical part, and how often it was missing."""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.row import Value
from detectors.sample import LARGEST, Floats, Numeric, summarise

#: Most categories of one feature counted by name in one window; the rest is `other`.
CATEGORIES = 100
#: Longest category kept; a longer one is cut, so a window stays small.
_CATEGORY_LENGTH = 64


class Feature(msgspec.Struct, frozen=True, array_like=True):
    """One feature in one window: a numeric part, a categorical part, and how often it was missing."""

    missing: int
    numeric: Numeric | None = None
    #: Category -> count, most frequent first; ties by name.
    categories: dict[str, int] = {}
    #: Values of categories beyond the `CATEGORIES` most frequent.
    other: int = 0


def condensed(feature: Feature, categories: int) -> Feature:
    """Return the feature with at most so many categories by name; the others are counted in `other`.

    >>> condensed(Feature(missing=0, categories={"a": 3, "b": 2, "c": 1}), 1)
    Feature(missing=0, numeric=None, categories={'a': 3}, other=3)
    """
    ranked = list(feature.categories.items())
    rest = sum(count for _, count in ranked[categories:])
    return Feature(feature.missing, feature.numeric, dict(ranked[:categories]), feature.other + rest)


class Columns:
    """Values of one feature in an open window, folded: numbers as arrays, categories as counts."""

    __slots__ = ("chunks", "counts", "numbers", "seen")

    def __init__(self) -> None:
        self.chunks: list[Floats] = []
        self.counts: dict[str, int] = {}
        self.numbers = 0
        self.seen = 0

    def add(self, values: list[Value]) -> None:
        """Take the values of some rows, in their order."""
        kinds = set(map(type, values))
        if kinds <= {float, int}:
            self._numbers(values)
            return
        self._numbers([value for value in values if type(value) in (float, int)])
        counts = self.counts
        for value in values:
            if type(value) is str:
                name = value[:_CATEGORY_LENGTH]
            elif type(value) is bool:
                name = "true" if value else "false"
            else:
                continue
            counts[name] = counts.get(name, 0) + 1
            self.seen += 1

    def _numbers(self, values: list[Value]) -> None:
        if not values:
            return
        try:
            chunk = np.array(values, dtype=np.float64)
        except OverflowError:  # an integer beyond the range of a double
            chunk = np.array([max(-LARGEST, min(LARGEST, value)) for value in values], dtype=np.float64)  # type: ignore[type-var]
        # JSON has no NaN or infinity, but other front ends of the core may bring them: as missing.
        finite = chunk[np.isfinite(chunk)]
        self.chunks.append(finite)
        self.numbers += len(finite)
        self.seen += len(finite)

    def close(self, rows: int) -> Feature:
        """Return what `rows` rows had of the feature; a row without a value counts as missing."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return Feature(
            missing=rows - self.seen,
            numeric=summarise(np.concatenate(self.chunks)) if self.numbers else None,
            categories=dict(ranked[:CATEGORIES]),
            other=sum(count for _, count in ranked[CATEGORIES:]),
        )
