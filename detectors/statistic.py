"""What is measured on one feature of one window against its reference.

==========  ============================================================  ===============
name        what it is                                                    of
==========  ============================================================  ===============
location    mean normal score                                             numbers
scale       (variance of the normal scores)^(1/3), near-normal             numbers
outliers    share far outside the reference                               numbers
shares      G against the reference's categories, (G/df)^(1/3)            categories
unseen      share of values in categories the reference lacks             categories
missing     share of rows without a value                                 all
==========  ============================================================  ===============

Wilson and Hilferty (1931) make scale and shares near-normal. Rates stay as they are: the arcsine, which
would steady their variance, shifts the mean of a rare rate when the number of events changes, and gives
the first event of a quiet window a score that a Gaussian threshold does not hold for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detectors.merge import Pooled
from detectors.reference import FeatureReference
from detectors.sample import Floats

StatisticName = Literal["location", "scale", "outliers", "shares", "unseen", "missing"]

#: Feature statistics in the order in which they are computed and listed: of numbers, of categories, and of both.
OF_NUMBERS: tuple[StatisticName, ...] = ("location", "scale", "outliers")
OF_CATEGORIES: tuple[StatisticName, ...] = ("shares", "unseen")
OF_ALL: tuple[StatisticName, ...] = ("missing",)
STATISTICS = OF_NUMBERS + OF_CATEGORIES + OF_ALL

#: A feature with fewer different quantiles has no scale worth watching.
_MIN_DISTINCT = 8
#: Least standard deviation of any statistic, times the number of events: one odd event among n moves a
#: mean score by at most 2.9 / n, so a feature that never varied needs more than one to raise anything.
FLOOR = 2.0


@dataclass(frozen=True, slots=True)
class Measure:
    """One statistic of one window.

    Args:
        value: the statistic.
        within: its variance within the window times `count`.
        count: events it was taken over.
    """

    value: float
    within: float
    count: float


def names_for(reference: FeatureReference) -> tuple[StatisticName, ...]:
    """Return the statistics that make sense for a feature with that reference."""
    names: list[StatisticName] = []
    if len(reference.quantiles):
        names.append("location")
        if reference.distinct >= _MIN_DISTINCT:
            names.append("scale")
        names.append("outliers")
    if reference.shares:
        if len(reference.shares) > 1:
            names.append("shares")
        names.append("unseen")
    return (*names, "missing")


def measure(pooled: Pooled, reference: FeatureReference, *, outlier_beyond: float) -> dict[StatisticName, Measure]:
    """Return every statistic that this window has something to say about."""
    found: dict[StatisticName, Measure] = {}
    numbers = pooled.numbers
    if numbers and len(reference.quantiles):
        scores = reference.normal_scores(pooled.points)
        weights = pooled.weights / numbers
        mean = float(weights @ scores)
        squares = np.square(scores - mean)
        power = float(weights @ squares)
        found["location"] = Measure(mean, power, numbers)
        if numbers > 1:
            # About the window's own mean: a level that moves is location's to tell, not a wider spread.
            # d(m^(1/3)) = m^(-2/3) / 3 dm
            fourth = float(weights @ np.square(squares))
            slope = 1 / (9 * power ** (4 / 3)) if power > 1e-9 else 0.0
            unbiased = power * numbers / (numbers - 1)
            found["scale"] = Measure(unbiased ** (1 / 3), max(0.0, fourth - power * power) * slope, numbers)
        found["outliers"] = _rate(_share_outside(pooled, weights, reference, outlier_beyond), numbers)
    named = pooled.named
    if named and reference.shares:
        if len(reference.shares) > 1:
            found["shares"] = _shares(pooled, reference, named)
        unseen = sum(count for category, count in pooled.categories.items() if category not in reference.known)
        found["unseen"] = _rate(unseen / named, named)
    if pooled.rows:
        found["missing"] = _rate(pooled.missing / pooled.rows, pooled.rows)
    return found


def _share_outside(pooled: Pooled, weights: Floats, reference: FeatureReference, beyond: float) -> float:
    """Return the share of the numbers that lie so many standard deviations or more outside the reference."""
    if pooled.low >= reference.quantiles[0] and pooled.high <= reference.quantiles[-1]:
        return 0.0  # nearly always: all lie within its extremes
    return float(weights @ (reference.distances(pooled.points) > beyond))


def _rate(share: float, count: float) -> Measure:
    share = min(1.0, max(0.0, share))
    return Measure(share, share * (1.0 - share), count)


def _shares(pooled: Pooled, reference: FeatureReference, named: int) -> Measure:
    """Return (G/df)^(1/3) over the reference's categories and one cell for all others."""
    cells = [(pooled.categories.get(category, 0), share) for category, share in reference.shares.items()]
    rest = named - sum(count for count, _ in cells)
    # Half an event keeps a cell that the reference never filled finite; `unseen` watches it closely.
    cells.append((rest, max(reference.other, 0.5 / named)))
    total = sum(share for _, share in cells)
    g = 2 * sum(count * math.log(count * total / (named * share)) for count, share in cells if count)
    freedom = len(cells) - 1
    # Variance of a cube root of chi-square over its df is 2 / (9 df), whatever the number of events.
    return Measure(max(0.0, g / freedom) ** (1 / 3), 2 / (9 * freedom) * named, named)


def largest_share_change(pooled: Pooled, reference: FeatureReference) -> tuple[str, float, float]:
    """Return the category whose share changed most, with its share now and in the reference."""
    named = max(1, pooled.named)
    names = dict.fromkeys([*reference.shares, *pooled.categories])
    now = {name: pooled.categories.get(name, 0) / named for name in names}
    name = max(names, key=lambda item: (abs(now[item] - reference.shares.get(item, 0.0)), item))
    return name, now[name], reference.shares.get(name, 0.0)
