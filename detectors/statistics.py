"""The statistics of a window by name: their order in arrays, and which of them a kind of feature has."""

from __future__ import annotations

from typing import Literal

StatisticName = Literal["location", "scale", "shape", "outliers", "shares", "unseen", "missing", "volume"]


#: Statistics in the order of the rows of arrays: of numbers, of categories, of both, and of a model's rows.
OF_NUMBERS: tuple[StatisticName, ...] = ("location", "scale", "shape", "outliers")


OF_CATEGORIES: tuple[StatisticName, ...] = ("shares", "unseen")


OF_ALL: tuple[StatisticName, ...] = ("missing",)


OF_MODEL: tuple[StatisticName, ...] = ("volume",)


STATISTICS = OF_NUMBERS + OF_CATEGORIES + OF_ALL + OF_MODEL


#: Statistic -> its row in arrays.
PLACE = {name: row for row, name in enumerate(STATISTICS)}


#: Statistics that alarm on rises only. A fall means that a window is more like the reference than the reference's own windows.
UPWARDS: frozenset[StatisticName] = frozenset({"shape", "outliers", "shares", "unseen"})


#: Least standard deviation of any statistic, times the number of events. One odd event among n moves a mean score by at most
#: 2.9 / n, so a feature that never varied needs more than one odd event to raise an alarm.
FLOOR = 2.0


#: G statistics: like a chi-square they vary whatever the feature does, and need no floor.
OF_G: frozenset[StatisticName] = frozenset({"shape", "shares"})


def place_of(statistic: StatisticName) -> int:
    """Return the row of a statistic in arrays of shape (S, F)."""
    return PLACE[statistic]
