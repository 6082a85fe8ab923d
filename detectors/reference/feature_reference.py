"""The distribution of one feature while all was well: 256 quantiles, and the shares of its categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from detectors.arrays import Floats
from detectors.windows.feature import Feature
from detectors.windows.sample import Numeric

QUANTILES = 256
#: Most categories of the reference that keep their names; `other` is the share of the rest.
REFERENCE_CATEGORIES = 50
#: Most categories that are remembered as seen; rarer categories count as unseen, in the reference and after it.
KNOWN_CATEGORIES = 5000

# Normal score of each doubled mid-rank, left + right, from 0 to 2 * QUANTILES. The extreme scores
# are those of a sample of 256: about +-2.9.
_SCORES: Floats = ndtri((np.arange(2 * QUANTILES + 1) / 2 + 0.5) / (QUANTILES + 1))


def scores_of(ranks: NDArray[np.intp]) -> Floats:
    """Return the normal score of each doubled mid-rank, 0 to 2 * QUANTILES."""
    return _SCORES[ranks]


class FeatureReference(msgspec.Struct):
    """The reference of one feature.

    Args:
        quantiles: ascending, shape (QUANTILES,), empty when the feature had no numbers.
        shares: category -> share of the categorical values, at most REFERENCE_CATEGORIES, without `other`.
        other: share of all other categories.
        known: category -> number of windows that named it, most first, at most KNOWN_CATEGORIES.
        mean: of the numbers, for the words of a verdict; NaN without numbers.
    """

    quantiles: np.ndarray
    shares: dict[str, float]
    other: float
    known: dict[str, int]
    mean: float

    def normal_scores(self, values: Floats) -> Floats:
        """Return the normal score of each value, same shape: mid-rank in the quantiles through the inverse normal.

        Scores are bounded to about +-2.9 and have no unit; ties and discrete values get their middle rank.
        """
        left = self.quantiles.searchsorted(values, side="left")
        right = self.quantiles.searchsorted(values, side="right")
        return scores_of(left + right)

    def distances(self, values: Floats) -> Floats:
        """Return how far outside each value lies, in standard deviations of the near tail; 0 within the reference.

        Beyond the extremes the normal score continues linearly, in units of the distance from the median
        to the extreme. A constant feature has no such unit: any other value has an infinite distance.
        """
        low, middle, high = self.quantiles[0], self.quantiles[QUANTILES // 2], self.quantiles[-1]
        reach = float(_SCORES[-1])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            above = np.where(values > high, reach * (values / 2 - middle / 2) / (high / 2 - middle / 2), 0.0)
            below = np.where(values < low, reach * (middle / 2 - values / 2) / (middle / 2 - low / 2), 0.0)
        return cast("Floats", np.nan_to_num(above + below, nan=np.inf, posinf=np.inf))

    def mean_at(self, score: float) -> float:
        """Return about the mean that the numbers have when their mean normal score is `score`, if all moved by the same score."""
        shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
        least, most = -2 * float(_SCORES[-1]), 2 * float(_SCORES[-1])
        for _ in range(32):
            shift = (least + most) / 2
            indices = np.minimum(QUANTILES * ndtr(ndtri(shares) + shift), QUANTILES - 1).astype(np.intp)
            moved = self.quantiles[indices]
            least, most = (shift, most) if self.normal_scores(moved).mean() < score else (least, shift)
        further = float((moved / QUANTILES).sum()) - float((self.quantiles / QUANTILES).sum())
        return max(float(self.quantiles[0]), min(float(self.quantiles[-1]), self.mean + further))

    @property
    def distinct(self) -> int:
        """Number of different quantiles."""
        return len(np.unique(self.quantiles))


def learn_reference(windows: Sequence[Sequence[Feature]]) -> FeatureReference:
    """Return the reference of one feature.

    Args:
        windows: of each reference window the feature's parts, one a source; a window that lacks the feature has no part.
    """
    numeric = [part.numeric for parts in windows for part in parts if part.numeric is not None]
    categories: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    other = 0
    for parts in windows:
        if any(part.categories or part.other for part in parts):
            seen.update({category for part in parts for category in part.categories})
            other += sum(part.other for part in parts)
            for part in parts:
                categories.update(part.categories)
    total = sum(categories.values()) + other
    ranked = sorted(categories.items(), key=lambda item: (-item[1], item[0]))[:REFERENCE_CATEGORIES]
    shares = {category: count / total for category, count in ranked} if total else {}
    quantiles, mean = np.empty(0), float("nan")
    if numeric:
        points = np.frombuffer(b"".join([part.points for part in numeric]), dtype="<f8")
        weights = _weights(numeric)
        quantiles = _quantiles(points, weights)
        # The extremes are those of all values, not of the points: a value between them is not outside.
        quantiles[0], quantiles[-1] = min(part.low for part in numeric), max(part.high for part in numeric)
        # Values are divided before they are added: 1e308 twice is more than a double holds.
        shares_of = np.full(len(points), 1 / len(points)) if weights is None else weights / weights.sum()
        mean = float(points @ shares_of)
    return FeatureReference(
        quantiles=quantiles,
        shares=shares,
        other=max(0.0, 1.0 - sum(shares.values())) if total else 0.0,
        known=dict(sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:KNOWN_CATEGORIES]),
        mean=mean,
    )


def _weights(numeric: Sequence[Numeric]) -> Floats | None:
    """Return the number of values that each point represents; None if every point is a single value."""
    if all(not part.counts and 8 * part.n == len(part.points) for part in numeric):
        return None
    return np.concatenate([part.weights() for part in numeric])


def _quantiles(points: Floats, weights: Floats | None) -> Floats:
    """Return QUANTILES mid-quantiles of a weighted sample; each is a value of the sample, so ties stay ties."""
    shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
    if weights is None:
        index = np.ceil(shares * len(points)).astype(np.intp) - 1
        return np.sort(points)[index]
    order = np.argsort(points, kind="stable")
    cumulative = np.cumsum(weights[order])
    index = np.minimum(np.searchsorted(cumulative, shares * cumulative[-1]), len(points) - 1)
    return np.asarray(points[order][index], dtype=np.float64)
