"""What goes onto the events topic, and how far a worker has to come: the log of benchmarks.chaos, or any other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.exactness.chaos.log import input_log
from benchmarks.exactness.chaos.monitors import (
    LABEL_WITHIN_SECONDS,
    LATENESS_SECONDS,
    MONITORS,
    REFERENCE_WINDOWS,
    WINDOW_SECONDS,
)

#: As benchmarks/exactness/chaos has them with --quick.
_SEED, _PARTITIONS, _WINDOWS, _ROWS = 1, 4, 125, 60

# The models of benchmarks/exactness/chaos/monitors.py, in the keys of before. One has a detector of River, which snapshots hold
# as a pickle: fhddm, because there it is in a class of Driftline's own.
_MODEL = """
[models.{name}]
factory = "river.linear_model:LogisticRegression"
window = "{window:g}s"
lateness = "{lateness:g}s"
false_alarms = "900 per week"
max_values = 10000

[models.{name}.reference]
duration = "{reference:g}s"
min_windows = 30

[models.{name}.errors]
label_within = "{label_within:g}s"
detector = "{detector}"

[models.{name}.outliers]
beyond = 5.0

[models.{name}.retrain]
cooldown = "1h"
"""
#: Model -> detector of errors, where it is not the default.
_STOCK = {"fraud": "fhddm"}


class SentEvent(NamedTuple):
    """One record as it is sent."""

    partition: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class ReplayedLog:
    """Records in the order in which they are sent; the last of each partition close all windows before `end`.

    Args:
        begin: event time of the first of them, epoch seconds; so is `end`.
        closing: partition -> offset of the first record that closes windows and stays in an open one itself.
        models: model -> its part of driftline.toml.
    """

    records: Sequence[SentEvent]
    partitions: int
    begin: float
    end: float
    closing: dict[int, int]
    models: dict[str, str]


@functools.cache
def chaos_log() -> ReplayedLog:
    """Return the log of `benchmarks.chaos --quick --seed 1`."""
    made = input_log(_SEED, partitions=_PARTITIONS, windows=_WINDOWS, rows=_ROWS)
    closing = {
        partition: next(offset for offset, entry in enumerate(entries) if entry.closing)
        for partition, entries in enumerate(made.by_partition())
    }
    models = {
        monitor.name: _MODEL.format(
            name=monitor.name,
            window=WINDOW_SECONDS,
            lateness=LATENESS_SECONDS,
            reference=REFERENCE_WINDOWS * WINDOW_SECONDS,
            label_within=LABEL_WITHIN_SECONDS,
            detector=_STOCK.get(monitor.name, "page_hinkley"),
        )
        for monitor in MONITORS
    }
    return ReplayedLog(
        records=tuple(SentEvent(entry.partition, entry.key, entry.value) for entry in made.entries),
        partitions=_PARTITIONS,
        begin=made.end - _WINDOWS * WINDOW_SECONDS,
        end=made.end,
        closing=closing,
        models=models,
    )
