"""How many false alarms a detector without a budget is expected to raise, from the configuration, before anything is judged.

Rules:
1. The judge's own rules count the monitors. With a file of references, judges that take it over are counted; without one,
   the statistics that a judge watches on a feature of the type.
2. What the configuration does not say is assumed, and the note says what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from detectors.judging.budget import windows_per_week
from detectors.judging.detectors import DETECTORS, Direction
from detectors.judging.judge import Judge
from detectors.judging.stock_rates import StockRate, stock_rate
from detectors.measure.measure import names_for
from detectors.model.channel import Channel
from detectors.reference.feature_reference import QUANTILES, FeatureReference
from detectors.reference.local_time import WEEK_SECONDS
from detectors.spec import ModelSpec, width
from detectors.statistics import UPWARDS, StatisticName
from detectors.windows.record import Kind
from detectors.windows.row import PREDICTION, PREDICTION_LABEL, PREDICTION_SCORE, VOLUME
from driftline.text.wording import listed

__all__ = ["count", "named_monitors", "own_monitors", "stock_notes"]

#: (direction, windows judged together) -> monitors.
Count = Counter[tuple[Direction, int]]

#: References of the two types: numbers of many values, and categories of two.
_NUMBERS = FeatureReference(quantiles=np.arange(float(QUANTILES)), shares={}, other=0.0, known={}, mean=0.0)
_CATEGORIES = FeatureReference(quantiles=np.empty(0), shares={"a": 0.5, "b": 0.5}, other=0.0, known={}, mean=float("nan"))
_SIDES: dict[Direction, str] = {"both": "rises and falls", "up": "rises alone"}


def stock_notes(spec: ModelSpec) -> Iterator[str]:
    """Yield a note for each detector without a budget: the false alarms to expect, the arithmetic, and the assumptions."""
    places: tuple[tuple[Kind, str, str], ...] = (
        ("features", "detector", spec.detector),
        ("outcomes", "outcomes.detector", spec.outcomes.detector),
    )
    for kind, place, name in places:
        if not DETECTORS[name].budgeted:
            yield f"models.{spec.name}.{place} {name} keeps no false-alarm budget; page_hinkley does. {_cost(spec, kind, name)}"


def _cost(spec: ModelSpec, kind: Kind, name: str) -> str:
    judges = _of_file(spec, kind)
    if judges:
        counted = sum((count(judge) for judge in judges), Count())
        groups = [(f"the {_numbered(len(judges), 'segment')} of the file of references", counted)]
        beside = "; what the file lacks learns its own references, and adds to it"
    else:
        groups = list(_assumed_groups(spec, kind))
        beside = f". Assumed: {assumptions(spec)}" if kind == "features" else ""
    parts = [_part(name, counted, whose, windows_per_week(width(spec, kind))) for whose, counted in groups]
    rates = [stock_rate(name, direction) for _, counted in groups for direction, _ in counted]
    stream = str(rates[0]).removeprefix(_rate(rates[0])) if rates else ""
    return f"It is expected to add {'; '.join(parts)}{stream}{beside}"


def _of_file(spec: ModelSpec, kind: Kind) -> list[Judge]:
    """Return the judges that the file of references gives, none without one."""
    return [judge for judge in Channel.begin(spec, kind).judges.values() if judge.references]


def count(judge: Judge) -> Count:
    """Return the monitors of a judge that may raise an alarm."""
    unwatched = judge.unwatched()
    judged = judge.monitors.watched & np.array([name not in unwatched for name in judge.references], dtype=np.bool_)
    rollup_widths = np.broadcast_to(judge.rollup.rollup_widths, judged.shape)
    return Count(
        ("up" if up else "both", int(rollup_width))
        for up, rollup_width in zip(judge.monitors.up[judged].tolist(), rollup_widths[judged].tolist(), strict=True)
    )


def _assumed_groups(spec: ModelSpec, kind: Kind) -> Iterator[tuple[str, Count]]:
    """Yield (whose, monitors) of one segment that has learned from features of the types that are assumed."""
    if kind == "outcomes":
        yield "the outcomes of each segment", Count({("up", 1): 1})
        return
    own = own_monitors(spec)
    if spec.features:
        named = named_monitors(spec)
        whose = [_numbered(len(named), "feature"), *own] if named else list(own)
        yield f"{', '.join(whose)} of each segment", _count_of([*named.values(), *own.values()])
        return
    yield "each feature of numbers and segment", _count_of([names_for("", _NUMBERS)])
    yield "each feature of categories and segment", _count_of([names_for("", _CATEGORIES)])
    yield f"{', '.join(own)} of each segment", _count_of(own.values())


def named_monitors(spec: ModelSpec) -> dict[str, tuple[StatisticName, ...]]:
    """Return feature -> statistics that a judge will watch on it, for the features that the configuration names."""
    names = [name for name in spec.features if name not in PREDICTION]
    return {name: names_for(name, _CATEGORIES if name in spec.categorical else _NUMBERS) for name in names}


def own_monitors(spec: ModelSpec) -> dict[str, tuple[StatisticName, ...]]:
    """Return the same for the output of the model, and for the number of rows where that will be watched."""
    least = spec.reference
    covers_week = max(least.seconds, least.min_windows * spec.window_seconds) >= WEEK_SECONDS
    types = {PREDICTION_LABEL: _CATEGORIES, PREDICTION_SCORE: _NUMBERS}
    if covers_week if spec.volume is None else spec.volume:
        types[VOLUME] = _NUMBERS
    return {name: names_for(name, reference) for name, reference in types.items()}


def assumptions(spec: ModelSpec) -> str:
    """Return the assumptions of the count, as one text."""
    numbers = [name for name in spec.features if name not in (*spec.categorical, *PREDICTION)]
    assumed = (
        [f"numbers of many values in {listed(numbers)} (text and booleans have the monitors of categories)"] if numbers else []
    )
    label = "predictions with a label that is a class and with a score"
    return "; ".join([*assumed, label, "every window judged by itself"])


def _count_of(statistics: Iterable[Sequence[StatisticName]]) -> Count:
    return Count(("up" if name in UPWARDS else "both", 1) for names in statistics for name in names)


def _part(name: str, counted: Count, whose: str, windows: float) -> str:
    expected = 0.0
    terms: list[str] = []
    for direction, rollup_width in sorted(counted):
        rate, monitors, often = stock_rate(name, direction), counted[direction, rollup_width], windows / rollup_width
        expected += rate.per_1000_windows * monitors * often / 1000
        many = f"{monitors:,}" if terms else _numbered(monitors, "monitor")
        terms.append(f"{many} of {_SIDES[direction]} x {often:,.10g} windows a week x {_rate(rate)}")
    about = stock_rate(name, next(iter(counted))[0]).about if counted else "about"
    return f"{about} {expected:.2g} false alarms a week for {whose}: {' + '.join(terms) or 'no monitors'}"


def _rate(rate: StockRate) -> str:
    return f"{rate.about} {rate.per_1000_windows:g} in 1,000 windows"


def _numbered(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
