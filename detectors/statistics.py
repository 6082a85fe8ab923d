"""The statistics of a window by name: their order in arrays, and which of them a kind of feature has."""

from __future__ import annotations

from typing import Literal

StatisticName = Literal["location", "scale", "shape", "outliers", "shares", "unseen", "missing", "volume"]


#: Statistics in the order in which they are computed and listed: of numbers, of categories, of both, and of a model's rows.
OF_NUMBERS: tuple[StatisticName, ...] = ("location", "scale", "shape", "outliers")


OF_CATEGORIES: tuple[StatisticName, ...] = ("shares", "unseen")


OF_ALL: tuple[StatisticName, ...] = ("missing",)


OF_MODEL: tuple[StatisticName, ...] = ("volume",)


STATISTICS = OF_NUMBERS + OF_CATEGORIES + OF_ALL + OF_MODEL


PLACE = {name: place for place, name in enumerate(STATISTICS)}


#: Those whose fall is no news: it means that a distribution is more like the reference than its own windows were.
UPWARDS: frozenset[StatisticName] = frozenset({"shape", "outliers", "shares", "unseen"})


#: Least standard deviation of any statistic, times the number of events: one odd event among n moves a
#: mean score by at most 2.9 / n, so a feature that never varied needs more than one to raise anything.
FLOOR = 2.0


#: Statistics of the kind of a chi-square: they vary whatever the feature does, and need no floor.
OF_G: frozenset[StatisticName] = frozenset({"shape", "shares"})


def place_of(statistic: StatisticName) -> int:
    """Return the row of a statistic."""
    return PLACE[statistic]
