"""A swap: the decision on a request, which happens exactly once, whichever process is killed in between.

Rules:
1. The decision is recorded (`decision/{request}/{attempt}`, a signed blob) before anything follows from it. The record
   holds the whole event, so a repeat sends the same bytes.
2. The pointer moves by compare-and-set on the generation that the decision was made against. The record fixes version, time
   and cause, so moving twice is moving once.
3. A pointer that somebody else moved first is not moved: the proof was against a version that is no longer served. The
   candidate goes through the gate again, against the new champion. That is a second attempt.
4. After the move the decision goes to users (topic swaps) and to the judge (topic windows), with ids from the request.
   Once the brokers have acknowledged both, that is recorded too (`announced/{request}`). Only then is the request committed.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from detectors.identity import identity
from detectors.incidents.retrain import Request
from retrainer.trial import Proof, TrialResult
from serving.registry.versions import PointerMovedError, Registry
from streams.kafka import Outgoing, Sender
from streams.records.swap_event import CandidateScores, ChampionScores, Lineage, SwapEvent, cloud_event
from streams.records.window_records import swap_record
from streams.settings import KafkaSettings
from streams.state.store import Store
from streams.topics import SWAPS, topic_name

#: Decisions recorded for one request at most: the first proof, the second, and the end without a third.
ATTEMPTS = 3


class _Record(msgspec.Struct, frozen=True):
    """A decision as it lies in Redis."""

    data: SwapEvent
    expected_generation: int


@dataclass(frozen=True, slots=True)
class Swap:
    """A recorded decision: its event, and the generation of the pointer that it was made against."""

    event: SwapEvent
    expected_generation: int
    #: Read back rather than just made: it may have been carried out already.
    repeated: bool = False

    @property
    def promotes(self) -> bool:
        """Whether the pointer is to move."""
        return self.event.result == "promoted"


_decoder = msgspec.json.Decoder(_Record)


class Swaps:
    """Decisions on requests: recorded, carried out, announced."""

    def __init__(self, kafka: KafkaSettings, store: Store, registry: Registry, sender: Sender) -> None:
        """Write records to `store`, move pointers in `registry`, announce through `sender`."""
        self._kafka = kafka
        self._store = store
        self._registry = registry
        self._sender = sender

    def announced(self, request: Request) -> bool:
        """Return whether the decision on the request has been announced, so that nothing is left to do.

        Raises:
            UnavailableError: Redis is away.
        """
        return self._store.get_blob(_announced(request)) is not None

    def recorded(self, request: Request) -> list[Swap]:
        """Return the decisions recorded so far, the first attempt first.

        Raises:
            SignatureError: a record was altered.
            UnavailableError: Redis is away.
        """
        return self._recorded(request.id)

    def _recorded(self, request: str) -> list[Swap]:
        swaps: list[Swap] = []
        while (blob := self._store.get_blob(_decision(request, len(swaps)))) is not None:
            record = _decoder.decode(blob)
            swaps.append(Swap(record.data, record.expected_generation, repeated=True))
        return swaps

    def answering(self, request: Request, cooldown_seconds: float) -> Swap | None:
        """Return the swap to the served version if it has answered this request as well, None otherwise.

        One cause may lead to two requests: its drift to the first, the errors it makes to the second, because neither
        channel of the judge knows the other (detectors/model/channel.py). A swap answers both if its own request came
        less than a cool-down before this one.

        Raises:
            SignatureError: a record was altered.
            UnavailableError: Redis is away.
        """
        pointer = self._registry.current(request.model)
        if pointer is None or pointer.by == request.id or request.reason == "on_demand":
            return None
        for swap in self._recorded(pointer.by):
            asked_at = swap.event.requested_at
            if swap.promotes and asked_at is not msgspec.UNSET and request.requested_at < asked_at + cooldown_seconds:
                return swap
        return None

    def record(self, request: Request, ended: TrialResult, attempt: int) -> Swap:
        """Record the decision that a trial ended with, and publish the candidate if it is to be promoted.

        A decision that is recorded already stands: a call whose answer was lost made it, or another process.

        Raises:
            ModelError: the candidate cannot be published; nothing was recorded.
            UnavailableError: Redis is away.
        """
        standing = self.recorded(request)
        if len(standing) > attempt:
            return standing[attempt]
        swap = self._decide(request, ended)
        record = _Record(swap.event, swap.expected_generation)
        if self._store.put_blob(_decision(request.id, attempt), orjson.dumps(msgspec.to_builtins(record))):
            return swap
        return self.recorded(request)[attempt]

    def carry_out(self, swap: Swap) -> bool:
        """Move the pointer if the decision says so; False when somebody else moved it first.

        Raises:
            ModelError: the version is gone from the store.
            UnavailableError: Redis is away; calling again does no harm.
        """
        event = swap.event
        if event.version is None or event.generation is None or event.moved_at is None:
            return True  # not promoted
        try:
            self._registry.promote(event.model, event.version, swap.expected_generation, event.request, event.moved_at)
        except PointerMovedError:
            # A repeat meets a pointer that is further on: this move was made, and others since (a roll-back,
            # say). It must not be made again, and nobody who moved the pointer later is overruled.
            now = self._registry.current(event.model)
            return swap.repeated and now is not None and now.generation > event.generation
        return True

    def announce(self, request: Request, swap: Swap) -> None:
        """Send the decision to users and to the judge, wait for the acknowledgements, and record that.

        Raises:
            UnavailableError: Kafka or Redis is away; calling again repeats the same events.
        """
        event_id = identity("swap", request.id)
        event = swap.event
        to_users = Outgoing(
            topic_name(self._kafka.prefix, SWAPS), request.model.encode(), cloud_event(event, event_id, request.requested_at)
        )
        to_judge = swap_record(
            self._kafka,
            swap_id=event_id,
            model=request.model,
            request=request.id,
            result=event.result,
            version=event.version,
            features=event.features,
            requested_at=request.requested_at,
        )
        asyncio.run(self._sender.send_all([to_users, to_judge]))
        self._store.put_blob(_announced(request), b"")

    def _decide(self, request: Request, ended: TrialResult) -> Swap:
        proof = ended.proof
        pointer = proof.pointer if proof is not None else self._registry.current(request.model)
        generation = pointer.generation if pointer is not None else 0
        event = SwapEvent(
            model=request.model,
            result=ended.result,
            reason=ended.reason,
            version=None,
            previous=pointer.version if pointer is not None else None,
            generation=None,
            request=request.id,
            alert=request.alert,
            features=request.features,
            began_at=request.began_at,
            requested_at=request.requested_at,
            trained_rows=0 if proof is None else len(proof.training),
            holdout_rows=0 if proof is None else len(proof.held_out),
            candidate=None if proof is None else _candidate_scores(proof),
            champion=None if proof is None or not proof.against_champion else _champion_scores(proof),
            p_value=None if proof is None else proof.decision.p_value,
            moved_at=None,
            lineage=Lineage(None, {}) if proof is None else proof.rows.lineage,
        )
        if ended.result == "promoted" and proof is not None:
            cause: dict[str, Any] = {"request": request.id, "alert": request.alert, "began_at": request.began_at}
            version = self._registry.publish(request.model, proof.artifact(cause | msgspec.to_builtins(proof.rows.lineage)))
            event = msgspec.structs.replace(event, version=version, generation=generation + 1, moved_at=time.time())
        return Swap(event, generation)


def _candidate_scores(proof: Proof) -> CandidateScores:
    loss = proof.decision.candidate_loss
    return CandidateScores(proof.candidate.kind, _accuracy(proof, loss), _finite(loss))


def _champion_scores(proof: Proof) -> ChampionScores:
    loss = proof.decision.champion_loss
    return ChampionScores(_accuracy(proof, loss), _finite(loss))


def _accuracy(proof: Proof, loss: float) -> float | None:
    return 1.0 - loss if proof.task == "classifier" else None


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _decision(request: str, attempt: int) -> str:
    return f"decision/{request}/{attempt + 1}"


def _announced(request: Request) -> str:
    return f"announced/{request.id}"
