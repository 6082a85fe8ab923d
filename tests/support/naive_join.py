"""The join, one record at a time with dictionaries: the meaning that detectors/pairing/ has to have.

It shares no code with the join but the hash of an id and the constants of a row's bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from detectors.pairing.bounds import EXTRA_BYTES, ROW_BYTES
from detectors.pairing.keys import keys_of


@dataclass(frozen=True)
class SentRecord:
    """One record: `value` is the answer of a prediction, or the truth of a label."""

    offset: int
    clock: float
    model: str
    kind: str
    id: str
    ts: float
    value: Any
    extra: bytes | None = None


@dataclass
class _Row:
    offset: int
    ts: float
    value: Any
    truth: Any = ...
    extra: bytes | None = None
    gone: bool = False


class NaiveJoin:
    """All models of one partition."""

    def __init__(self, within: dict[str, float], *, most_bytes: int, look_every: int, seed: int) -> None:
        self.within = within
        self.most_bytes = most_bytes
        self.every = look_every
        self.seed = seed
        self.rows: dict[str, dict[str, _Row]] = {model: {} for model in within}
        self.early: dict[str, dict[str, _Row]] = {model: {} for model in within}
        #: Everything that was ever added: it counts until it expires or is dropped.
        self.counted: dict[str, list[tuple[int, int, int]]] = {model: [] for model in within}
        self.looks: dict[str, list[tuple[int, float, float]]] = {model: [] for model in within}
        self.floor = dict.fromkeys(within, 0)
        self.newest = dict.fromkeys(within, 0.0)
        self.levels: dict[str, list[tuple[int, int]]] = {model: [(-1, 0)] for model in within}
        self.seen = -1
        self.outcomes: list[tuple[Any, ...]] = []
        self.counts: Counter[str] = Counter()

    def take(self, log: Iterable[SentRecord]) -> None:
        """Take records in order."""
        for record in log:
            if record.offset // self.every > self.seen // self.every:
                self._look(record.offset // self.every * self.every, record.clock)
            self.seen = record.offset
            self.newest[record.model] = max(self.newest[record.model], record.ts)
            if self._key(record.id) >= 1 << (64 - self.levels[record.model][-1][1]):
                self.counts["sampled_out"] += record.kind == "label"
            elif record.kind == "prediction":
                self._prediction(record)
            else:
                self._label(record)

    def _key(self, identity: str) -> int:
        return int(keys_of([identity], self.seed)[0][0])

    def _alive(self, model: str, row: _Row | None) -> _Row | None:
        if row is None or row.offset < self.floor[model] or row.gone:
            return None
        return row

    def _count(self, model: str, identity: str, row: _Row) -> None:
        size = ROW_BYTES + (0 if row.extra is None else EXTRA_BYTES + len(row.extra))
        self.counted[model].append((row.offset, self._key(identity), size))

    def _total(self, model: str) -> int:
        return sum(size for _, _, size in self.counted[model])

    def _prediction(self, record: SentRecord) -> None:
        rows, early = self.rows[record.model], self.early[record.model]
        known = self._alive(record.model, rows.get(record.id))
        if known is not None and record.ts - known.ts <= self.within[record.model]:
            self.counts["repeated"] += 1
            return
        row = rows[record.id] = _Row(record.offset, record.ts, record.value, extra=record.extra)
        self._count(record.model, record.id, row)
        label = self._alive(record.model, early.get(record.id))
        if label is not None:
            del early[record.id]
            self._pair(record, row, label.ts, label.value)

    def _label(self, record: SentRecord) -> None:
        row = self._alive(record.model, self.rows[record.model].get(record.id))
        if row is not None:
            self._pair(record, row, record.ts, record.value)
            return
        early = self.early[record.model]
        known = self._alive(record.model, early.get(record.id))
        label = early[record.id] = _Row(record.offset, record.ts, record.value)
        if known is None or known.offset // self.every < record.offset // self.every:
            self._count(record.model, record.id, label)
        if known is not None:
            self.counts["duplicate"] += 1

    def _pair(self, record: SentRecord, row: _Row, ts: float, truth: Any) -> None:
        if ts - row.ts > self.within[record.model]:
            self.counts["too_late"] += 1
            return
        if row.truth is not ... and (type(row.truth), row.truth) == (type(truth), truth):
            self.counts["duplicate"] += 1
            return
        was, row.truth = row.truth, truth
        if was is ... and truth is None:
            self.counts["none"] += 1
            return
        self.counts["joined" if was is ... else "corrected"] += 1
        greatest = max(level for offset, level in self._levels_from(record.model, row.offset))
        self.outcomes.append(
            (record.model, record.offset, record.id, row.offset, row.ts, row.value, ts, truth, was, 0.5**greatest, row.extra)
        )

    def _levels_from(self, model: str, offset: int) -> list[tuple[int, int]]:
        levels = self.levels[model]
        before = [change for change in levels if change[0] <= offset]
        return [before[-1], *(change for change in levels if change[0] > offset)]

    def _look(self, offset: int, clock: float) -> None:
        for model, within in self.within.items():
            if not self._total(model):
                continue
            self.looks[model].append((offset, clock, self.newest[model]))
            for before, its_clock, its_newest in self.looks[model]:
                silent = its_clock + within + 30 * 86_400.0 < clock
                if its_clock + within < clock and (silent or its_newest + within < self.newest[model]):
                    self.floor[model] = max(self.floor[model], before)
            self.counted[model] = [one for one in self.counted[model] if one[0] >= self.floor[model]]
        while sum(map(self._total, self.within)) > self.most_bytes:
            model = max(self.within, key=lambda one: (self._total(one), one))
            level = self.levels[model][-1][1] + 1
            self.levels[model].append((offset, level))
            self.counted[model] = [one for one in self.counted[model] if one[1] < 1 << (64 - level)]
            for rows in (self.rows[model], self.early[model]):
                for identity, row in rows.items():
                    row.gone = row.gone or self._key(identity) >= 1 << (64 - level)
        if sum(map(self._total, self.within)) < self.most_bytes // 4:
            model = max(self.within, key=lambda one: (self.levels[one][-1][1], one))
            if self.levels[model][-1][1]:
                self.levels[model].append((offset, self.levels[model][-1][1] - 1))
