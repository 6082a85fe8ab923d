"""How many notifications one incident is: a change at one moment in 30 features of 200.

Rules:
1. What changes is drawn anew in each round: which features, when, and in `mixed` rounds how. In `alike` rounds all rise
   by one sd.
2. Every alert that opens an incident counts, from the change until six hours after its end; going back to normal is no news.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.quality.budget.changes import Injected, altering
from benchmarks.quality.budget.kinds import EventStream
from benchmarks.quality.budget.trial import BEGIN, BudgetTrial, Size

Sort = Literal["alike", "mixed"]
SORTS: tuple[Sort, ...] = ("alike", "mixed")
_MIXED = ("+0.5", "+1", "+2", "x1.5", "x2", "x0.5", "30 % nulls")
_KIND = "gaussian"
_TOUCHED_SHARE = 0.15
_CALM_SECONDS, _CHANGED_SECONDS, _AFTER_SECONDS = 2 * 3600.0, 3 * 3600.0, 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Notifications:
    """One round: how many features changed, how many of them were in alerts, and how many incidents opened."""

    sort: Sort
    seed: int
    touched: int
    alerted: int
    count: int


def notifications(sort: Sort, size: Size, seed: int, tick: Callable[[float], None] = lambda _share: None) -> Notifications:
    """Let one incident touch some features of a model, and return what on-call gets of it."""
    draw = np.random.default_rng([seed, *sort.encode()])
    touched = round(_TOUCHED_SHARE * size.features)
    at = size.counted_from + _CALM_SECONDS + float(draw.integers(1, 3600))
    features = draw.choice(size.features, touched, replace=False).tolist()
    names = draw.choice(_MIXED, touched).tolist() if sort == "mixed" else ["+1"] * touched
    injected = [Injected(feature, name, at, at + _CHANGED_SECONDS) for feature, name in zip(features, names, strict=True)]
    trial = BudgetTrial(size.spec, size.features)
    stream = EventStream(_KIND, size.features, begin=BEGIN, seed=seed)
    end = at + _CHANGED_SECONDS + _AFTER_SECONDS
    trial.run(stream, until=end, alter=altering(injected, _KIND, seed), tick=tick)
    alerted = {verdict.feature for verdict in trial.verdicts if verdict.at > at}
    opened = [alert for alert in trial.opened if alert.raised_at > at]
    return Notifications(sort, seed, touched, len(alerted & {f"f{feature}" for feature in features}), len(opened))
