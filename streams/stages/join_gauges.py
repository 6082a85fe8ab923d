"""Gauges of the join: each is a sum over the partitions that a worker owns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol
from weakref import WeakSet

from detectors.pairing.pairs import ModelPairs
from streams.metrics import Metrics


class HasPairs(Protocol):
    """What has pairs: the join of one partition."""

    @property
    def pairs(self) -> Mapping[str, ModelPairs]:
        """Return model -> what waits."""


class JoinGauges:
    """The gauges, and the joins that they are about; a join that is gone counts no more."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._joins: WeakSet[HasPairs] = WeakSet()

    def add(self, join: HasPairs) -> None:
        """Let a join count."""
        self._joins.add(join)

    def show(self, models: Iterable[str]) -> None:
        """Set the gauges of some models."""
        joins = list(self._joins)
        for model in models:
            pairs = [join.pairs[model] for join in joins if model in join.pairs]
            gauge = self._metrics.gauge
            gauge("driftline_join_waiting", sum(one.waiting.count for one in pairs), model=model, what="predictions")
            gauge("driftline_join_waiting", sum(one.early.count for one in pairs), model=model, what="labels")
            gauge("driftline_join_bytes", sum(one.nbytes for one in pairs), model=model)
            gauge("driftline_join_oldest_seconds", max((one.span for one in pairs), default=0.0), model=model)
            gauge("driftline_join_share", min((0.5**one.bounds.level for one in pairs), default=1.0), model=model)
