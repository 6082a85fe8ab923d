"""Outcomes and training rows as a worker writes them, for tests that train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.windows.row import Value
from streams.kafka import Outgoing
from streams.records.feature_columns import FeatureRows, value_cells
from streams.records.outcomes import Outcome, OutcomeColumns, PredictionValue, SourceOffset
from streams.records.outcomes import encode as encode_outcome
from streams.records.training_rows import encode
from streams.settings import KafkaSettings
from streams.topics import OUTCOMES, ROWS, topic_name


def rows_messages(
    kafka: KafkaSettings, model: str, partition: int, features: Mapping[int, Mapping[str, Value]]
) -> list[Outgoing]:
    """Return the messages with features of predictions: offset in a partition -> features; all have the same names."""
    offsets = sorted(features)
    names = features[offsets[0]]
    columns = {name: value_cells([features[offset][name] for offset in offsets]) for name in names}
    records = encode(FeatureRows(model, np.array(offsets), columns))
    return [Outgoing(topic_name(kafka.prefix, ROWS), model.encode(), record, (), partition) for record in records]


def outcome(
    model: str,
    predicted_at: float,
    at: int,
    *,
    partition: int = 0,
    source: int | None = None,
    label: Any = True,
    share: float = 1.0,
    corrects: bool = False,
) -> Outcome:
    """Return an outcome of the prediction at an offset; its source is the prediction unless given."""
    return Outcome(
        id=f"{model}-{partition}-{at}",
        model=model,
        ts=predicted_at + 60.0,
        predicted_at=predicted_at,
        prediction=PredictionValue(True, 0.5),
        label=label,
        source=SourceOffset(partition, at if source is None else source),
        at=at,
        share=share,
        corrects=corrects,
    )


def columns_of(outcomes: list[Outcome]) -> OutcomeColumns:
    """Return outcomes of one model and partition, in order of their sources, as one record."""
    return OutcomeColumns(
        model=outcomes[0].model,
        partition=outcomes[0].source.partition,
        id=[one.id for one in outcomes],
        ts=[one.ts for one in outcomes],
        predicted_at=[one.predicted_at for one in outcomes],
        truth=[one.label for one in outcomes],
        at=[one.at if one.at is not None else -1 for one in outcomes],
        source=[one.source.offset for one in outcomes],
        share=[one.share for one in outcomes],
        v=2,
    )


def outcome_messages(kafka: KafkaSettings, outcomes: list[Outcome], *, fetch: int = 0) -> list[Outgoing]:
    """Return the messages with outcomes of one model and partition; `fetch` of them are one record of columns, 0: one each."""
    partition = outcomes[0].source.partition
    values = (
        [encode_outcome(columns_of(outcomes[low : low + fetch])) for low in range(0, len(outcomes), fetch)]
        if fetch
        else [encode_outcome(one) for one in outcomes]
    )
    return [Outgoing(topic_name(kafka.prefix, OUTCOMES), b"k", value, (), partition) for value in values]
