"""Which day of the week a date is like: a public holiday is like the day on which its country rests.

Rules:
1. A calendar is named by a country of ISO 3166, "DE", or by one and its subdivision, "DE-BY", as the library `holidays`
   knows them. No name is no calendar: every date is like its own day of the week.
2. The library is asked for one year at a time, whole, and for no names of holidays. So what it says of a date depends
   neither on the dates asked before nor on the language of the machine.
3. The day of rest is the last one of the weekend: Sunday, but Saturday or Friday where Sunday is a working day.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache

import holidays
from holidays.registry import COUNTRIES

_SUNDAY = 6
#: Years kept: of each of the models that one configuration may have, five.
_MOST_YEARS = 256


def weekday(on: date, calendar: str) -> int:
    """Return the day of the week that a date is like, 0 for Monday to 6 for Sunday.

    >>> weekday(date(2026, 1, 6), "DE"), weekday(date(2026, 1, 6), "DE-BY")  # a Tuesday, Epiphany in Bavaria
    (1, 6)
    """
    return _days_of_rest(calendar, on.year).get(on, on.weekday()) if calendar else on.weekday()


def countries() -> Mapping[str, str]:
    """Return every spelling of a country, its code among them -> its code.

    >>> countries()["Germany"], countries()["DEU"], countries()["DE"]
    ('DE', 'DE', 'DE')
    """
    return {spelling: names[1] for names in COUNTRIES.values() for spelling in names}


def subdivisions(country: str) -> Mapping[str, str]:
    """Return every spelling of a subdivision of a country, its code among them -> its code.

    >>> subdivisions("DE")["Bayern"], subdivisions("DE")["BY"]
    ('BY', 'BY')
    """
    known = holidays.country_holidays(country)
    return {**known.subdivisions_aliases, **{code: code for code in known.subdivisions}}


@lru_cache(maxsize=_MOST_YEARS)
def _days_of_rest(calendar: str, year: int) -> Mapping[date, int]:
    """Return the public holidays of a year -> the day of the week that each is like."""
    country, _, subdivision = calendar.partition("-")
    with warnings.catch_warnings():
        # Of some countries it knows a few decades only, and warns; a year outside has no holidays here.
        warnings.simplefilter("ignore")
        found = holidays.country_holidays(country, subdivision or None, years=year, expand=False)
    return {on: _day_of_rest(found, on) for on in found}


def _day_of_rest(found: holidays.HolidayBase, on: date) -> int:
    """Return the last day of the weekend, of those in the seven days that end with a date: weekends have been moved."""
    week = (on - timedelta(days=back) for back in range(7))
    return max((day.weekday() for day in week if found.is_weekend(day)), default=_SUNDAY)
