"""A verdict: one statistic of one feature raised an alarm. It says what changed, since when, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from detectors.reference.feature_reference import FeatureReference
from detectors.statistics import StatisticName


class Verdict(msgspec.Struct, frozen=True):
    """One alarm.

    Args:
        feature: name of the feature; `prediction.error` for outcomes.
        statistic: the statistic that raised it.
        began_at: estimated change point, epoch seconds of event time: the start of a window.
        at: end of the window that raised it, epoch seconds.
        score: standard score of that window, in standard deviations.
        words: what changed, for a person.
        size: of the change, 1 for a large change: one standard deviation of the reference; half or double the spread or the
            number of rows; a quarter of the rows or values.
    """

    feature: str
    statistic: StatisticName
    began_at: float
    at: float
    score: float
    words: str
    size: float = 0.0


class Seen(msgspec.Struct, frozen=True):
    """What a verdict says of the window, beside the statistic.

    Args:
        mean: of the numbers, NaN without any.
        usual: mean that was expected of them at that time.
        categories: category -> count.
        named: values with a category.
        strange: whether there are values of a type that the reference lacks.
    """

    mean: float
    usual: float
    categories: Mapping[str, float]
    named: float
    strange: bool = False


#: Windows by which two statistics may differ when they date the same change.
JOIN_WINDOWS = 10
_RATES: dict[StatisticName, str] = {
    "outliers": "far outside the reference",
    "missing": "null",
    "unseen": "in new categories {new}",
}
#: A difference of shares or rates that counts as large.
_LARGE_SHARE = 0.25
#: Size of every change of shape. G measures how certain such a change is, not how large it is; a change that leaves mean and
#: spread alone is not large.
_SHAPE = 0.5
#: Below this ratio of spreads, now to usual, the values are said to be all about the same.
_LEAST_SPREAD = 0.01


def _percent(share: float) -> str:
    """Return a percentage with two digits that matter.

    >>> _percent(1.0), _percent(0.3124), _percent(0.002)
    ('100 %', '31 %', '0.2 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def describe(
    statistic: StatisticName, *, value: float, expected: float, seen: Seen, reference: FeatureReference, is_error: bool
) -> str:
    """Return what changed, in words and numbers.

    Args:
        statistic: the statistic that raised the alarm.
        value: of the statistic in this window.
        expected: value that the baseline expects.
        seen: the feature in this window.
        reference: the feature's reference.
        is_error: whether the feature is the error of outcomes, whose mean is an error rate or a mean absolute error.
    """
    way = "up" if value > expected else "down"
    if is_error:
        return f"error {way}, from {seen.usual:.3g} to {seen.mean:.3g}"
    match statistic:
        case "location":
            further = f"{way} {abs(value - expected):.1f} sd"
            if (seen.mean > seen.usual) == (value > expected):
                words = f"mean {further}, from {seen.usual:.4g} to {seen.mean:.4g}"
            else:  # a few values moved far in one direction, most values in the other
                words = f"most values {further}, mean {seen.mean:.4g}, was {seen.usual:.4g}"
        case "scale":
            spread = _spread(value, expected)
            alike = "all values about the same, or all beyond the reference"
            words = f"spread x{spread:.2g}" if spread >= _LEAST_SPREAD else alike
        case "shape":
            words = f"distribution changed its shape, mean {seen.mean:.4g}, was {seen.usual:.4g}"
        case "volume":
            words = f"{math.expm1(value):.3g} rows in a window, was {math.expm1(max(0.0, expected)):.3g}"
        case "shares":
            name, share, before = largest_share_change(seen, reference)
            words = f'share of "{name}" {_percent(share)}, was {_percent(before)}'
        case _:  # the others are rates
            new = ", ".join([name for name in seen.categories if name not in reference.known][:3])
            what = _RATES[statistic].format(new=new or "(unnamed)")
            if statistic == "missing" and seen.strange:
                what = "null or of another type"
            words = f"{_percent(value)} {what}, was {_percent(min(1.0, max(0.0, expected)))}"
    return words


def size_of(statistic: StatisticName, *, value: float, expected: float, seen: Seen, reference: FeatureReference) -> float:
    """Return how large a change is, 1 for a large change, whatever the number of events in the window."""
    match statistic:
        case "location":
            size = abs(value - expected)
        case "scale":
            size = abs(math.log2(max(1e-3, _spread(value, expected))))
        case "volume":
            size = abs(value - expected) / math.log(2)
        case "shares":
            _, share, before = largest_share_change(seen, reference)
            size = abs(share - before) / _LARGE_SHARE
        case "shape":
            size = _SHAPE
        case _:
            size = abs(value - expected) / _LARGE_SHARE
    return size


def _spread(value: float, expected: float) -> float:
    return math.sqrt((max(0.0, value) / max(expected, 1e-9)) ** 3)


def largest_share_change(seen: Seen, reference: FeatureReference) -> tuple[str, float, float]:
    """Return the category whose share changed most, with its share now and in the reference."""
    named = max(1.0, seen.named)
    names = dict.fromkeys([*reference.shares, *seen.categories])
    now = {name: seen.categories.get(name, 0) / named for name in names}
    name = max(names, key=lambda item: (abs(now[item] - reference.shares.get(item, 0.0)), item))
    return name, now[name], reference.shares.get(name, 0.0)
