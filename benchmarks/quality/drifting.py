"""Streams of real labelled rows without drifts of their own, into which drifts are put at known rows.

Rules:
1. Rows are shuffled, so that what drifts there were are gone; where a data set is shorter than the stream it is gone through
   again, in another order each time. The first third of it, 1,000 rows at most, trains classifiers and is never streamed.
2. Every second regime is the data as they are, the others are changed, each in a way of its own: so drifts lead away and back.
   Between two drifts are 4,000 to 6,000 rows. In a gradual drift each row of the transition comes from the new regime with
   a chance that grows from 0 to 1.
3. The classifier is Gaussian naive Bayes, trained once for each regime and then served as it is. One that went on learning would
   repair itself, and the errors would show how quickly it forgets instead of what the watcher saw. Errors are kept of
   two models: the one of the regime, and the one before it.
4. A drift's interval ends MAX_DELAY rows after its transition. By then it shows without any detector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from river import datasets

from benchmarks.quality.seasonal import read_columns
from detectors.arrays import Floats
from detectors.identity import seed

Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Rows from the begin of a gradual drift to its end; an abrupt one has none.
TRANSITION = 1000
MAX_DELAY = 1000
_LEAST_GAP, _MOST_GAP = 4000, 6000
_POOL = 1000


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A data set: values of shape (n, d), labels from 0 on of shape (n,)."""

    name: str
    columns: list[str]
    values: Floats
    labels: Labels

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.labels.max()) + 1


#: Bundled with River, so always there.
BUNDLED: Mapping[str, Callable[[], datasets.base.Dataset]] = {
    "phishing": datasets.Phishing,
    "bananas": datasets.Bananas,
    "segments": datasets.ImageSegments,
    "shuttle": datasets.Shuttle,
}
#: (file, column of the label). Usenet is left out: its concepts contradict each other, so a shuffle leaves nothing to learn.
FILES = {"elec2": ("elec2.csv.gz", "class"), "sea": ("sea_50k.csv.gz", "label")}


def bundled(name: str) -> LabelledData:
    """Return a data set that River brings along."""
    rows, labels = zip(*((list(x.values()), str(y)) for x, y in BUNDLED[name]()), strict=True)
    columns = list(next(iter(BUNDLED[name]()))[0])
    return LabelledData(name, columns, np.array(rows, dtype=np.float64), _numbered(labels))


def from_file(name: str, home: Path) -> LabelledData:
    """Return a data set of a directory.

    Raises:
        UnavailableError: its file is not there.
    """
    file, label = FILES[name]
    columns = read_columns(home, file)
    labels = _numbered(columns.pop(label))
    return LabelledData(name, list(columns), np.array(list(columns.values()), dtype=np.float64).T, labels)


def _numbered(labels: object) -> Labels:
    return np.unique(np.array(labels), return_inverse=True)[1].astype(np.int64)


class NaiveBayes:
    """Gaussian naive Bayes as in River's `naive_bayes`, for all rows at once: a stream has millions of predictions."""

    def __init__(self, values: Floats, labels: Labels) -> None:
        parts = [values[labels == label] for label in range(int(labels.max()) + 1)]
        least = 1e-9 * max(1e-9, float(values.var(axis=0).max()))  # of a column that is constant in a class
        with np.errstate(divide="ignore"):
            self._priors = np.log([len(part) / len(values) for part in parts])
        empty = np.zeros((2, values.shape[1]))  # for a label with fewer than two rows, which is then next to never the likeliest
        self._means = np.array([(part if len(part) > 1 else empty).mean(axis=0) for part in parts])
        self._variances = np.array([np.maximum((part if len(part) > 1 else empty).var(axis=0, ddof=1), least) for part in parts])

    def predict(self, values: Floats) -> Labels:
        """Return the likeliest label of each row."""
        best = [
            prior - 0.5 * (np.log(variance) + np.square(values - mean) / variance).sum(axis=1)
            for prior, mean, variance in zip(self._priors, self._means, self._variances, strict=True)
        ]
        chosen: Labels = np.argmax(np.array(best), axis=0)
        return chosen


#: Rows and their labels -> what they become.
Change = Callable[[Floats, Labels], tuple[Floats, Labels]]


def _unchanged(values: Floats, labels: Labels) -> tuple[Floats, Labels]:
    return values, labels


def _labels(table: LabelledData, draw: np.random.Generator) -> Change:
    """Two labels change places."""
    one, other = draw.choice(table.classes, size=2, replace=False)

    def change(values: Floats, labels: Labels) -> tuple[Floats, Labels]:
        return values, np.where(labels == one, other, np.where(labels == other, one, labels))

    return change


