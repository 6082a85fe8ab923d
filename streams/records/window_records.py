"""The windows topic: the whole monitoring history, as MessagePack records keyed by model.

Four kinds of record, with a tag each: `Window` (a part of a bucket), `Mark` (how far a source has come),
`Decision` (how a request to retrain ended) and `Acceptance` (a change is the new normal). The judge reads
nothing else, so this topic is enough to judge again.
"""

from __future__ import annotations

from detectors.incidents.decision import Decision, RetrainResult
from streams.kafka import Outgoing
from streams.records.window_codec import HistoryRecord, encode
from streams.settings import KafkaSettings
from streams.topics import WINDOWS, topic_name


def outgoing(settings: KafkaSettings, record: HistoryRecord) -> Outgoing:
    """Return the message for one record: all records of a model go to one partition, in order."""
    return Outgoing(topic_name(settings.prefix, WINDOWS), record.model.encode(), encode(record))


def swap_record(
    settings: KafkaSettings,
    *,
    swap_id: str,
    model: str,
    request: str,
    result: RetrainResult,
    version: int | None,
    features: list[str],
    requested_at: float,
) -> Outgoing:
    """Return the message that tells the judge how a retrain request ended."""
    decision = Decision(
        id=swap_id, model=model, request=request, result=result, version=version, features=features, requested_at=requested_at
    )
    return outgoing(settings, decision)
