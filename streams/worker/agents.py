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

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import faust
from faust.types import TP

from streams.engine.lanes import Lanes, StageMaker
from streams.engine.stage import Stage
from streams.engine.transport import LogState
from streams.kafka import Record
from streams.kafka.batch import Batch
from streams.metrics import Metrics
from streams.settings import Settings
from streams.stages.join import Join
from streams.stages.judge import JudgeStage
from streams.stages.notify import Notify
from streams.stages.outliers import OutlierStage
from streams.stages.sink import Sink
from streams.stages.summarise import SummariseEvents
from streams.stages.summarise_outcomes import SummariseOutcomes
from streams.stages.wiring import Wiring
from streams.state.store import Store
from streams.topics import ALERTS, EVENTS, OUTCOMES, SWAPS, WINDOWS, Topic, topic_name

#: Takes the wiring, the number of a partition, and what the broker says of it.
Opening = Callable[[Wiring, int, LogState], Awaitable[Stage]]


def _always(_wiring: Wiring) -> bool:
    return True


def _scores_events(wiring: Wiring) -> bool:
    return any(spec.outliers.enabled for spec in wiring.models.values())


def _has_sinks(wiring: Wiring) -> bool:
    return bool(wiring.sinks)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent.

    Args:
        name: in logs and metrics.
        reads: the topic.
        opens: makes its stage of a partition, from where that was left.
        wanted: whether a worker with that wiring runs it.
    """

    name: str
    reads: Topic
    opens: Opening
    wanted: Callable[[Wiring], bool] = _always


AGENTS = (
    Agent("summarise", EVENTS, SummariseEvents.open),
    Agent("join", EVENTS, Join.open),
    Agent("outliers", EVENTS, OutlierStage.open, _scores_events),
    Agent("summarise-outcomes", OUTCOMES, SummariseOutcomes.open),
    Agent("judge", WINDOWS, JudgeStage.open),
    Agent("notify", ALERTS, Notify.open, _has_sinks),
    Agent("notify", SWAPS, Notify.open, _has_sinks),
)


def _maker(agent: Agent, wiring: Wiring) -> StageMaker:
    async def make(tp: TP, log: LogState) -> Stage:
        return await agent.opens(wiring, tp.partition, log)

    return make


def stage_makers(
    settings: Settings,
    *,
    store: Store,
    metrics: Metrics,
    sinks: Sequence[Sink],
    sources: int,
    join_records: Callable[[int], Iterable[Record]] | None = None,
) -> dict[str, dict[str, StageMaker]]:
    """Return name of the topic on the broker -> name of the agent -> maker of its stages.

    Args:
        settings: of the process.
        store: Redis.
        metrics: of the process.
        sinks: get alerts and swaps.
        sources: partitions of the events topic, and of the outcomes topic.
        join_records: gives the log of the join for a partition; None reads it from Kafka.
    """
    wiring = Wiring.of(
        settings.kafka,
        settings.models,
        store=store,
        metrics=metrics,
        sinks=sinks,
        sources=sources,
        join=settings.join,
        outcomes_format=settings.outcomes_format,
        join_records=join_records,
    )
    makers: dict[str, dict[str, StageMaker]] = {}
    for agent in AGENTS:
        if agent.wanted(wiring):
            topic = topic_name(settings.kafka.prefix, agent.reads)
            makers.setdefault(topic, {})[agent.name] = _maker(agent, wiring)
    return makers


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
