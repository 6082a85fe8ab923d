"""The borders at which faults come into a worker: Redis, Kafka, the stages of its lanes, and their functions.

The border of waiting is in tests/support/faults.py, with the rules of all of them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import redis
from confluent_kafka import KafkaError, KafkaException
from faust.types import TP

from detectors.errors import UnavailableError
from streams.engine.checkpoint import Checkpoint
from streams.engine.lanes import StageMaker
from streams.engine.outbox import Outbox
from streams.engine.stage import Stage
from streams.engine.transport import LogState
from streams.kafka import Outgoing
from streams.kafka.batch import Batch
from tests.support.faults import DETECTORS, LIFE, PRODUCT, STREAMS, Life, die

#: Where a function may raise anything: code that turns records into state and messages.
_STAGE_CODE = tuple(
    str(path.resolve(strict=True))
    for path in (
        *(
            STREAMS / "stages" / f"{name}.py"
            for name in ("join", "outcome_columns", "judge", "summarise", "summarise_outcomes", "training_rows")
        ),
        STREAMS / "engine" / "outbox.py",
        *(STREAMS / "records" / f"{name}.py" for name in ("window_records", "window_codec", "outcomes", "dead_letters")),
        STREAMS / "records" / "join_chunks.py",
        STREAMS / "events" / "identified.py",
        *(DETECTORS / "pairing" / f"{name}.py" for name in ("partition", "pairing", "pairs")),
        *(DETECTORS / "windows" / f"{name}.py" for name in ("windows", "record")),
        *(DETECTORS / "model" / f"{name}.py" for name in ("model_monitor", "aligner", "channel")),
        *(DETECTORS / "incidents" / f"{name}.py" for name in ("incident", "retrain")),
    )
)
_STORE = str((STREAMS / "state" / "store.py").resolve(strict=True))


# -- Redis -----------------------------------------------------------------------------------------


@contextmanager
def faulty_redis() -> Iterator[None]:
    """Let commands of the Redis client fail, for whoever belongs to a life."""
    pipeline: Any = redis.client.Pipeline
    owners: list[tuple[Any, str, Callable[..., str]]] = [
        (redis.Redis, "execute_command", lambda _self, *args, **_: str(args[0])),
        (pipeline, "immediate_execute_command", lambda _self, *args, **_: str(args[0])),
        (pipeline, "execute", lambda self, *_, **__: "+".join(str(args[0]) for args, _ in self.command_stack)),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in owners]
    for owner, name, title in owners:
        setattr(owner, name, _faulty(getattr(owner, name), title))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _faulty(original: Callable[..., Any], title: Callable[..., str]) -> Callable[..., Any]:
    def command(self: Any, *args: Any, **options: Any) -> Any:
        life = LIFE.get()
        if life is None:
            return original(self, *args, **options)
        life.check()
        named = title(self, *args, **options)
        border = "redis transaction" if isinstance(self, redis.client.Pipeline) else "redis"
        kind = life.injector.reached(border, f"{named} {_caller()}") or ""
        die(kind, "before", life)
        if kind in _REFUSALS:
            raise _REFUSALS[kind]
        answer = original(self, *args, **options)
        die(kind, "after", life)
        if kind == "lost":
            raise redis.TimeoutError("injected")
        if kind == "broken after":
            raise redis.WatchError("injected")
        return answer

    return command


_REFUSALS: dict[str, Exception] = {
    "refused": redis.ConnectionError("injected"),
    "oom": redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
    "broken before": redis.WatchError("injected"),
}


def _caller() -> str:
    """Return the function of the store that sent a command, and who called it."""
    inside, frame = "", sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == _STORE and "<" not in code.co_qualname and code.co_name not in ("_call", "_transact"):
            inside = code.co_qualname
        elif inside and code.co_filename.startswith(PRODUCT) and "<" not in code.co_qualname:
            return f"{inside} of {code.co_qualname}"
        frame = frame.f_back  # type: ignore[assignment] # ends with the loop
    return inside


# -- Kafka -----------------------------------------------------------------------------------------


class FaultyProducer:
    """Stands between a `Sender` and its producer, and notes how far each partition has been acknowledged."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.ends: dict[TP, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def __len__(self) -> int:
        return len(self._producer)

    def produce(self, topic: str, *, on_delivery: Callable[[Any, Any], None], **rest: Any) -> None:
        """Queue a message."""
        life = LIFE.get()

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                tp = TP(message.topic(), message.partition())
                self.ends[tp] = max(self.ends.get(tp, 0), message.offset() + 1)
            on_delivery(error, message)

        kind = ""
        if life is not None:
            life.check()
            kind = life.injector.reached("produce", topic.rpartition(".")[2]) or ""
            die(kind, "before", life)
        if kind == "full":
            raise BufferError("injected")
        if kind == "refused before":
            raise KafkaException(KafkaError(KafkaError._FATAL, "injected"))
        if life is not None and kind == "held":
            life.hold()
        if life is not None and life.held:
            return
        self._producer.produce(topic, on_delivery=delivered, **rest)
        if life is not None:
            die(kind, "after", life)
        if kind == "refused after":
            raise KafkaException(KafkaError(KafkaError._FATAL, "injected"))

    def flush(self, timeout_seconds: float) -> int:
        """Wait for acknowledgements; the number of messages without one."""
        life = LIFE.get()
        if life is None:
            return int(self._producer.flush(timeout_seconds))
        life.check()
        kind = life.injector.reached("acknowledgements", "flush") or ""
        die(kind, "before", life)
        if kind == "unacknowledged":
            return 1
        if kind == "raises before":
            raise KafkaException(KafkaError(KafkaError._FATAL, "injected"))
        while life.held:
            time.sleep(0.002)  # as long as this life lasts
            life.check()
        left = int(self._producer.flush(timeout_seconds))
        die(kind, "after", life)
        if kind == "raises after":
            raise KafkaException(KafkaError(KafkaError._FATAL, "injected"))
        return 1 if kind == "all delivered" else left

    def forget(self) -> None:
        """Drop what is queued, as the death of the process does, and wait for what is under way."""
        self._producer.purge(in_queue=True, in_flight=False)
        self._producer.flush(30.0)


