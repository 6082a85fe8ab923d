"""A swap: the decision on a request, made to happen exactly once whatever is killed in between.

Rules:
1. The decision is recorded (`decision/{request}/{attempt}`, a signed blob) before anything is done
   about it. It holds all that the event will say, so a repeat says the same.
2. The pointer moves by compare-and-set on the generation that the decision was made against, to a
   place that the record fixes (version, time, cause): moving twice is moving once.
3. A pointer that somebody else moved first is not moved. The proof is then no longer one against the
   served version: the candidate is weighed once more, against the new champion, as a second attempt.
4. The decision is told to users (swaps) and to the judge (windows) after the move, with ids from the
   request. When the brokers have acknowledged, that is recorded too (`announced/{request}`), and only
   then is the request committed.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import orjson

from detectors.identity import identity
from retrainer.request import Request
from retrainer.trial import TrialResult
from serving.registry.versions import PointerMovedError, Registry
from streams.kafka import Outgoing, Sender
from streams.records.cloudevents import SWAP, encode
from streams.records.window_records import swap_record
from streams.settings import KafkaSettings
from streams.state.store import Store
from streams.topics import SWAPS, topic_name

#: The first proof, the second one, and the word that there will be no third.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Swap:
    """A recorded decision: the data of its event, and the generation it was made against."""

    data: dict[str, Any]
    expected_generation: int
    #: Read back rather than just made: it may have been carried out already.
    repeated: bool = False

    @property
    def promotes(self) -> bool:
        """Whether the pointer is to move."""
        return bool(self.data["decision"] == "promoted")


class Swaps:
    """Decisions on requests: recorded, carried out, announced."""

    def __init__(self, kafka: KafkaSettings, store: Store, registry: Registry, sender: Sender) -> None:
        """Write records to `store`, move pointers in `registry`, announce through `sender`."""
        self._kafka = kafka
        self._store = store
        self._registry = registry
        self._sender = sender

    def announced(self, request: Request) -> bool:
        """Tell whether nothing is left to do for the request.

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
        found: list[Swap] = []
        while (blob := self._store.get_blob(_decision(request, len(found)))) is not None:
            record = orjson.loads(blob)
            found.append(Swap(record["data"], record["expected_generation"], repeated=True))
        return found

    def answering(self, request: Request, cooldown_seconds: float) -> Swap | None:
        """Return the swap to the served version if that has answered the request already, None otherwise.

        Drift and what it does to the errors ask one by one, because neither side of the judge knows the
        other (detectors/model/channel.py). A swap asked for within a cool-down before the one is the answer to both.

        Raises:
            SignatureError: a record was altered.
            UnavailableError: Redis is away.
        """
        pointer = self._registry.current(request.model)
        if pointer is None or pointer.by == request.id or request.reason == "on_demand":
            return None
        for swap in self._recorded(pointer.by):
            asked_at = swap.data.get("requested_at")  # records of older versions have none
            if swap.promotes and asked_at is not None and request.requested_at < asked_at + cooldown_seconds:
                return swap
        return None

    def record(self, request: Request, finding: TrialResult, attempt: int) -> Swap:
        """Record the decision that a finding means, publishing the candidate if it is to be promoted.

        What is recorded already stands: by a call whose answer was lost, or by another process.

        Raises:
            ModelError: the candidate cannot be published; nothing was recorded.
            UnavailableError: Redis is away.
        """
        standing = self.recorded(request)
        if len(standing) > attempt:
            return standing[attempt]
        swap = self._decide(request, finding)
        payload = orjson.dumps({"data": swap.data, "expected_generation": swap.expected_generation})
        if self._store.put_blob(_decision(request.id, attempt), payload):
            return swap
        return self.recorded(request)[attempt]

    def carry_out(self, swap: Swap) -> bool:
        """Move the pointer if the decision says so; False when somebody else moved it first.

        Raises:
            ModelError: the version is gone from the store.
            UnavailableError: Redis is away; calling again does no harm.
        """
        if not swap.promotes:
            return True
        data = swap.data
        try:
            self._registry.promote(data["model"], data["version"], swap.expected_generation, data["request"], data["moved_at"])
        except PointerMovedError:
            # A repeat that finds the pointer further on: ours came first and others since (a roll-back,
            # say). It must not be made again, and whoever moved on is not overruled.
            now = self._registry.current(data["model"])
            return swap.repeated and now is not None and now.generation > data["generation"]
        return True

    def announce(self, request: Request, swap: Swap) -> None:
        """Tell Kafka, wait for the acknowledgements, and record that.

        Raises:
            UnavailableError: Kafka or Redis is away; calling again repeats the same events.
        """
        event_id = identity("swap", request.id)
        event = encode(SWAP, event_id, request.model, request.requested_at, swap.data)
        told_to_judge = swap_record(
            self._kafka,
            swap_id=event_id,
            model=request.model,
            request=request.id,
            result=swap.data["decision"],
            version=swap.data["version"],
            features=swap.data["features"],
            requested_at=request.requested_at,
        )
        messages = [Outgoing(topic_name(self._kafka.prefix, SWAPS), request.model.encode(), event), told_to_judge]
        asyncio.run(self._sender.send_all(messages))
        self._store.put_blob(_announced(request), b"")

    def _decide(self, request: Request, finding: TrialResult) -> Swap:
        proof = finding.proof
        pointer = proof.pointer if proof is not None else self._registry.current(request.model)
        generation = pointer.generation if pointer is not None else 0
        data: dict[str, Any] = {
            "model": request.model,
            "decision": finding.word,
            "reason": finding.reason,
            "version": None,
            "previous": pointer.version if pointer is not None else None,
            "generation": None,
            "request": request.id,
            "alert": request.alert,
            "features": list(request.features),
            "began_at": request.began_at,
            "requested_at": request.requested_at,
            "trained_rows": 0,
            "holdout_rows": 0,
            "candidate": None,
            "champion": None,
            "p_value": None,
            "moved_at": None,
            "lineage": {"topic": None, "offsets": {}},
        }
        if proof is not None:
            decision = proof.decision
            classes = proof.task == "classifier"
            data["trained_rows"] = len(proof.training)
            data["holdout_rows"] = len(proof.held_out)
            data["candidate"] = {"kind": proof.candidate.kind, **_scores(decision.candidate_loss, classes=classes)}
            data["champion"] = _scores(decision.champion_loss, classes=classes) if proof.against_champion else None
            data["p_value"] = decision.p_value
            data["lineage"] = proof.rows.lineage
        if finding.word == "promoted" and proof is not None:
            lineage = {"request": request.id, "alert": request.alert, "began_at": request.began_at, **proof.rows.lineage}
            data["version"] = self._registry.publish(request.model, proof.artifact(lineage))
            data["generation"] = generation + 1
            data["moved_at"] = time.time()
        return Swap(data, generation)


def _scores(loss: float, *, classes: bool) -> dict[str, float | None]:
    return {"accuracy": 1.0 - loss if classes else None, "loss": loss if math.isfinite(loss) else None}


def _decision(request: str, attempt: int) -> str:
    return f"decision/{request}/{attempt + 1}"


def _announced(request: Request) -> str:
    return f"announced/{request.id}"
