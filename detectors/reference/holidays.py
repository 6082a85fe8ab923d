"""The day of the week by which a date is judged: a public holiday is judged like the day of rest of its country.

Rules:
1. The name of a calendar is a country of ISO 3166, "DE", or a country and its subdivision, "DE-BY", as the library `holidays`
   knows them. An empty name means no calendar: every date is judged by its own day of the week.
2. The library is asked for a whole year at a time, and for no names of holidays. So its answer for a date depends
   neither on earlier questions nor on the language of the machine.
3. The day of rest is the last day of the weekend: Sunday, but Saturday or Friday where Sunday is a working day.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache

import holidays
from holidays.registry import COUNTRIES

_SUNDAY = 6
#: Years kept in memory: five for each of the models that a configuration may have.
_MOST_YEARS = 256


def weekday(on: date, calendar: str) -> int:
    """Return the day of the week by which a date is judged, 0 for Monday to 6 for Sunday.

    >>> weekday(date(2026, 1, 6), "DE"), weekday(date(2026, 1, 6), "DE-BY")  # a Tuesday, Epiphany in Bavaria
    (1, 6)
    """
    return _days_of_rest(calendar, on.year).get(on, on.weekday()) if calendar else on.weekday()


def countries() -> Mapping[str, str]:
    """Return spelling -> code, for every spelling of every country; the code is a spelling too.

    >>> countries()["Germany"], countries()["DEU"], countries()["DE"]
    ('DE', 'DE', 'DE')
    """
    return {spelling: names[1] for names in COUNTRIES.values() for spelling in names}


def subdivisions(country: str) -> Mapping[str, str]:
    """Return spelling -> code, for every spelling of every subdivision of a country; the code is a spelling too.

    >>> subdivisions("DE")["Bayern"], subdivisions("DE")["BY"]
    ('BY', 'BY')
    """
    known = holidays.country_holidays(country)
    return {**known.subdivisions_aliases, **{code: code for code in known.subdivisions}}


@lru_cache(maxsize=_MOST_YEARS)
def _days_of_rest(calendar: str, year: int) -> Mapping[date, int]:
    """Return public holiday -> the day of the week by which it is judged, for a year."""
    country, _, subdivision = calendar.partition("-")
    with warnings.catch_warnings():
        # The library knows some countries for a few decades only, and warns; other years have no holidays here.
        warnings.simplefilter("ignore")
        year_of_holidays = holidays.country_holidays(country, subdivision or None, years=year, expand=False)
    return {on: _day_of_rest(year_of_holidays, on) for on in year_of_holidays}


def _day_of_rest(year_of_holidays: holidays.HolidayBase, on: date) -> int:
    """Return the last day of the weekend in the seven days that end with `on`; a country's weekend may change over time."""
    week = (on - timedelta(days=back) for back in range(7))
    return max((day.weekday() for day in week if year_of_holidays.is_weekend(day)), default=_SUNDAY)