# -- stages ----------------------------------------------------------------------------------------


class _FaultyOutbox:
    """An outbox as its lane has it: to add the dead letter of a record that is stepped over may fail."""

    def __init__(self, agent: str, outbox: Outbox) -> None:
        self._agent = agent
        self._outbox = outbox

    def __len__(self) -> int:
        return len(self._outbox)

    def add(self, letter: Outgoing) -> None:
        """Leave a record out."""
        with _failing(f"{self._agent} step_over"):
            self._outbox.add(letter)


class _FaultyStage:
    """A stage whose every call may fail, before or after it has done its work."""

    def __init__(self, agent: str, stage: Stage) -> None:
        self._agent = agent
        self._stage = stage
        self.outbox = _FaultyOutbox(agent, stage.outbox)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    async def feed(self, batch: Batch, position: int) -> None:
        """Take records."""
        with _failing(f"{self._agent} feed"):
            await self._stage.feed(batch, position)

    def checkpoint(self, position: int, *, final: bool) -> Checkpoint | None:
        """Give away what was produced."""
        with _failing(f"{self._agent} checkpoint"):
            checkpoint = self._stage.checkpoint(position, final=final)
        if checkpoint is None or checkpoint.complete is None:
            return checkpoint
        keep = checkpoint.complete

        async def store() -> None:
            with _failing(f"{self._agent} store"):
                await keep()

        return replace(checkpoint, complete=store)


@contextmanager
def _failing(site: str) -> Iterator[None]:
    life = LIFE.get()
    assert life is not None
    kind = life.injector.reached("stage", site) or ""
    _raise(kind, "before", life)
    yield
    _raise(kind, "after", life)


def _raise(kind: str, when: str, life: Life) -> None:
    die(kind, when, life)
    if kind == f"error {when}":
        raise RuntimeError("injected")
    if kind == f"away {when}":
        raise UnavailableError("injected")


def faulty_makers(makers: Mapping[str, Mapping[str, StageMaker]]) -> dict[str, dict[str, StageMaker]]:
    """Return the table with makers and stages that may fail."""

    def faulty(agent: str, maker: StageMaker) -> StageMaker:
        async def make(tp: TP, log: LogState) -> Any:
            with _failing(f"{agent} make"):
                return _FaultyStage(agent, await maker(tp, log))

        return make

    return {topic: {agent: faulty(agent, maker) for agent, maker in agents.items()} for topic, agents in makers.items()}


# -- functions -------------------------------------------------------------------------------------


@contextmanager
def faulty_functions() -> Iterator[None]:
    """Let functions of the stages fail where they begin or where they end, in this thread."""
    loop = asyncio.get_running_loop()

    def injected() -> RuntimeError:
        loop.call_soon(sys.settrace, entered)  # Python drops a trace function that raises
        return RuntimeError("injected")

    def entered(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_STAGE_CODE) or "<" in code.co_name or code.co_name == "__init__":
            return None
        life = LIFE.get()
        kind = None if life is None else life.injector.reached("function", code.co_qualname)
        if kind == "error on entry":
            raise injected()
        if kind == "error on return":
            frame.f_trace_lines = False
            return leaving
        return None

    def leaving(_frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "return":
            raise injected()
        return leaving

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(before)
