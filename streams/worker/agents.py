"""The Faust agents of a worker: which topics each reads, and how its stages are made.

=====================  ===================  =========================================
agent                  reads                writes
=====================  ===================  =========================================
join                   events               outcomes
summarise              events               windows, dead-letters
outliers               events               outliers
summarise-outcomes     outcomes             windows
judge                  windows              alerts, retrains, ticks into events
notify                 alerts, swaps        webhook, annotations
=====================  ===================  =========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import faust
from faust.types import TP

from detectors.spec import ModelSpec
from streams.engine.lanes import Lanes, StageMaker
from streams.engine.stage import Stage
from streams.engine.start_offsets import Beginnings
from streams.engine.transport import LogState
from streams.events.decoding import Decoding
from streams.kafka import Log
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.settings import KafkaSettings, Settings
from streams.stages.join import Join
from streams.stages.judge import JudgeStage, load_state
from streams.stages.notify import Notify, Sink
from streams.stages.outliers import OutlierStage
from streams.stages.summarise import SummariseEvents, SummariseOutcomes
from streams.state import snapshot
from streams.state.references import References
from streams.state.store import Store
from streams.topics import ALERTS, EVENTS, OUTCOMES, SWAPS, WINDOWS


def stage_makers(
    settings: Settings, *, store: Store, metrics: Metrics, sinks: Sequence[Sink], sources: int
) -> dict[str, dict[str, StageMaker]]:
    """Return topic name -> agent name -> maker of its stages.

    Args:
        settings: of the process.
        store: Redis.
        metrics: of the process.
        sinks: told of alerts and swaps.
        sources: partitions of the events and outcomes topics.
    """
    kafka = settings.kafka
    models: Mapping[str, ModelSpec] = {spec.name: spec for spec in settings.models}
    references = References(store)
    decoding = Decoding(models)
    beginnings = Beginnings(metrics, sources)

    def beginning(log: LogState) -> int:
        return log.first if log.committed is None else max(log.first, min(log.committed, log.end))

    async def join(tp: TP, log: LogState) -> Stage:
        return Join(
            kafka=kafka,
            store=store,
            metrics=metrics,
            models=models,
            decoding=decoding,
            partition=tp.partition,
            start=beginning(log),
        )

    async def summarise(tp: TP, log: LogState) -> Stage:
        return SummariseEvents(
            kafka=kafka,
            metrics=metrics,
            models=models,
            decoding=decoding,
            source=tp.partition,
            sources=sources,
            start=beginnings.of(tp.topic, tp.partition, log),
        )

    async def summarise_outcomes(tp: TP, log: LogState) -> Stage:
        return SummariseOutcomes(
            kafka=kafka,
            metrics=metrics,
            models=models,
            source=tp.partition,
            sources=sources,
            start=beginnings.of(tp.topic, tp.partition, log),
        )

    async def outliers(tp: TP, log: LogState) -> Stage:
        return OutlierStage(
            kafka=kafka,
            references=references,
            metrics=metrics,
            models=models,
            decoding=decoding,
            partition=tp.partition,
            start=beginning(log),
        )

    async def judge(tp: TP, log: LogState) -> Stage:
        stored, monitors = await load_state(store, snapshot.name_of(tp.partition), log, lambda: _end_of(kafka, tp))
        return JudgeStage(
            kafka=kafka,
            store=store,
            references=references,
            metrics=metrics,
            models=models,
            partition=tp.partition,
            log=log,
            stored=stored,
            monitors=monitors,
        )

    async def notify(_tp: TP, log: LogState) -> Stage:
        return Notify(kafka=kafka, sinks=sinks, start=beginning(log))

    table: dict[str, dict[str, StageMaker]] = {
        EVENTS.name: {"summarise": summarise, "join": join},
        OUTCOMES.name: {"summarise-outcomes": summarise_outcomes},
        WINDOWS.name: {"judge": judge},
    }
    if any(spec.outliers.enabled for spec in settings.models):
        table[EVENTS.name]["outliers"] = outliers
    if sinks:
        table[ALERTS.name] = {"notify": notify}
        table[SWAPS.name] = {"notify": notify}
    prefix = settings.kafka.prefix
    return {f"{prefix}.{name}": makers for name, makers in table.items()}


def _end_of(kafka: KafkaSettings, tp: TP) -> int:
    """Return the offset after the last record of a partition, as the broker has it now."""
    reader = Log(kafka, "judge-end")
    try:
        return reader.ends(tp.topic)[tp.partition][1]
    finally:
        reader.close()


def declare(app: faust.App, lanes: Lanes, makers: Mapping[str, Mapping[str, StageMaker]]) -> None:
    """Register one Faust agent for each topic and agent of the table."""
    for topic, agents in makers.items():
        channel = app.topic(topic, value_serializer="batch", key_serializer="raw")
        for name in agents:
            _declare(app, lanes, channel, name, topic)


def _declare(app: faust.App, lanes: Lanes, channel: faust.TopicT, name: str, topic: str) -> None:
    async def agent(stream: faust.StreamT[Batch]) -> None:
        async for batch in stream:
            await lanes.add(name, batch)

    app.agent(channel, name=f"{name}:{topic}")(agent)
