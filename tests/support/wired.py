"""A wiring for stages that a test makes itself."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.spec import ModelSpec
from streams.metrics import Metrics
from streams.settings import KafkaSettings, RedisSettings, Secret
from streams.stages.sink import Sink
from streams.stages.wiring import Wiring
from streams.state.store import Store


def wired(
    models: Mapping[str, ModelSpec],
    *,
    kafka: KafkaSettings | None = None,
    store: Store | None = None,
    metrics: Metrics | None = None,
    sinks: tuple[Sink, ...] = (),
    sources: int = 1,
) -> Wiring:
    """Return a wiring for topics `t.*`; without a store of its own, for stages that ask no Redis."""
    return Wiring.of(
        kafka or KafkaSettings(prefix="t"),
        models.values(),
        store=store or Store(RedisSettings(url="redis://127.0.0.1:1"), Secret(b"asked for by nobody")),
        metrics=metrics or Metrics(),
        sinks=sinks,
        sources=sources,
    )
