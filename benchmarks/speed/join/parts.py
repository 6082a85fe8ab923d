"""Where the time of a worker goes: the steps of the join, one by one in this process, with the worker's own functions.

    python -m benchmarks.speed.join.parts --predictions N --end SECONDS

Run by `benchmarks.join` in a process of its own; prints one JSON object: step -> CPU microseconds of each thing that it takes.
A fetch has 3,000 records, and is read as an agent reads it. Nothing is sent: that and waiting is in whole workers only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED  # type: ignore[import-untyped] # aiokafka carries no types
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped] # as above
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped] # as above
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped] # as above
from faust.types import TP

from benchmarks.speed.join.columns import roomy
from benchmarks.speed.join.stream import (
    MODEL,
    WINDOW_SECONDS,
    WITHIN_SECONDS,
    Digits,
    EventWriter,
    JoinStream,
    fetches,
    only_predictions,
    predictions_and_labels,
)
from detectors.arrays import Integers
from detectors.errors import DriftlineError
from detectors.pairing.partition import BrokerClock
from detectors.spec import ModelSpec, OutcomeSpec, shapes_of
from detectors.windows.windows import Windows
from driftline.cli.processor import advise_numpy
from streams.engine.fetch import ParsedRecords
from streams.events.decoding import Decoded, Decoding
from streams.events.identified import identified
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.records import outcomes
from streams.records.join_chunks import chunks_of, encode
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.outcome_columns import outcome_columns
from streams.stages.summarise_outcomes import block_of
from streams.stages.training_rows import PendingRows
from streams.stages.wiring import Wiring
from streams.state.store import Store

_MODELS = {
    MODEL: ModelSpec(
        MODEL,
        factory="river.linear_model:LogisticRegression",
        window_seconds=WINDOW_SECONDS,
        outcomes=OutcomeSpec(label_within_seconds=WITHIN_SECONDS),
    )
}
_SEED = 7
_LZ4 = 3
#: Steps of a record without ids, and of one with ids and labels; the rest is for each outcome, and for each prediction.
PLAIN_STEPS = ("log, no ids", "decode, no ids", "windows, no ids")
RECORD_STEPS = ("log", "decode", "windows of features", "columns", "take", "chunks")
OUTCOME_STEPS = ("outcomes: columns and encode", "outcomes: log and parse", "outcomes: windows")
ROW_STEPS = ("training rows",)


class Stopwatch:
    """CPU seconds of steps, and how many things each has taken."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seconds: dict[str, float] = defaultdict(float)
        self._things: dict[str, int] = defaultdict(int)

    @contextmanager
    def step(self, name: str, things: int) -> Iterator[None]:
        """Count what is done meanwhile."""
        began = time.process_time()
        yield
        self._seconds[name] += time.process_time() - began
        self._things[name] += things

    def microseconds(self) -> dict[str, float]:
        """Return step -> microseconds of each thing."""
        return {name: 1e6 * seconds / max(1, self._things[name]) for name, seconds in self._seconds.items()}


def _fetched(places: Integers, clock: Any, keys: list[bytes | None], values: list[bytes]) -> bytes:
    """Return records as they stand in the log: one batch of a producer."""
    builder = DefaultRecordBatchBuilder(2, _LZ4, 0, -1, -1, -1, 1 << 30)
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        builder.append(place, timestamp=int(clock[place] * 1000), key=key, value=value, headers=[])
    return int(places[0]).to_bytes(8, "big") + bytes(builder.build())[8:]


def _batch(raw: bytes, start: int) -> Batch:
    """Return a fetch as the worker's transport hands it out."""
    records = ParsedRecords(TopicPartition("events", 0), MemoryRecords(raw), [], start, None, None, True, READ_COMMITTED)
    return Batch(TP("events", 0), 0, start, list(records))


def _windows(kind: Any) -> Windows:
    return Windows(kind, source=0, sources=1, shapes=shapes_of(_MODELS, kind))


