"""River's ImageSegments, a row a minute, answered by a naive Bayes; two columns are exchanged from row 1,500 on."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

from river import datasets, naive_bayes

from benchmarks.exactness.same_bytes.replays import Build, Replay, ReplaySource

_TRAINED, _EXCHANGED = 500, 1500
_COLUMNS = ("hue-mean", "intensity-mean")
_FIRST = datetime(2026, 3, 2, tzinfo=UTC)

_CONFIG = """
[models.segments]
window = "20m"
false_alarms = "1 per day"

[models.segments.reference]
duration = "12h"
min_windows = 30

[models.segments.errors]
detector = "hddm_a"
window = "20m"

[models.segments.retrain]
enabled = false
"""
_KSWIN = _CONFIG.replace('false_alarms = "1 per day"', 'false_alarms = "1 per day"\ndetector = "kswin"').replace(
    "hddm_a", "fhddm"
)


def _write(folder: Path) -> None:
    model = naive_bayes.GaussianNB()
    with (folder / "segments.csv").open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for number, (found, truth) in enumerate(datasets.ImageSegments()):
            features = dict(found)
            if number >= _EXCHANGED:
                one, other = _COLUMNS
                features[one], features[other] = features[other], features[one]
            row = {
                "at": (_FIRST + timedelta(minutes=number)).isoformat(),
                **features,
                "answer": model.predict_one(features) if number else None,
                "truth": truth,
            }
            if number < _TRAINED:
                model.learn_one(features, truth)
            if writer is None:
                writer = csv.DictWriter(file, list(row), delimiter=";")
                writer.writeheader()
            writer.writerow(row)


_ROLES = ("--time", "at", "--label", "truth", "--prediction", "answer", "--delimiter", ";")
SOURCE = ReplaySource(
    "segments",
    "a data set of River, ImageSegments, with two columns exchanged",
    _write,
    {"driftline.toml": _CONFIG, "kswin.toml": _KSWIN},
    (
        Replay("csv", ("segments.csv", *_ROLES), windows="segments.windows"),
        Replay("kswin", ("segments.csv", *_ROLES), config="kswin.toml"),
        Build("reference", ("segments.csv", *_ROLES, "--to", "2026-03-03T00:00:00Z"), "segments.reference.json"),
    ),
)
