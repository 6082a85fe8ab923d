"""The demo's data, as rows in every format: 45,312 half hours of an electricity market.

A label is known a day later, so the answer is the class of the same half hour of the day before.
"""

from __future__ import annotations

import csv
import gzip
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa  # type: ignore[import-untyped] # pyarrow has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped] # as above

from benchmarks.exactness.same_bytes.replays import Build, Replay, ReplaySource

_EXAMPLE = Path("examples") / "electricity"
#: The first half hour, on the market's clock, which knows no summer time.
_FIRST = datetime(1996, 5, 7, tzinfo=timezone(timedelta(hours=10)))
_HALF_HOUR = timedelta(minutes=30)
_DAY = 48
_FEATURES = ("day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")

# The demo's own, but for the factory, which lies beside it.
_CONFIG = """
[models.electricity]
factory = "river.linear_model:LogisticRegression"
window = "1d"
lateness = "12h"
timezone = "Australia/Sydney"

[models.electricity.reference]
duration = "28d"
"""
_STRICTER = _CONFIG.replace('window = "1d"', 'window = "1d"\nfalse_alarms = "1 per month"\nfeatures = ["transfer", "nswdemand"]')
_HOURLY = """
[models.electricity]
window = "3h"
false_alarms = "2 per week"
timezone = "Australia/Sydney"
holidays = "AU-NSW"
volume = false

[models.electricity.reference]
duration = "4w"

[models.electricity.errors]
window = "1d"
label_within = "3d"
"""


def _rows() -> list[dict[str, Any]]:
    here = Path(__file__).resolve()
    home = next(parent / _EXAMPLE for parent in here.parents if (parent / _EXAMPLE).is_dir())
    with gzip.open(home / "electricity.csv.gz", "rt", newline="") as file:
        read = list(csv.DictReader(file))
    return [
        {
            "at": _FIRST + number * _HALF_HOUR,
            **{name: float(row[name]) for name in _FEATURES},
            "answer": read[number - _DAY]["class"] if number >= _DAY else None,
            "class": row["class"],
        }
        for number, row in enumerate(read)
    ]


def _write(folder: Path) -> None:
    rows = _rows()
    with (folder / "electricity.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "at": row["at"].isoformat()} for row in rows)
    (folder / "electricity.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "electricity.parquet", row_group_size=10_000)


_MAPPED = ("--time", "at", "--label", "class", "--prediction", "answer", "--all")
SOURCE = ReplaySource(
    "electricity",
    "the demo's data, as CSV, JSON Lines and Parquet",
    _write,
    {"driftline.toml": _CONFIG, "stricter.toml": _STRICTER, "hourly.toml": _HOURLY},
    (
        Replay("csv", ("electricity.csv", *_MAPPED), windows="electricity.windows"),
        Replay("stdin", ("-", "--format", "csv", *_MAPPED), stdin="electricity.csv"),
        Replay("jsonl", ("electricity.jsonl", *_MAPPED)),
        Replay("parquet", ("electricity.parquet", *_MAPPED)),
        Replay("windows again", ("electricity.windows", "--windows", "--all")),
        Replay("windows, stricter", ("electricity.windows", "--windows", "--all"), config="stricter.toml"),
        Replay("windows of 3 h", ("electricity.csv", *_MAPPED), config="hourly.toml", windows="hourly.windows"),
        Build(
            "reference",
            ("electricity.csv", *_MAPPED[:-1], "--from", "1996-07-01T00:00:00Z", "--to", "1996-09-01T00:00:00Z"),
            "electricity.reference.json",
        ),
    ),
)
