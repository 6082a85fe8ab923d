"""Seconds of the local week: a season is a function of this time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from detectors.arrays import Floats
from detectors.reference.holidays import weekday

DAY_SECONDS = 86_400.0
WEEK_SECONDS = 7 * DAY_SECONDS


#: 31 December 9999 at 00:00 UTC: later times are in the year 10000 in some time zones, which Python's dates do not have.
_LAST_MOMENT = 253_402_214_400.0


def local_seconds(ts: float, timezone: str, holidays: str = "") -> float:
    """Return seconds since Monday 00:00 on the wall clock of the zone; a public holiday has those of its day of rest.

    Args:
        ts: epoch seconds.
        timezone: name in the time zone database.
        holidays: calendar of public holidays, as detectors/reference/holidays.py names them; empty for none.

    >>> local_seconds(0.0, "UTC")  # 1 January 1970 was a Thursday
    259200.0
    >>> local_seconds(1_777_593_600.0, "UTC"), local_seconds(1_777_593_600.0, "UTC", "DE")  # Friday, 1 May 2026
    (345600.0, 518400.0)
    """
    when = datetime.fromtimestamp(min(ts, _LAST_MOMENT), ZoneInfo(timezone))
    day = weekday(when.date(), holidays) if holidays else when.weekday()
    return day * DAY_SECONDS + when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6


def local_times(starts: Floats, timezone: str, holidays: str = "") -> Floats:
    """Return `local_seconds` of each time, shape (w,)."""
    return np.array([local_seconds(ts, timezone, holidays) for ts in starts.tolist()], dtype=np.float64)
