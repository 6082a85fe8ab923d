"""40,000 parcels in nine days, whose weights come in grams from the middle on; some of it missing, late or malformed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.exactness.same_bytes.replays import Build, Replay, ReplaySource

_SEED = 20_261
_ROWS = 40_000
#: Seconds between two rows, and the first of them.
_APART, _FIRST = 20.0, 1_790_553_600.0
_GRAMS = 1000.0
_COUNTRIES = ("NO", "SE", "DK", "FI", "DE")
_CODES = ("0042", "7", "0815", "1e3")

# Windows have six rows and a queue that moves slowly: several of them are judged together.
_CONFIG = """
[models.goods]
factory = "river.linear_model:LinearRegression"
window = "2m"
lateness = "1m"
false_alarms = "3 per week"
categorical = ["code"]
volume = true
max_features = 20

[models.goods.reference]
duration = "3d"

[models.goods.errors]
label_within = "6h"
window = "30m"

[models.goods.outliers]
beyond = 4.5
per_window = 3

[models.goods.retrain]
cooldown = "6h"
"""
# So wide that a window has more values than are held as rows.
_WIDE = """
[models.goods]
window = "4h"
lateness = "1m"
false_alarms = "2 per day"
categorical = ["code"]
max_values = 10000

[models.goods.reference]
duration = "4d"

[models.goods.errors]
detector = "page_hinkley"
"""
_WITH_REFERENCE = _CONFIG.replace('duration = "3d"', 'duration = "3d"\nfile = "goods.reference.json"')


def _slow(dice: np.random.Generator, rows: int) -> list[float]:
    """Return values that remember the one before."""
    found = [0.0]
    for step in dice.normal(0.0, 1.0, rows - 1).tolist():
        found.append(0.98 * found[-1] + step)
    return found


def _write(folder: Path) -> None:
    dice = np.random.default_rng(_SEED)
    at = _FIRST + np.arange(_ROWS) * _APART + dice.random(_ROWS) * _APART
    at[::997] -= 1800.0  # late by half an hour
    hours = (at % 86_400.0) / 3600.0
    middle = np.arange(_ROWS) >= _ROWS // 2
    weights = dice.gamma(2.0, 1.5, _ROWS) * np.where(middle, _GRAMS, 1.0)
    prices = dice.lognormal(3.0, 0.6, _ROWS) + np.sin(hours / 24.0 * 2.0 * np.pi)
    promised = prices * 0.1 + 2.0
    taken = promised + dice.normal(0.0, 0.4, _ROWS) * np.where(np.arange(_ROWS) >= 0.8 * _ROWS, 3.0, 1.0)
    queues = _slow(dice, _ROWS)
    countries = dice.choice(len(_COUNTRIES), _ROWS, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    codes = dice.integers(len(_CODES), size=_ROWS)
    ages = dice.integers(18, 90, _ROWS)
    missing = dice.random((_ROWS, 3)) < np.array([0.02, 0.1, 0.05])
    lines = ["id,at,weight,price,country,code,age,fragile,queue,promised,taken"]
    for row in range(_ROWS):
        weight = "" if missing[row, 0] else f"{weights[row]:.3f}"
        age = ("", "nan", " ")[row % 3] if missing[row, 1] else str(ages[row])
        taken_days = "" if missing[row, 2] else f"{taken[row]:.2f}"
        fragile = "true" if (row * 7919) % 10 < 3 else "false"
        place = f"{_COUNTRIES[countries[row]]},{_CODES[codes[row]]}"
        days = f"{promised[row]:.2f},{taken_days}"
        lines.append(f"g{row},{at[row]:.3f},{weight},{prices[row]:.4f},{place},{age},{fragile},{queues[row]:.3f},{days}")
    lines.insert(5_000, "no,row")
    lines.insert(15_000, "g,yesterday,1,2,NO,7,30,true,0,2.0,2.0")
    (folder / "goods.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    first = [lines[0], *(each for each in lines[1:13_100] if each.startswith("g"))]
    (folder / "first.csv").write_text("\n".join(first) + "\n", encoding="utf-8")


_ROLES = ("--time", "at", "--label", "taken", "--prediction", "promised", "--ignore", "id")
REFERENCE = Build("reference", ("first.csv", *_ROLES), "goods.reference.json", config="late.toml")
FROM_REFERENCE = Replay("by a reference", ("goods.csv", *_ROLES, "--all"), config="reference.toml")
WINDOWS = Replay("csv", ("goods.csv", *_ROLES, "--all"), windows="goods.windows")
AGAIN = Replay("windows again", ("goods.windows", "--windows", "--all"))
SOURCE = ReplaySource(
    "goods",
    "40,000 generated rows: numbers, categories, nothing; another unit from the middle on",
    _write,
    {
        "driftline.toml": _CONFIG,
        "wide.toml": _WIDE,
        "reference.toml": _WITH_REFERENCE,
        "late.toml": _CONFIG.replace('lateness = "1m"', 'lateness = "1h"'),
    },
    (
        WINDOWS,
        AGAIN,
        Replay("by segment", ("goods.csv", *_ROLES, "--segment", "country", "--all"), config="wide.toml"),
        Replay("windows of 4 h", ("goods.csv", *_ROLES), config="wide.toml", windows="wide.windows"),
        REFERENCE,
        FROM_REFERENCE,
    ),
)
