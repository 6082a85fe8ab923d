"""Durations and rates as people write them: "10s", "3d", "1 per week".

    >>> duration("5m"), duration("250ms"), weekly_rate("2 per day")
    (300.0, 0.25, 14.0)
    >>> format_duration(259200.0), format_rate(14.0)
    ('3d', '2 per day')

A month is a twelfth of a year of 365.25 days.
"""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PERIODS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 365.25 / 12 * 86_400, "year": 365.25 * 86_400}
_WEEK = _UNITS["w"]
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d|w)")
_RATE = re.compile(rf"(-?[0-9]{{1,12}}(?:\.[0-9]{{1,6}})?) per (?:([1-9][0-9]{{0,5}}) )?({'|'.join(_PERIODS)})s?")


def duration(text: str) -> float:
    """Return the seconds that a text such as "10s" stands for.

    Raises:
        ValueError: the text is not a number with one of ms, s, m, h, d, w.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a duration: {text!r}")
    # Rounded to the microsecond, so that "3ms" is 0.003 and not 0.003 plus a bit.
    return round(float(found[1]) * _UNITS[found[2]], 6)


def weekly_rate(text: str) -> float:
    """Return how many a week a text such as "1 per month" or "3 per 2 weeks" stands for; may be 0 or less.

    Raises:
        ValueError: the text is not of that form.
    """
    found = _RATE.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"not a rate: {text!r}")
    return float(found[1]) * _WEEK / (int(found[2] or 1) * _PERIODS[found[3]])


def format_duration(seconds: float) -> str:
    """Return the shortest text that `duration` reads back as the same seconds.

    >>> format_duration(0.25), format_duration(90), format_duration(0)
    ('250ms', '90s', '0s')
    """
    for unit in ("w", "d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def format_rate(per_week: float) -> str:
    """Return a rate in the period that gives the smallest whole number, else per week.

    >>> format_rate(1.0), format_rate(weekly_rate("1 per month")), format_rate(0.3)
    ('1 per week', '1 per month', '0.3 per week')
    """
    for period, seconds in _PERIODS.items():
        count = per_week * seconds / _WEEK
        if round(count) >= 1 and abs(count - round(count)) < 1e-9 * count:
            return f"{round(count)} per {period}"
    return f"{per_week:g} per week"
