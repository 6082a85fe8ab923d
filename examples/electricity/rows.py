"""The rows of the Electricity market, as the application and the demo read them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

DATA = Path(__file__).with_name("electricity.csv.gz")
#: The first half hour, on the market's clock, which knows no summer time.
FIRST = datetime(1996, 5, 7, tzinfo=timezone(timedelta(hours=10))).timestamp()
HALF_HOUR = 1800.0
#: Labels are known a day later: 48 rows.
LABEL_DELAY = 48
FEATURES = ("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
#: Where the truth is known to change: the market joined Victoria in early May 1997. Nothing that
#: Driftline runs knows it; the report splits the accuracy there.
JOINED_VICTORIA = 17_424


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One half hour: its number, event time in epoch seconds, features, and whether the price went up."""

    number: int
    ts: float
    features: dict[str, float]
    up: bool


def read_rows(limit: int = 0) -> Iterator[MarketRow]:
    """Yield the rows in order of time, the first `limit` of them, or all."""
    with gzip.open(DATA, "rt", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if limit and number >= limit:
                return
            features = {name: float(row[name]) for name in FEATURES}
            yield MarketRow(number, FIRST + number * HALF_HOUR, features, row["class"] == "UP")
