"""Rows for training: the features of predictions with an id, from the blocks of the summarise stage to the topic `rows`.

Rules:
1. Rows are gathered until there are `_MANY`, or the oldest has waited for `_LONGEST_WAIT` seconds, or the partition goes: a
   record of few rows costs the broker far more for each. Until they are sent, the durable offset does not pass them.
2. So after a crash rows come again, in other records. Readers drop what they know by partition and offset.
3. Rows are written for models that are retrained and have a factory; `retrain.rows_per_day` takes a sample (`DailySample`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import starmap

import numpy as np

from detectors.arrays import Flags, Floats, Integers
from detectors.pairing.keys import keys_of
from detectors.windows.block import is_sparse
from detectors.windows.row import PREDICTION, Value
from streams.events.decoding import Decoded
from streams.events.prediction_features import PredictionFeatures, prediction_features
from streams.kafka import Outgoing
from streams.records.feature_columns import (
    GREATEST_EXACT,
    MOST_WORDS,
    Cells,
    FeatureRows,
    ListCells,
    joined,
    number_cells,
    value_cells,
    word_cells,
)
from streams.records.training_rows import encode
from streams.stages.wiring import Wiring
from streams.topics import DAY_SECONDS, ROWS, topic_name

#: Rows from which on they are sent, and seconds after which even one is.
_MANY, _LONGEST_WAIT = 1_000, 5.0
#: From one whole number in so many on, the types of all values of a column are looked at together.
_FEW = 8
#: Bits of a hash.
_BITS = 64


class PendingRows:
    """The rows of one partition of events that are not sent yet."""

    def __init__(self, wiring: Wiring, *, source: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty.

        Args:
            wiring: names the topic and the models.
            source: the partition of events, and of the topic of rows.
            clock: seconds.
        """
        self._topic = topic_name(wiring.kafka.prefix, ROWS)
        self._source = source
        self._clock = clock
        #: Model -> which of its predictions are kept; None keeps all.
        self._samples: dict[str, DailySample | None] = {
            name: None if (most := spec.retrain.rows_per_day) is None else DailySample(most / wiring.sources)
            for name, spec in wiring.models.items()
            if spec.retrain.enabled and spec.factory is not None
        }
        #: Rows, and the number of their values.
        self._pieces: list[tuple[FeatureRows, int]] = []
        self._rows = 0
        self._since = 0.0

    def __len__(self) -> int:
        """Return the number of rows that wait."""
        return self._rows

    def add(self, found: Decoded, position: int) -> None:
        """Gather the rows of a fetch from an offset on."""
        if not self._samples:
            return
        for predictions in prediction_features(found, self._samples, position):
            sample = self._samples[predictions.model]
            at = None if sample is None else sample.keep(predictions.ts, predictions.ids)
            kept = predictions if at is None else predictions.cut(at)
            if not len(kept):
                continue
            if not self._pieces:
                self._since = self._clock()
            self._pieces.append((rows_of(kept), int(kept.columns.sizes().sum())))
            self._rows += len(kept)

    def durable(self, position: int) -> int:
        """Return the offset of the first row that waits; `position` if none does."""
        return min((int(piece.offsets[0]) for piece, _ in self._pieces), default=position)

    def take(self, *, final: bool) -> list[Outgoing]:
        """Return the rows as messages if it is time to send them (rule 1), and keep none; `final` sends them in any case."""
        if not self._pieces or not (final or self._rows >= _MANY or self._clock() - self._since >= _LONGEST_WAIT):
            return []
        pieces, self._pieces, self._rows = self._pieces, [], 0
        return [
            Outgoing(self._topic, rows.model.encode(), record, (), self._source)
            for rows in map(joined, _alike(pieces))
            for record in encode(rows)
        ]


def _alike(pieces: Sequence[tuple[FeatureRows, int]]) -> Iterator[list[FeatureRows]]:
    """Yield pieces of one model that have mostly the same features: others would cost rows times names."""
    by_model: dict[str, list[tuple[FeatureRows, int]]] = {}
    for counted in sorted(pieces, key=lambda counted: int(counted[0].offsets[0])):
        by_model.setdefault(counted[0].model, []).append(counted)
    for of_model in by_model.values():
        together: list[FeatureRows] = []
        names: set[str] = set()
        rows = values = 0
        for piece, own in of_model:
            # Blocks of one fetch may lie between each other's rows; a record is in order of its offsets.
            overlaps = bool(together) and together[-1].offsets[-1] >= piece.offsets[0]
            if together and (overlaps or is_sparse(len(names | piece.columns.keys()) * (rows + len(piece)), values + own)):
                yield together
                together, names, rows, values = [], set(), 0, 0
            together.append(piece)
            names |= piece.columns.keys()
            rows += len(piece)
            values += own
        yield together


