"""Rows that change for good, in every format that a replay reads, and the events that they would have been."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

#: 2026-11-20T00:00:00Z.
BEGIN = 1_795_132_800.0

CONFIG = """
[models.fraud]
factory = "shop:make"
window = "1m"
categorical = ["code"]

[models.fraud.reference]
duration = "30m"

[models.fraud.retrain]
cooldown = "1h"
"""

#: The options that map the columns of `rows`.
MAPPED = ("--time", "at", "--label", "truth", "--prediction", "answer", "--segment", "shop")
FEATURES = ("amount", "code", "country", "new", "age")

Row = dict[str, Any]


def rows(*, seed: int = 7, seconds: int = 7200, every: int = 3) -> list[Row]:
    """Return rows: after 70 minutes amounts are higher, a country is new, and more answers are wrong."""
    draw = random.Random(seed)
    found: list[Row] = []
    for second in range(0, seconds, every):
        late = second >= 4200
        truth = draw.random() < 0.5
        right = draw.random() > (0.6 if late else 0.1)
        found.append(
            {
                "at": BEGIN + second,
                "amount": round(draw.gauss(6.0 if late else 0.0, 1.0), 6),
                "code": draw.choice((7, 42)),
                "country": draw.choice(("NO", "SE", "XK") if late else ("NO", "SE")),
                "new": draw.random() < 0.3,
                "age": None if draw.random() < 0.1 else float(draw.randint(18, 90)),
                "shop": draw.choice(("", "eu")),
                "truth": truth,
                "answer": truth == right,
            }
        )
    return found


def events(table: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield the events of rows: each a prediction, and its label right behind it."""
    for number, row in enumerate(table):
        yield {
            "model": "fraud",
            "id": number,
            "ts": row["at"],
            "segment": row["shop"],
            "features": {name: row[name] for name in FEATURES},
            "prediction": row["answer"],
        }
        yield {"model": "fraud", "id": number, "ts": row["at"], "label": row["truth"]}


def csv_text(table: Sequence[Row]) -> str:
    """Return rows as CSV; booleans as JSON writes them, nothing for what is missing."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(table[0]))
    writer.writeheader()
    for row in table:
        writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()})
    return text.getvalue()


def write_csv(directory: Path, table: Sequence[Row]) -> Path:
    """Write rows as CSV."""
    path = directory / "rows.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    return path


def write_lines(directory: Path, lines: Iterable[Any], name: str = "rows.jsonl") -> Path:
    """Write values as JSON Lines; bytes as they are."""
    path = directory / name
    path.write_bytes(b"".join((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n" for line in lines))
    return path


def write_parquet(directory: Path, table: Sequence[Row], name: str = "rows.parquet") -> Path:
    """Write rows as Parquet, in several row groups, times as timestamps."""
    arrow = pa.Table.from_pylist(list(table))
    at = pa.array([round(row["at"] * 1e6) for row in table], pa.timestamp("us", tz="UTC"))
    path = directory / name
    pq.write_table(arrow.set_column(0, "at", at), path, row_group_size=500)
    return path
