"""Wiring: what the stages of one worker share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from detectors.spec import ModelSpec
from streams.engine.start_offsets import Beginnings
from streams.events.decoding import Decoding
from streams.kafka import Record
from streams.metrics import Metrics
from streams.settings import JoinSettings, KafkaSettings, OutcomesFormat
from streams.stages.join_gauges import JoinGauges
from streams.stages.sink import Sink
from streams.state.join_log import records_of
from streams.state.references import References
from streams.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The neighbours and the configuration of every stage of a worker.

    Args:
        kafka: names the topics.
        store: Redis.
        references: those in force, in the same Redis.
        metrics: of the process.
        models: name -> specification.
        decoding: shared, so that a batch is decoded once for all agents.
        beginnings: shared, so that a loss of records is counted once.
        sinks: get alerts and swaps.
        sources: number of partitions of the events topic, and of the outcomes topic.
        join: bounds of the join.
        outcomes_format: how outcomes are written.
        join_records: gives all records of the log of the join for a partition, oldest first.
        join_gauges: sum over the partitions that the worker owns.
    """

    kafka: KafkaSettings
    store: Store
    references: References
    metrics: Metrics
    models: Mapping[str, ModelSpec]
    decoding: Decoding
    beginnings: Beginnings
    sinks: Sequence[Sink]
    sources: int
    join: JoinSettings = field(default_factory=JoinSettings)
    outcomes_format: OutcomesFormat = "columns"
    join_records: Callable[[int], Iterable[Record]]
    join_gauges: JoinGauges

    @classmethod
    def of(
        cls,
        kafka: KafkaSettings,
        models: Iterable[ModelSpec],
        *,
        store: Store,
        metrics: Metrics,
        sinks: Sequence[Sink] = (),
        sources: int,
        join: JoinSettings | None = None,
        outcomes_format: OutcomesFormat = "columns",
        join_records: Callable[[int], Iterable[Record]] | None = None,
    ) -> Self:
        """Return the wiring of a worker; nothing is connected."""
        by_name = {spec.name: spec for spec in models}
        return cls(
            kafka=kafka,
            store=store,
            references=References(store),
            metrics=metrics,
            models=by_name,
            decoding=Decoding(by_name),
            beginnings=Beginnings(metrics, sources),
            sinks=sinks,
            sources=sources,
            join=join or JoinSettings(),
            outcomes_format=outcomes_format,
            join_records=join_records or partial(records_of, kafka),
            join_gauges=JoinGauges(metrics),
        )
