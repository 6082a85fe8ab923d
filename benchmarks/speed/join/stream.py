"""The stream of all measurements: predictions over one day, and their labels ten minutes to a day later.

Half of the labels come in order, six hours after their prediction. The others come anywhere between ten minutes and a day, by
the logarithm. 5 % of the predictions get no label, 1 % get theirs twice, and 2 % as many labels have an id that nobody predicted.
Event time ends now, because the broker's clock decides what is too far ahead. Everything else follows from the seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import orjson

from detectors.arrays import Flags, Floats, Integers

MODEL, PARTITIONS = "scored", 4
DAY_SECONDS = 86_400.0
WINDOW_SECONDS = 21_600.0
#: Within which labels come, and the pairs that wait for them are kept.
WITHIN_SECONDS = 2 * DAY_SECONDS
FEATURES = 20
#: Records that stand for one fetch where no broker is asked.
FETCH = 3_000
#: No prediction is made in the last seconds of the first day, so that even repeats come before the end.
_MARGIN_SECONDS, _REPEATED_AFTER_SECONDS = 120.0, 60.0
_IN_ORDER_SECONDS, _LEAST_SECONDS = 21_600.0, 600.0
_UNLABELLED, _TWICE, _FOREIGN = 0.05, 0.01, 0.02
_BODIES = 20_000
_SEGMENTS = 5

#: Digits of the features: two decimals, or all of a double.
Digits = Literal["decimals", "doubles"]


@dataclass(frozen=True, slots=True)
class JoinStream:
    """Records in order of event time.

    Args:
        predictions: how many of the records are predictions.
        labelled: whether each record is a label, shape (n,).
        row: number of its prediction; from `predictions` on for a label that belongs to none.
        at: event time, epoch seconds.
        end: all windows end here at the latest.
    """

    predictions: int
    labelled: Flags
    row: Integers
    at: Floats
    end: float

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.row)

    @property
    def partition(self) -> Integers:
        """Return the partition of each record: a label is where its prediction is."""
        return self.row % PARTITIONS


def last_end(now: float | None = None) -> float:
    """Return the last end of a window before now, epoch seconds."""
    return (time.time() if now is None else now) // WINDOW_SECONDS * WINDOW_SECONDS


def predictions_and_labels(count: int, end: float, *, seed: int = 1) -> JoinStream:
    """Return so many predictions with their labels, from two days before `end` on."""
    draw = np.random.default_rng(seed)
    made = _made(draw, count, end)
    anywhere = np.exp(draw.uniform(np.log(_LEAST_SECONDS), np.log(DAY_SECONDS), count))
    labelled_at = made + np.where(draw.random(count) < 0.5, _IN_ORDER_SECONDS, anywhere)
    labelled = np.flatnonzero(draw.random(count) >= _UNLABELLED)
    twice = draw.choice(labelled, int(count * _TWICE), replace=False)
    foreign = np.arange(count, count + int(count * _FOREIGN))
    foreign_at = draw.uniform(end - 2 * DAY_SECONDS, end - _MARGIN_SECONDS, len(foreign))
    row = np.concatenate([np.arange(count), labelled, twice, foreign])
    at = np.concatenate([made, labelled_at[labelled], labelled_at[twice] + _REPEATED_AFTER_SECONDS, foreign_at]).round(3)
    order = np.argsort(at, kind="stable")
    return JoinStream(count, (np.arange(len(row)) >= count)[order], row[order], at[order], end)


def only_predictions(count: int, end: float, *, seed: int = 1) -> JoinStream:
    """Return so many predictions over the same day."""
    made = _made(np.random.default_rng(seed), count, end).round(3)
    return JoinStream(count, np.zeros(count, bool), np.arange(count), made, end)


def _made(draw: np.random.Generator, count: int, end: float) -> Floats:
    begin = end - 2 * DAY_SECONDS
    return np.sort(draw.uniform(begin, begin + DAY_SECONDS - _MARGIN_SECONDS, count))


def hashed(rows: Integers, salt: int = 0) -> np.ndarray:
    """Return 64 bits for each row that look random (the finaliser of MurmurHash3), never 0."""
    x = (rows.astype(np.uint64) + np.uint64(salt + 1)) * np.uint64(0x9E3779B97F4A7C15)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ (x >> np.uint64(33))) * np.uint64(factor)
    return np.maximum(x ^ (x >> np.uint64(33)), np.uint64(1))


def identities(rows: Integers) -> list[str]:
    """Return the ids of rows: texts of 32 characters, as UUIDs have.

    >>> [len(one) for one in identities(np.array([0, 1]))]
    [32, 32]
    """
    both = np.stack([hashed(rows), hashed(rows, 1 << 40)], axis=1)
    text = both.astype(">u8").tobytes().hex()
    return [text[place : place + 32] for place in range(0, len(text), 32)]


def answers(rows: Integers) -> Flags:
    """Return the class that is predicted for each row."""
    return rows % 3 > 0


def truths(rows: Integers) -> Flags:
    """Return the true class of each row."""
    return rows % 7 > 0


def scores(rows: Integers) -> Floats:
    """Return the score of each prediction."""
    return (rows % 9_973) / 9_973


def numbers(rows: Integers, *, true: bool) -> Floats:
    """Return what a regressor predicts for each row, or what is true: no two rows have the same."""
    return (rows + (0.25 if true else 0.5)) / 7


class EventWriter:
    """The bytes of a stream's records."""

    def __init__(self, *, with_ids: bool = True, digits: Digits = "decimals", seed: int = 1) -> None:
        """Make the bodies that the predictions have in turn."""
        self._with_ids = with_ids
        draw = np.random.default_rng(seed)
        values = draw.normal(size=(_BODIES, FEATURES))
        names = [f"f{number}" for number in range(FEATURES)]
        rows = (values.round(2) if digits == "decimals" else values).tolist()
        self._bodies = [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]

    def values(self, stream: JoinStream, places: Integers) -> tuple[list[bytes | None], list[bytes]]:
        """Return (keys, values) of the records at some places."""
        rows, labelled = stream.row[places], stream.labelled[places].tolist()
        ids: Sequence[bytes] = [one.encode() for one in identities(rows)] if self._with_ids else [b""] * len(rows)
        flags = np.where(stream.labelled[places], truths(rows), answers(rows)).tolist()
        found = [
            _label(one, at, b"true" if flag else b"false")
            if is_label
            else self._prediction(one, row, at, b"true" if flag else b"false")
            for is_label, one, row, at, flag in zip(labelled, ids, rows.tolist(), stream.at[places].tolist(), flags, strict=True)
        ]
        return [one or None for one in ids], found

    def _prediction(self, identity: bytes, row: int, at: float, answer: bytes) -> bytes:
        named = b'"id":"%b",' % identity if identity else b""
        return (
            b'{"type":"prediction",%b"model":"scored","segment":"s%d","ts":%.3f,"features":%b,"prediction":{"label":%b,"score":%.4f}}'
            % (named, row % _SEGMENTS, at, self._bodies[row % _BODIES], answer, row % 9_973 / 9_973)
        )


def _label(identity: bytes, at: float, truth: bytes) -> bytes:
    return b'{"type":"label","id":"%b","model":"scored","ts":%.3f,"label":%b}' % (identity, at, truth)


def fetches(stream: JoinStream, size: int = FETCH) -> Iterator[Integers]:
    """Yield the places of the records of each fetch, if all were in one partition."""
    for low in range(0, len(stream), size):
        yield np.arange(low, min(low + size, len(stream)))