class Steps:
    """The steps of a worker over one stream."""

    def __init__(self, watch: Stopwatch, stream: JoinStream, writer: EventWriter) -> None:
        """Begin with an empty state."""
        self._watch = watch
        self._stream = stream
        self._writer = writer
        self._decoding = Decoding(_MODELS)
        self._features = _windows("features")

    def _read(self, places: Integers, suffix: str) -> tuple[Batch, Decoded]:
        raw = _fetched(places, self._stream.at[places], *self._writer.values(self._stream, places))
        with self._watch.step(f"log{suffix}", len(places)):
            batch = _batch(raw, int(places[0]))
        with self._watch.step(f"decode{suffix}", len(places)):
            found = self._decoding.decode(batch.offsets, batch.timestamps, batch.values, longest=batch.longest)
        if len(found.dead):
            raise DriftlineError(f"{len(found.dead)} events are not used ({found.dead[0].error}): the run measures nothing")
        return batch, found

    def plain(self) -> None:
        """Read, decode and summarise predictions without ids."""
        for places in fetches(self._stream):
            _, found = self._read(places, ", no ids")
            with self._watch.step("windows, no ids", len(places)):
                self._features.add(found.blocks)

    def joined(self) -> dict[str, float]:
        """Go the whole way of predictions and labels; return bytes on the topics: for each prediction, and for each outcome."""
        partition = roomy(self._stream.predictions)
        pairs, step = partition.models[MODEL], self._watch.step
        store = Store(RedisSettings(), Secret(b"0" * 32))  # it is not asked
        wiring = Wiring.of(KafkaSettings(), _MODELS.values(), store=store, metrics=Metrics(), sources=1)
        rows, back = PendingRows(wiring, source=0), _windows("outcomes")
        written: dict[str, int] = defaultdict(int)
        made = records = 0
        for places in fetches(self._stream):
            batch, found = self._read(places, "")
            n = len(places)
            with step("windows of features", n):
                self._features.add(found.blocks)
            predictions = int((~self._stream.labelled[places]).sum())
            with step("training rows", predictions):
                rows.add(found, 0)
                messages = rows.take(final=False)
            written["rows"] += sum(len(message.value or b"") for message in messages)
            with step("columns", n):
                known = identified(found, MODEL, pairs, seed=_SEED, position=batch.start, groups=())
            if known is None:
                continue
            with step("take", n):
                clock = BrokerClock(np.asarray(batch.offsets, np.int64), batch.timestamps / 1000.0)
                taken = [one for _, one in partition.take({MODEL: known.halves}, clock)]
                partition.begin(batch.end)
            with step("chunks", n):
                flush = (batch.start, batch.end)
                chunks = [encode(chunk) for chunk in chunks_of(partition.stored(*flush), _SEED, flush)]
            written["join"] += sum(map(len, chunks))
            outcomes_of_fetch = sum(len(one.pairs) for one in taken)
            with step("outcomes: columns and encode", outcomes_of_fetch):
                columns = [
                    record
                    for one in taken
                    if len(one.pairs)
                    for record in outcome_columns(MODEL, 0, pairs, one, known.ids_at(one.pairs["source"]))
                ]
                values = [outcomes.encode(record) for record in columns]
            written["outcomes"] += sum(map(len, values))
            self._read_back(values, records, outcomes_of_fetch, back)
            made, records = made + outcomes_of_fetch, records + len(values)
        count = self._stream.predictions
        return {
            "join": written["join"] / count,
            "rows": written["rows"] / count,
            "outcome": written["outcomes"] / max(1, made),
            "outcomes_of_a_record": made / len(self._stream),
            "predictions_of_a_record": count / len(self._stream),
        }

    def _read_back(self, values: list[bytes], records: int, count: int, back: Windows) -> None:
        if not values:
            return
        clock = np.full(len(values), self._stream.end)
        raw = _fetched(np.arange(records, records + len(values)), clock, [MODEL.encode()] * len(values), values)
        blocks = []
        with self._watch.step("outcomes: log and parse", count):
            for value in _batch(raw, records).values:
                found = outcomes.parse(value)
                if isinstance(found, outcomes.OutcomeColumns):
                    block = block_of(found, -1)
                    blocks += [] if block is None else [block]
        with self._watch.step("outcomes: windows", count):
            back.add(blocks)


def measured(predictions: int, end: float, digits: Digits = "decimals") -> dict[str, Any]:
    """Return the microseconds of all steps, and the bytes that are written."""
    watch = Stopwatch()
    writer = EventWriter(digits=digits)
    Steps(Stopwatch(), predictions_and_labels(20_000, end), writer).joined()  # types and tables are made once
    Steps(watch, only_predictions(predictions, end), EventWriter(with_ids=False, digits=digits)).plain()
    sizes = Steps(watch, predictions_and_labels(predictions, end), writer).joined()
    return {"microseconds": watch.microseconds(), "bytes": sizes}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.join.parts")
    parser.add_argument("--predictions", type=int, required=True)
    parser.add_argument("--end", type=float, required=True)
    parser.add_argument("--digits", choices=["decimals", "doubles"], default="decimals")
    arguments = parser.parse_args()
    advise_numpy()
    print(json.dumps(measured(arguments.predictions, arguments.end, arguments.digits)))


if __name__ == "__main__":
    main()
