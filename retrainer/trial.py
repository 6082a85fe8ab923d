"""A trial: one request, from waiting for its rows to the decision of the gate.

Rules:
1. Labels come after alerts, so a trial waits for `min_rows` rows. If the gate rejects the candidate, the trial waits for
   twice as many, and then once more. It stops waiting when the request's patience ends.
2. Each look at the gate spends a share of `max_error`: the first a half, the second a quarter, the last the rest
   (alpha spending). So all looks together promote a candidate that is no better with a chance of at most `max_error`.
3. The model that was tested is published: the candidate does not learn the held-out rows afterwards.
4. A model that raises never ends the process. A candidate that raises is dropped, and the trial ends only when no candidate
   is left. A row on which the champion raises counts as a row without an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from detectors.errors import ConfigError, DriftlineError, ModelError, UnavailableError
from detectors.incidents.decision import RetrainResult
from detectors.incidents.retrain import Request
from detectors.spec import ModelSpec
from retrainer.candidate import (
    Candidate,
    Progress,
    first_that_answers,
    load_factory,
    losses_as_served,
    make_fresh,
    train_each,
)
from retrainer.gate import GateDecision, decide
from retrainer.loss import VERBS, constant_answer, loss, task_of
from retrainer.training import Outcomes
from retrainer.training_set import Example, TrainingEnds, TrainingSet, TrainingTopics
from serving.registry.artifact import Artifact, Task, golden_rows
from serving.registry.versions import Pointer, Registry
from streams.kafka import Log

_GOLDEN_ROWS = 20
_LOOKS = 3
#: Seconds between two searches for features, at least, and as a multiple of what the last one took.
_LEAST_PAUSE, _PAUSES = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Proof:
    """A candidate with the rows that it learned, the rows held out, and the version that it was compared with."""

    candidate: Candidate
    task: Task
    rows: TrainingSet
    training: tuple[Example, ...]
    held_out: tuple[Example, ...]
    #: The served version, None when there is none.
    pointer: Pointer | None
    #: Whether the opponent was that version. False: it was the best constant answer.
    against_champion: bool
    decision: GateDecision

    def artifact(self, lineage: dict[str, object]) -> Artifact:
        """Return the artifact to publish.

        Raises:
            ModelError: the model cannot answer for a golden row.
        """
        newest = self.held_out[-_GOLDEN_ROWS:]
        return Artifact(
            model=self.candidate.model,
            created_at=self.training[-1].predicted_at,
            kind=self.task,
            golden=golden_rows(self.candidate.model, (row.features for row in newest)),
            lineage=lineage,
            parent=self.pointer.version if self.pointer is not None else None,
        )


@dataclass(frozen=True, slots=True)
class TrialResult:
    """How a trial ended; `proof` is None if it ended before the gate."""

    result: RetrainResult
    reason: str
    proof: Proof | None = None


class Trial:
    """One open request; `advance` it until it returns its result."""

    def __init__(
        self, request: Request, spec: ModelSpec, registry: Registry, log: Log, topics: TrainingTopics, *, started_at: float
    ) -> None:
        """Begin with a request; `started_at` is in seconds, on the clock of `advance`."""
        self.request = request
        self._spec = spec
        self._registry = registry
        self._log = log
        self._topics = topics
        self._deadline = started_at + spec.retrain.patience_seconds
        self._outcomes: Outcomes | None = None
        self._needed = min(spec.retrain.min_rows, spec.retrain.max_rows)
        self._next_look = self._needed
        self._looks = 0
        self._seen = 0
        self._next_search = started_at
        self._unspent = spec.retrain.max_error
        self._last: TrialResult | None = None

    def advance(self, ends: TrainingEnds, now: float, progress: Progress) -> TrialResult | None:
        """Read new rows, go through the gate when enough are there, and return the result once there is one.

        Args:
            ends: up to where rows are read.
            now: seconds, on the clock of `started_at`.
            progress: called regularly with (done, all); it may raise, and the trial can go on later.

        Raises:
            UnavailableError: Kafka or Redis is away; call again later.
        """
        rules = self._spec.retrain
        if not rules.enabled:
            return TrialResult(
                "abandoned", f"retraining of {self._spec.name} is switched off: set models.{self._spec.name}.retrain.enabled"
            )
        if self._outcomes is None:
            self._outcomes = Outcomes(self._log, self._topics, self._spec.name, self.request.began_at, max_rows=rules.max_rows)
        self._outcomes.advance(ends, lambda: progress(0, 0))
        late = now >= self._deadline
        self._search(self._outcomes, ends, now, progress, late=late)
        rows = len(self._outcomes)
        due = rows >= self._next_look
        if (due or late) and rows > self._seen and rows >= self._needed:
            return self._look(last=late or rows >= rules.max_rows or self._looks == _LOOKS - 1, progress=progress)
        if not late:
            return None
        if self._last is not None:
            return self._last
        found = self._outcomes.training_set() if self._outcomes.labelled >= self._needed else None
        return TrialResult(
            "abandoned",
            f"{self._outcomes.labelled if found is None else rows} labelled rows since the change point within "
            f"{rules.patience_seconds:g} s, {self._needed} are needed{'' if found is None else found.note}",
        )

    def _search(self, outcomes: Outcomes, ends: TrainingEnds, now: float, progress: Progress, *, late: bool) -> None:
        """Read features if there are labels enough for a look; a tenth of the time at most goes into that."""
        if outcomes.labelled < (self._needed if late else self._next_look) or (now < self._next_search and not late):
            return
        began = time.monotonic()
        outcomes.find_features(ends, lambda: progress(0, 0))
        self._next_search = now + max(_LEAST_PAUSE, _PAUSES * (time.monotonic() - began))

    def again(self, proof: Proof, progress: Progress) -> TrialResult:
        """Return the result for a proven candidate against a champion that came into service meanwhile.

        Raises:
            UnavailableError: Redis is away.
        """
        return self._guarded(
            lambda: self._judge(
                [proof.candidate], proof.task, proof.rows, [], max_error=self._spec.retrain.max_error, progress=progress
            )
        )

    def _look(self, *, last: bool, progress: Progress) -> TrialResult | None:
        assert self._outcomes is not None
        rows = self._outcomes.training_set()
        share = self._unspent if last else self._unspent / 2
        ended = self._guarded(lambda: self._prove(rows, share, progress))
        self._unspent -= share
        self._looks += 1
        self._seen = len(rows.rows)
        self._next_look = min(2 * self._seen, self._spec.retrain.max_rows)
        self._last = ended
        return None if ended.result == "rejected" and not last else ended

    def _guarded(self, work: Callable[[], TrialResult]) -> TrialResult:
        try:
            return work()
        except UnavailableError:
            raise
        except DriftlineError as error:
            return TrialResult("abandoned", str(error))

    def _prove(self, rows: TrainingSet, max_error: float, progress: Progress) -> TrialResult:
        training, _ = rows.split(self._spec.retrain.holdout)
        if not training:
            raise ModelError(f"{len(rows.rows)} rows leave none to learn from beside the held-out share; raise retrain.min_rows")
        dropped: list[str] = []
        starts = self._starts(dropped)
        task = task_of(next(iter(starts.values())), [row.label for row in rows.rows])
        trained = train_each(starts, training, task, dropped, progress=progress)
        return self._judge(trained, task, rows, dropped, max_error=max_error, progress=progress)

    def _starts(self, dropped: list[str]) -> dict[str, object]:
        """Return kind of candidate -> the model that it starts from, in the order of the configuration."""
        starts: dict[str, object] = {}
        _, champion, trouble = self._champion()
        for kind in self._spec.retrain.candidates:
            if kind == "warm" and champion is not None:
                starts[kind] = champion.model
            elif kind == "fresh" and self._spec.factory is not None:
                try:
                    starts[kind] = make_fresh(load_factory(self._spec.factory))
                except ModelError as error:
                    dropped.append(f"{kind}: {error}")
        if not starts and dropped:
            raise ModelError(f"no candidate is left: {'; '.join(dropped)}")
        if not starts:
            raise ConfigError(
                f"models.{self._spec.name}: nothing to train: {trouble or 'no version is served'} and there is no factory for "
                'a fresh candidate; set factory = "module:attribute", or publish a model'
            )
        return starts

    def _champion(self) -> tuple[Pointer | None, Artifact | None, str]:
        """Return the pointer, the served version, and the reason if that version cannot be used here."""
        pointer = self._registry.current(self._spec.name)
        if pointer is None:
            return None, None, ""
        try:
            return pointer, self._registry.load(self._spec.name, pointer.version), ""
        except ModelError as error:
            # Made with another River or Python: it can neither answer nor go on learning here.
            return pointer, None, str(error)

    def _judge(
        self,
        candidates: Sequence[Candidate],
        task: Task,
        rows: TrainingSet,
        dropped: list[str],
        *,
        max_error: float,
        progress: Progress,
    ) -> TrialResult:
        """Send the first candidate that answers every held-out row through the gate; `candidates` are in order of choice."""
        training, held_out = rows.split(self._spec.retrain.holdout)
        candidate, losses = first_that_answers(candidates, held_out, task, dropped, progress=progress)
        pointer, champion, _ = self._champion()
        if champion is None:
            guess = constant_answer(task, [row.label for row in training])
            opponent = [loss(task, guess, row.label) for row in held_out]
            against = f"; no version can be compared with, so against always answering {guess!r}"
        else:
            opponent, unanswered = losses_as_served(champion.model, held_out, task, progress=progress)
            against = f"; the champion could not answer {unanswered} of {len(held_out)} rows" if unanswered else ""
        if dropped:
            against += f"; dropped {'; '.join(dropped)}"
        against += rows.note
        decision = decide(losses, opponent, max_error=max_error, verb=VERBS[task], against=against)
        proof = Proof(candidate, task, rows, training, held_out, pointer, champion is not None, decision)
        return TrialResult("promoted" if decision.promote else "rejected", decision.reason, proof)


def abandoned(ended: TrialResult, reason: str) -> TrialResult:
    """Return a result that keeps its proof but promotes nothing."""
    return replace(ended, result="abandoned", reason=reason)
