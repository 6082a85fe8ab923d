"""What is learned of a feature from its reference windows: its reference, its baselines, and how wide it is to be judged.

Where a reference is correlated from window to window, or its windows hold few values, neighbouring windows are merged
before they are judged: 2, 4, 8 or 16 of them, as many as it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from detectors.baseline import Baseline, learn
from detectors.columns import Feature
from detectors.reference import FeatureReference, learn_reference
from detectors.sample import Floats
from detectors.season import COARSE_SECONDS, DAY_SECONDS, Flags, choose, local_seconds
from detectors.stack import Stack
from detectors.statistic import (
    FLOOR,
    OF_CATEGORIES,
    OF_NUMBERS,
    STATISTICS,
    Measures,
    StatisticName,
    measure,
    names_for,
    place_of,
)
from detectors.tally import NAMED, NUMBERS, Tally, merged, tally

#: A statistic that fewer reference windows spoke of is not watched.
_MIN_MEASURES = 8
#: Features whose sums are held at a time.
_AT_ONCE = 64
#: Merged windows hold so many values at least, are correlated by no more, and of the reference so many are left.
_LEAST_VALUES, _MOST_CORRELATED, _LEAST_WINDOWS = 8, 0.6, 32
_STRIDES = (1, 2, 4, 8, 16)
#: A volume that lies off by less than a half or double for good is no news while the reference knows less than a week: the
#: weekend may do it. PageHinkley lets half a standard deviation pass.
_UNKNOWN_WEEK = 2 * math.log(2)

#: (first second, rows, features of each part) of a window.
Reference = tuple[float, int, Sequence[Mapping[str, Feature]]]


class Learned(msgspec.Struct, frozen=True):
    """What came of it for one feature; `stride` is how many windows are merged before they are judged."""

    reference: FeatureReference
    baselines: dict[StatisticName, Baseline]
    stride: int = 1


class _Calendar(msgspec.Struct, frozen=True):
    """How a reference sees time."""

    window_seconds: float
    reference_seconds: float
    timezone: str
    holidays: str

    def local(self, starts: Floats) -> Floats:
        """Return the seconds of the local week."""
        return np.array([local_seconds(start, self.timezone, self.holidays) for start in starts.tolist()])


def learn_features(
    windows: Sequence[Reference],
    names: Sequence[str],
    *,
    window_seconds: float,
    reference_seconds: float,
    timezone: str,
    holidays: str,
    outlier_beyond: float,
) -> dict[str, Learned]:
    """Return feature -> what its reference windows, in order of time, say of it."""
    calendar = _Calendar(window_seconds, reference_seconds, timezone, holidays)
    found: dict[str, Learned] = {}
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        references = {
            name: learn_reference([[part[name] for part in parts if name in part] for _, _, parts in windows]) for name in some
        }
        found |= _learn(windows, references, calendar, outlier_beyond)
    return found


def _learn(
    windows: Sequence[Reference], references: dict[str, FeatureReference], calendar: _Calendar, outlier_beyond: float
) -> dict[str, Learned]:
    stack = Stack({name: _without_singles(reference) for name, reference in references.items()})
    starts = np.array([start for start, _, _ in windows])
    sums = [tally(parts, rows, stack, outlier_beyond=outlier_beyond) for _, rows, parts in windows]
    left = list(references)
    found: dict[str, Learned] = {}
    for stride in _STRIDES:
        groups, begins = _groups(starts, stride, calendar.window_seconds)
        wide = sums if stride == 1 else merged(sums, groups)
        mine = {name: references[name] for name in left}
        wider = msgspec.structs.replace(calendar, window_seconds=stride * calendar.window_seconds)
        baselines = _baselines([measure(one, stack) for one in wide], begins, mine, stack, wider)
        values = np.array([_values(one, stack) for one in wide]).mean(axis=0)
        coarse = 2 * wider.window_seconds >= COARSE_SECONDS
        last = stride == _STRIDES[-1] or coarse or len(begins) < 2 * _LEAST_WINDOWS
        for name in list(left):
            many = values[stack.column[name]] >= _LEAST_VALUES or not references[name].has_values
            if last or (many and _correlation(baselines[name]) <= _MOST_CORRELATED):
                found[name] = Learned(references[name], baselines[name], stride)
                left.remove(name)
        if not left:
            break
    return {name: found[name] for name in references}


def _without_singles(reference: FeatureReference) -> FeatureReference:
    again = {category: count for category, count in reference.known.items() if count > 1}
    return msgspec.structs.replace(reference, known=again)


def _groups(starts: Floats, stride: int, window_seconds: float) -> tuple[np.ndarray, Floats]:
    """Return the number of the merged window of each window, from 0 on, and the first second of each merged one."""
    wide = np.round(starts / window_seconds).astype(np.int64) // stride
    distinct, numbers = np.unique(wide, return_inverse=True)
    return np.asarray(numbers), distinct.astype(np.float64) * (stride * window_seconds)


def _values(one: Tally, stack: Stack) -> Floats:
    """Return how many numbers or categories of each feature a window has, whichever are more."""
    return np.asarray(np.maximum(one.sums[NUMBERS], one.sums[NAMED] * stack.categorical))


def _correlation(baselines: Mapping[StatisticName, Baseline]) -> float:
    told = [baselines[name].correlation for name in (*OF_NUMBERS[:3], *OF_CATEGORIES[:1]) if name in baselines]
    return max(told, default=0.0)


def _baselines(
    judged: Sequence[Measures], starts: Floats, references: Mapping[str, FeatureReference], stack: Stack, calendar: _Calendar
) -> dict[str, dict[StatisticName, Baseline]]:
    """Return feature -> statistic -> baseline; those that the same windows speak of are learned together."""
    found: dict[str, dict[StatisticName, Baseline]] = {name: {} for name in references}
    values, within, count = (
        np.array([getattr(one, part) for one in judged]).reshape(len(judged), len(STATISTICS), -1)
        for part in ("value", "within", "count")
    )
    local = calendar.local(starts)
    together: dict[bytes, tuple[Flags, list[tuple[str, StatisticName]]]] = {}
    for name, reference in references.items():
        for statistic in names_for(name, reference):
            there = ~np.isnan(values[:, place_of(statistic), stack.column[name]])
            if there.sum() >= _MIN_MEASURES:
                together.setdefault(there.tobytes(), (there, []))[1].append((name, statistic))
    for there, cells in together.values():
        rows = [place_of(statistic) for _, statistic in cells]
        columns = [stack.column[name] for name, _ in cells]
        learned = learn(
            choose(calendar.window_seconds, calendar.reference_seconds, local[there]),
            calendar.window_seconds,
            starts=starts[there],
            local=local[there],
            values=values[there][:, rows, columns],
            within=within[there][:, rows, columns],
            counts=count[there][:, rows, columns],
            floor=FLOOR,
        )
        for (name, statistic), baseline in zip(cells, learned, strict=True):
            found[name][statistic] = baseline
    return {
        name: {statistic: mine[statistic] for statistic in names_for(name, references[name]) if statistic in mine}
        for name, mine in found.items()
    }


def learn_volume(
    buckets: Sequence[tuple[float, int]], window_seconds: float, *, reference_seconds: float, timezone: str, holidays: str
) -> Learned | None:
    """Return what the rows of each bucket, in order of time, say of the traffic; None when there are too few buckets."""
    if len(buckets) < _MIN_MEASURES:
        return None
    calendar = _Calendar(window_seconds, reference_seconds, timezone, holidays)
    starts, rows = (np.array(column, dtype=np.float64) for column in zip(*buckets, strict=True))
    local = calendar.local(starts)
    (baseline,) = learn(
        choose(window_seconds, reference_seconds, local),
        window_seconds,
        starts=starts,
        local=local,
        values=np.log1p(rows)[:, None],
        within=np.ones((len(rows), 1)),
        counts=np.maximum(1.0, rows)[:, None],
        floor=FLOOR,
        least=_UNKNOWN_WEEK if reference_seconds < 7 * DAY_SECONDS else 0.0,
    )
    nothing = FeatureReference(quantiles=np.empty(0), shares={}, other=0.0, known={}, mean=float(rows.mean()))
    return Learned(nothing, {"volume": baseline})
