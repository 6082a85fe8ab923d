"""A verdict: one statistic of one feature raised an alarm. It says what changed, since when, how much."""

from __future__ import annotations

import math

import msgspec

from detectors.merge import Pooled
from detectors.reference import FeatureReference
from detectors.statistic import StatisticName, largest_share_change


class Verdict(msgspec.Struct, frozen=True):
    """One alarm.

    Args:
        feature: name of the feature; `prediction.error` for outcomes.
        statistic: which one.
        began_at: estimated change point, epoch seconds of event time: the start of a window.
        at: end of the window that raised it, epoch seconds.
        score: standard score of that window, in standard deviations.
        words: what changed, for a person.
    """

    feature: str
    statistic: StatisticName
    began_at: float
    at: float
    score: float
    words: str


_RATES: dict[StatisticName, str] = {
    "outliers": "far outside the reference",
    "missing": "null",
    "unseen": "in new categories {new}",
}


def _percent(share: float) -> str:
    """Return a percentage with two digits that matter.

    >>> _percent(1.0), _percent(0.3124), _percent(0.002)
    ('100 %', '31 %', '0.2 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def describe(
    statistic: StatisticName, *, value: float, expected: float, pooled: Pooled, reference: FeatureReference, is_error: bool
) -> str:
    """Return what changed, in words and numbers.

    Args:
        statistic: which one.
        value: what it is in this window.
        expected: what the baseline expects it to be.
        pooled: the feature in this window.
        reference: the feature's reference.
        is_error: the feature is the error of outcomes, whose mean is a rate or an absolute error.
    """
    way = "up" if value > expected else "down"
    if is_error:
        return f"error {way}, from {reference.mean:.3g} to {pooled.mean():.3g}"
    if statistic == "location":
        return f"mean {way} {abs(value - expected):.1f} sd, from {reference.mean:.4g} to {pooled.mean():.4g}"
    if statistic == "scale":
        return f"spread x{math.sqrt((max(0.0, value) / max(expected, 1e-9)) ** 3):.2g}"
    if statistic == "shares":
        name, share, before = largest_share_change(pooled, reference)
        return f'share of "{name}" {_percent(share)}, was {_percent(before)}'
    # The others are rates.
    new = ", ".join([name for name in pooled.categories if name not in reference.known][:3])
    what = _RATES[statistic].format(new=new or "(unnamed)")
    return f"{_percent(value)} {what}, was {_percent(min(1.0, max(0.0, expected)))}"