def rows_of(predictions: PredictionFeatures) -> FeatureRows:
    """Return predictions as training rows: every feature with the value and the type that the event says."""
    columns = predictions.columns
    names = set(predictions.names())
    absent = columns.absent
    whole = np.floor(columns.numbers) == columns.numbers
    many = np.count_nonzero(whole, axis=1) * _FEW >= len(predictions)
    told = predictions.values_of([name for name, is_many in zip(columns.names, many, strict=True) if is_many and name in names])
    found: dict[str, Cells] = {
        name: _numbers(predictions, name, numbers, whole=np.flatnonzero(own), absent=absent.get(name), told=told.get(name))
        for name, numbers, own in zip(columns.names, columns.numbers, whole, strict=True)
        if name in names
    }
    for name, words, codes in zip(columns.coded.names, columns.coded.values, columns.coded.codes, strict=True):
        short = len(words) <= MOST_WORDS
        found[name] = word_cells(words, codes, absent.get(name)) if short else ListCells(predictions.values(name))
    found |= {name: ListCells(texts) for name, texts in columns.texts.items()}
    # The block has the answer under such a name.
    asked = [name for name in columns.others if name in names] + [name for name in PREDICTION if name in names]
    found |= {name: value_cells(predictions.values(name)) for name in asked}
    return FeatureRows(predictions.model, predictions.offsets, found)


def _numbers(
    predictions: PredictionFeatures,
    name: str,
    numbers: Floats,
    *,
    whole: Integers,
    absent: Flags | None,
    told: Sequence[Value] | None,
) -> Cells:
    """Return a column of numbers.

    Args:
        predictions: that have it.
        name: of the feature.
        numbers: NaN where there is none.
        whole: indices of numbers that can be integers.
        absent: where the feature is absent.
        told: all values, None if few are whole.
    """
    if not len(whole):
        return number_cells(numbers, False, absent)
    own = predictions.values(name, whole.tolist()) if told is None else told
    kinds = set(map(type, own))
    if int not in kinds:
        return number_cells(numbers, False, absent)
    if np.abs(numbers[whole]).max() >= GREATEST_EXACT:
        return value_cells(predictions.values(name) if told is None else told)
    if kinds == {int} and len(own) == len(numbers):
        return number_cells(numbers, True, absent)
    integers = np.zeros(len(numbers), dtype=np.bool_)
    integers[whole if told is None else slice(None)] = [type(value) is int for value in own]
    return number_cells(numbers, integers, absent)


class DailySample:
    """About so many predictions a day, chosen by the hash of their id.

    A level of n keeps one id in 2**n, and an id that is kept at one level is kept at every lower one. Within a day of event
    time the level rises by one when as many predictions are kept as the day is to have, again at one and a half times as
    many, and so on: never are twice as many kept. The next day begins at the level that would have kept that number of the
    day before. A restart begins at level 0, and may keep more.
    """

    def __init__(self, most: float, *, seed: int = 0) -> None:
        """`most`: predictions a day, of one model in one partition; `seed`: of the hash."""
        self._most = most
        self._seed = seed
        self._day = -math.inf
        self._level = 0
        self._raised = 0
        self._seen = 0
        self._kept = 0

    def keep(self, ts: Floats, ids: Sequence[str]) -> Integers:
        """Return the indices of the predictions that are kept; `ts` are their event times, epoch seconds, shape (n,)."""
        hashes, _ = keys_of(ids, self._seed)
        days = np.maximum.accumulate(np.maximum(ts // DAY_SECONDS, self._day))
        ends = [*(np.flatnonzero(np.diff(days)) + 1).tolist(), len(ids)]
        flags = list(starmap(self._of_day, ((days[low], hashes[low:high]) for low, high in zip([0, *ends], ends, strict=False))))
        return np.flatnonzero(np.concatenate(flags))

    def _of_day(self, day: float, hashes: np.ndarray) -> Flags:
        """Return which predictions of one day are kept."""
        if day > self._day:
            self._level = max(0, math.ceil(math.log2(self._seen / self._most))) if self._seen else 0
            self._day, self._raised, self._seen, self._kept = day, 0, 0, 0
        self._seen += len(hashes)
        flags = np.zeros(len(hashes), dtype=np.bool_)
        at = 0
        while at < len(hashes):
            left = self._most * (2.0 - 0.5**self._raised) - self._kept
            kept = self._is_kept(hashes[at:])
            count = np.cumsum(kept)
            end = int(np.searchsorted(count, left, side="right")) if self._level < _BITS else len(kept)
            flags[at : at + end] = kept[:end]
            if end:
                self._kept += int(count[end - 1])
            at += end
            if at < len(hashes):
                self._level, self._raised = self._level + 1, self._raised + 1
        return flags

    def _is_kept(self, hashes: np.ndarray) -> Flags:
        if self._level == 0:
            return np.ones(len(hashes), dtype=np.bool_)
        return np.asarray(hashes < np.uint64(1 << (_BITS - self._level)))
