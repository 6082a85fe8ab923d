"""What can happen to a deployment: each scenario disturbs a run while it works, and leaves it to recover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from benchmarks.exactness.chaos.replay import forget, forget_events, forget_join, forget_state
from benchmarks.exactness.chaos.run import DisturbedRun, freeze, thaw
from driftline.servers.server import PrivateServer

#: Disturbs a run so many times; returns while the workers go on, or after they have finished.
Disturb = Callable[[DisturbedRun, int], None]

#: What a Redis that is frozen, or a broker that is down, is kept from answering, in seconds.
_FREEZE_SECONDS = 10.0
#: How long a worker that woke may go on before anything else happens: time enough to find out, in seconds.
_AWAKE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of trouble.

    Args:
        says: what happens, in words.
        disturb: does it.
        workers: that begin.
        times: how often it happens, in a full and in a quick round; (full, quick).
        quick: whether a quick round has it.
    """

    name: str
    says: str
    disturb: Disturb
    workers: int
    times: tuple[int, int]
    quick: bool = False


def _kills(run: DisturbedRun, times: int) -> None:
    run.warm()
    for _ in run.moments(times):
        run.kill(run.any_worker())
        run.begin()
        run.warm()


def _stops(run: DisturbedRun, times: int) -> None:
    run.warm()
    for _ in run.moments(times):
        run.terminate(run.any_worker())
        run.begin()
        run.warm()


def _rescale(run: DisturbedRun, times: int) -> None:
    """One worker, two, three, one."""
    for wanted, _ in zip((2, 3, 1) * times, run.moments(3 * times), strict=False):
        while len(run.workers) < wanted:
            run.begin()
        while len(run.workers) > wanted:
            run.terminate(run.any_worker())
        run.figures["rescaled"] += 1


def _storm(run: DisturbedRun, times: int) -> None:
    """Workers come and go faster than partitions can be shared out."""
    run.warm()
    for number in run.moments(times):
        if len(run.workers) < 2 or (len(run.workers) < 4 and number % 2 == 0):
            run.begin()
            run.warm()
        elif run.dice.random() < 0.5:
            run.kill(run.any_worker())
        else:
            run.terminate(run.any_worker())
        run.figures["rebalances"] += 1


def _restart(server: Literal["kafka", "redis"], figure: str) -> Disturb:
    """Return what kills one of the servers, leaves it down for up to three seconds and starts it again, counted as `figure`."""

    def disturb(run: DisturbedRun, times: int) -> None:
        killed: PrivateServer = getattr(run.servers, server)
        for _ in run.moments(times):
            killed.kill()
            run.pause(run.dice.uniform(0.0, 3.0))
            killed.start()
            run.figures[figure] += 1

    return disturb


def _redis_freeze(run: DisturbedRun, times: int) -> None:
    for _ in run.moments(times):
        run.servers.redis.freeze()
        try:
            run.pause(_FREEZE_SECONDS)
        finally:
            run.servers.redis.thaw()
        run.figures["redis_freezes"] += 1


def _zombie(run: DisturbedRun, times: int) -> None:
    """Let a worker sleep until the others have its partitions and have worked on them, and then go on where it was."""
    run.at_work()
    for _ in run.moments(times):
        sleeper = run.any_worker()
        freeze(sleeper)
        try:
            run.pause(run.deployment.kafka.session_timeout_seconds * 1.1)
            run.grown(run.dice.randint(1, run.share(3 * times)))  # by those who have its partitions now
        finally:
            thaw(sleeper)
        run.figures["zombies"] += 1
        run.figures["woke_after_the_end"] += run.finished()
        run.pause(_AWAKE_SECONDS)


def _replay(run: DisturbedRun, times: int) -> None:
    """Everything is forgotten but the topics, and read again from the first record."""
    for _ in range(times):
        run.to_the_end()
        forget(run)
        run.begin(2)
        run.figures["replays"] += 1


def _redis_flush(run: DisturbedRun, times: int) -> None:
    """Delete every key while workers go on.

    The snapshots of the judge go too, so it judges all windows again: the same alerts, which count once. What waits for
    labels is not in Redis, so outcomes and windows are compared as in every scenario.
    """
    for _ in run.moments(times):
        forget_state(run.deployment.redis)
        run.figures["flushes"] += 1
        run.again()


def _while_stopped(change: Callable[[DisturbedRun], object], figure: str) -> Disturb:
    """Return what stops all workers, changes something and starts them again, counted as `figure`."""

    def disturb(run: DisturbedRun, times: int) -> None:
        for _ in run.moments(times):
            count = len(run.workers)
            for worker in list(run.workers):
                run.terminate(worker)
            change(run)
            run.figures[figure] += 1
            run.begin(count)

    return disturb


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("kill-9", "kill -9 of a worker at random moments", _kills, 2, (20, 5), quick=True),
    Scenario("sigterm", "SIGTERM to a worker at random moments", _stops, 2, (10, 3)),
    Scenario("rescale", "1, 2, 3 and 1 workers", _rescale, 1, (2, 1)),
    Scenario("storm", "workers join, leave and die faster than partitions are shared out", _storm, 2, (20, 6)),
    Scenario(
        "broker-restart", "kill -9 of the broker in the middle", _restart("kafka", "broker_restarts"), 2, (2, 1), quick=True
    ),
    Scenario("redis-restart", "kill -9 of Redis in the middle", _restart("redis", "redis_restarts"), 2, (3, 1)),
    Scenario("redis-freeze", "Redis does not answer for 10 s", _redis_freeze, 2, (1, 1), quick=True),
    Scenario("zombie", "a worker frozen past its session timeout, which then goes on", _zombie, 2, (3, 1), quick=True),
    Scenario("redis-flush", "every key in Redis deleted in the middle", _redis_flush, 2, (2, 1)),
    Scenario(
        "join-log-lost",
        "the log of the join deleted and created again while workers are stopped",
        _while_stopped(forget_join, "logs_lost"),
        2,
        (2, 1),
        quick=True,
    ),
    Scenario(
        "events-gone",
        "events deleted up to the committed offsets, far within the time of labels",
        _while_stopped(forget_events, "truncations"),
        2,
        (3, 2),
    ),
    Scenario("replay", "read again from offset zero, with no snapshot and no committed offset", _replay, 2, (1, 1)),
)