def _region(table: LabelledData, draw: np.random.Generator) -> Change:
    """In a quarter of the rows, beyond a plane at random, labels move on to the next one."""
    scale = np.where(table.values.std(axis=0) > 0, table.values.std(axis=0), 1.0)
    plane = draw.normal(size=table.values.shape[1]) / scale
    border = np.quantile(table.values @ plane, 0.75)

    def change(values: Floats, labels: Labels) -> tuple[Floats, Labels]:
        return values, np.where(values @ plane > border, (labels + 1) % table.classes, labels)

    return change


def _columns(table: LabelledData, draw: np.random.Generator) -> Change:
    """Half of the columns change places."""
    places = _places(table, draw)
    return lambda values, labels: (values[:, places], labels)


def _class(table: LabelledData, draw: np.random.Generator) -> Change:
    """Half of the columns change places, in the rows of one label only."""
    places, label = _places(table, draw), int(draw.integers(table.classes))
    return lambda values, labels: (np.where((labels == label)[:, None], values[:, places], values), labels)


def _places(table: LabelledData, draw: np.random.Generator) -> NDArray[np.int64]:
    columns = table.values.shape[1]
    chosen = draw.choice(columns, size=max(2, columns // 2), replace=False)
    places = np.arange(columns)
    places[chosen] = np.roll(chosen, 1)
    return places


def _shift(table: LabelledData, draw: np.random.Generator) -> Change:
    """Columns, a third of them, move by one standard deviation; labels stay with their rows."""
    columns = table.values.shape[1]
    offset = np.zeros(columns)
    chosen = draw.choice(columns, size=max(1, columns // 3), replace=False)
    offset[chosen] = draw.choice([-1.0, 1.0], size=len(chosen)) * table.values[:, chosen].std(axis=0)
    return lambda values, labels: (values + offset, labels)


#: Kind of drift -> how a change of that kind is drawn. The first two move labels alone, the last one columns alone.
KINDS: Mapping[str, Callable[[LabelledData, np.random.Generator], Change]] = {
    "labels": _labels,
    "region": _region,
    "columns": _columns,
    "class": _class,
    "shift": _shift,
}


@dataclass(frozen=True, slots=True)
class DriftingRows:
    """Rows with drifts.

    Args:
        values: of shape (n, d).
        drifts: (begin, end of its interval) of each, in rows.
        fresh: whether the model of the regime is wrong about a row, shape (n,).
        stale: whether the one before it is, in intervals; elsewhere False.
        rises: by how much each drift, once it is complete, raises the error of the model that is served.
    """

    data: str
    kind: str
    columns: list[str]
    values: Floats
    drifts: list[tuple[int, int]]
    fresh: Flags
    stale: Flags
    rises: list[float]


def stream_of(table: LabelledData, kind: str, *, transition: int, drifts: int, number: int) -> DriftingRows:
    """Return a stream of a data set.

    Args:
        table: the data set.
        kind: of its drifts, from KINDS.
        transition: rows that a drift takes, 0 for abrupt ones.
        drifts: how many.
        number: of the stream; another one has other rows, places and changes, whatever the transition.
    """
    draw = np.random.default_rng(seed("injected", table.name, kind, str(number)))
    order = draw.permutation(len(table.labels))
    pool, rest = np.split(order, [min(_POOL, len(order) // 3)])
    gaps = draw.integers(_LEAST_GAP, _MOST_GAP + 1, size=drifts + 1)
    length, begins = int(gaps.sum()), np.cumsum(gaps)[:-1]
    picked = np.concatenate([draw.permutation(rest) for _ in range(math.ceil(length / len(rest)))])[:length]
    changes = [KINDS[kind](table, draw) if number % 2 else _unchanged for number in range(drifts + 1)]

    rows = np.arange(length)
    regime = np.searchsorted(begins, rows, side="right")
    since = rows - np.concatenate(([0], begins))[regime]
    early = (regime > 0) & (since < transition) & (draw.random(length) * max(1, transition) >= since + 0.5)
    concept = regime - early
    values, labels = table.values[picked], table.labels[picked]
    fresh, stale = np.zeros(length, dtype=bool), np.zeros(length, dtype=bool)
    in_interval = (regime > 0) & (since < transition + MAX_DELAY)
    models = []
    for place, change in enumerate(changes):
        mine = concept == place
        values[mine], labels[mine] = change(values[mine], labels[mine])
        models.append(NaiveBayes(*change(table.values[pool], table.labels[pool])))
    rises = []
    for place, model in enumerate(models):
        mine = regime == place
        fresh[mine] = model.predict(values[mine]) != labels[mine]
        if place:
            mine &= in_interval
            stale[mine] = models[place - 1].predict(values[mine]) != labels[mine]
            before = fresh[(regime == place - 1) & ~in_interval].mean()
            rises.append(float(stale[mine & (since >= transition)].mean() - before))
    intervals = [(begin, begin + transition + MAX_DELAY) for begin in begins.tolist()]
    return DriftingRows(table.name, kind, table.columns, values, intervals, fresh, stale, rises)
