"""Pairs: predictions and labels of a file of events, by id -> errors.

Rules:
1. Which prediction and which label make a pair stands in detectors/pairing/pairing.py, as for the workers' join. The file
   is one partition, and the index of a record is its offset.
2. A file has no broker's clock. The newest event time so far, of all models, stands in for it.
3. What the windows count of the pairs stands in streams/records/outcome_errors.py, as for the workers.
4. Nothing depends on how many records are read at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from detectors.arrays import Integers
from detectors.pairing.columns import Halves
from detectors.pairing.pairs import ModelPairs
from detectors.pairing.partition import BrokerClock, PartitionPairs
from detectors.pairing.taken import Pairing, TakenPairs
from detectors.pairing.values import NULL, UNKNOWN
from detectors.spec import ModelSpec
from detectors.windows.block import Block
from driftline.readers.stretch import LabelCount
from streams.events.decoding import Decoded
from streams.events.identified import identified_by_model
from streams.records.outcome_errors import block_of_errors, errors_between

#: What waits takes no more: some 13 million predictions. Beyond, a sample is joined, as by the workers.
_MOST_BYTES = 1 << 30
#: Nobody else knows the keys of a file, and the same file gives the same sample.
_SEED = 0


class FilePairs:
    """The predictions and labels that wait."""

    def __init__(self, models: Mapping[str, ModelSpec], *, most_bytes: int = _MOST_BYTES) -> None:
        """Begin with nothing.

        Args:
            models: the configured ones by name.
            most_bytes: of everything that waits.
        """
        within = {name: spec.outcomes.label_within_seconds for name, spec in models.items()}
        self._partition = PartitionPairs(within, most_bytes=most_bytes)
        self._newest = 0.0
        self._labels: Counter[str] = Counter()
        #: Model -> what became of its records.
        self._counts: dict[str, Counter[Pairing]] = {}

    @property
    def waiting(self) -> int:
        """Return how many predictions are kept."""
        return sum(pairs.waiting.count for pairs in self._partition.models.values())

    def blocks(self, found: Decoded) -> list[Block]:
        """Take the next events of the file, and return a row of the error of each pair that they complete."""
        known = identified_by_model(found, self._partition.models, seed=_SEED, position=0, groups={})
        if not known:
            return []
        self._labels.update({model: len(one.halves.labels) for model, one in known.items()})
        halves = {model: one.halves for model, one in known.items()}
        blocks: list[Block] = []
        for model, taken in self._partition.take(halves, self._clock(halves)):
            self._counts.setdefault(model, Counter()).update(taken.counts)
            block = _block(model, self._partition.models[model], taken)
            if block is not None:
                blocks.append(block)
        end = self._partition.seen + 1
        self._partition.stored(self._partition.position, end)  # nobody stores it
        self._partition.position = end
        return blocks

    def _clock(self, found: Mapping[str, Halves]) -> BrokerClock:
        """Return rule 2's clock for the next records."""
        rows = [rows for halves in found.values() for rows in (halves.predictions, halves.labels)]
        offsets: Integers = np.concatenate([one["offset"] for one in rows])
        order = np.argsort(offsets)
        clocks = np.maximum(np.maximum.accumulate(np.concatenate([one["ts"] for one in rows])[order]), self._newest)
        self._newest = float(clocks[-1])
        return BrokerClock(offsets[order], clocks)

    def labels(self) -> dict[str, LabelCount]:
        """Return model -> what became of its labels so far, for the models that have labels with an id."""
        found: dict[str, LabelCount] = {}
        for model, count in self._labels.items():
            if count:
                pairs, counts = self._partition.models[model], self._counts[model]
                waiting = pairs.early.count
                found[model] = LabelCount(count, waiting + counts[Pairing.FOREIGN], counts[Pairing.TOO_LATE])
        return found


def _block(model: str, pairs: ModelPairs, taken: TakenPairs) -> Block | None:
    """Return the rows of pairs in windows of outcomes; None without any."""
    rows = taken.pairs
    if not len(rows):
        return None
    values, missing = pairs.boxes.values_of, np.isnan(rows["score"])
    labels = values(np.ascontiguousarray(rows["answer"]))
    scores = [None if gone else score for gone, score in zip(missing.tolist(), rows["score"].tolist(), strict=True)]
    return block_of_errors(
        model,
        sources=rows["source"],
        ts=rows["label_ts"],
        segments=[what.segment for what in pairs.whats.values_of(rows["what"].tolist())],
        errors=errors_between(
            None if labels.count(None) == len(labels) else labels,
            None if missing.all() else scores,
            values(np.ascontiguousarray(rows["truth"])),
        ),
        counts=(rows["was"] == UNKNOWN) | (rows["was"] == NULL),
        share=taken.share,
    )
