"""One round: a calm run for the reference, then every scenario from a fresh start, each compared with it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deployment import Deployment
from benchmarks.exactness.chaos import account
from benchmarks.exactness.chaos.account import Difference
from benchmarks.exactness.chaos.evidence import Evidence, evidence
from benchmarks.exactness.chaos.expected import ExpectedResults, expected
from benchmarks.exactness.chaos.log import InputLog
from benchmarks.exactness.chaos.monitors import TOML
from benchmarks.exactness.chaos.replay import forget_state
from benchmarks.exactness.chaos.run import BrokenError, ChaosServers, DisturbedRun
from benchmarks.exactness.chaos.scenarios import Scenario
from streams.kafka import create_topics, delete_topics
from streams.settings import KafkaSettings, RedisSettings, Secret

#: Short, so that a killed worker's partitions are free again soon.
_SESSION_SECONDS = 3.0
CALM = "calm"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one run.

    Args:
        name: of the scenario, or `calm`.
        faults: what went wrong besides differences.
        late: rows that came too late, features and outcomes together.
        repeats: records that stand more than once, by topic.
    """

    name: str
    partitions: int
    seconds: float
    figures: dict[str, int]
    alerts: int = 0
    retrains: int = 0
    outcomes: int = 0
    windows: int = 0
    dead: int = 0
    late: int = 0
    ticks: int = 0
    repeats: Counter[str] | None = None
    differences: tuple[Difference, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the run left exactly what it had to, and was run at all."""
        return not self.differences and not self.faults


class Round:
    """All runs over one input log."""

    def __init__(
        self, log: InputLog, servers: ChaosServers, home: Path, *, seed: int, quick: bool, say: Callable[[str], None]
    ) -> None:
        """Work out what the log demands; nothing is started. `home` keeps configurations and logs."""
        self.log = log
        self._servers = servers
        self._home = home
        self._seed = seed
        self._quick = quick
        self._say = say
        self._wanted: ExpectedResults = expected(log)
        self._reference: Evidence | None = None
        self._total: int | None = None

    @property
    def has_reference(self) -> bool:
        """Whether the calm run came to its end."""
        return self._reference is not None

    def play(self, scenario: Scenario | None) -> Result:
        """Run one scenario; None is the calm run, which comes first."""
        name = CALM if scenario is None else scenario.name
        place = f"{name}-{self.log.partitions}"
        deployment = self._deployment(place)
        dice = random.Random(f"{self._seed}/{place}")
        run = DisturbedRun(deployment, self.log, self._servers, dice, self._total, lambda text: self._say(f"{place}: {text}"))
        try:
            result = self._played(name, run, scenario)
        finally:
            deployment.stop()
        self._clear(deployment)
        return result

    def _played(self, name: str, run: DisturbedRun, scenario: Scenario | None) -> Result:
        began = time.monotonic()
        try:
            run.send()
            found = self._disturbed(run, scenario)
        except BrokenError as error:
            run.faults.append(str(error))
            return Result(name, self.log.partitions, time.monotonic() - began, dict(run.figures), faults=tuple(run.faults))
        return self._result(name, run, found, time.monotonic() - began)

    def _deployment(self, place: str) -> Deployment:
        kafka = KafkaSettings(
            bootstrap=self._servers.kafka.bootstrap,
            prefix=place,
            partitions=self.log.partitions,
            session_timeout_seconds=_SESSION_SECONDS,
        )
        create_topics(kafka)
        state = RedisSettings(url=self._servers.redis.url, prefix=place)
        return Deployment(self._home / place, kafka, state, Secret(b"a key that only this benchmark knows"), models=TOML)

    def _clear(self, deployment: Deployment) -> None:
        """Make room: what a run left would slow down the next one."""
        self._servers.kafka.start()
        self._servers.redis.start()
        delete_topics(deployment.kafka)
        forget_state(deployment.redis)

    def _disturbed(self, run: DisturbedRun, scenario: Scenario | None) -> Evidence:
        run.begin(1 if scenario is None else scenario.workers)
        if scenario is not None:
            scenario.disturb(run, scenario.times[self._quick])
        run.to_the_end()
        self._say(f"{run.deployment.kafka.prefix}: reading what it left")
        found = evidence(run.deployment, sent=len(self.log.entries))
        if scenario is None:
            self._reference, self._total = found, run.written()
        return found

    def _result(self, name: str, run: DisturbedRun, found: Evidence, seconds: float) -> Result:
        differences: Sequence[Difference] = account.against_log(found, self._wanted)
        if name == CALM:
            differences = [*differences, *account.missed_drifts(found, self.log.drifts)]
        elif self._reference is not None:
            differences = [*differences, *account.against_reference(found, self._reference)]
        return Result(
            name=name,
            partitions=self.log.partitions,
            seconds=seconds,
            figures=dict(run.figures),
            alerts=len(found.alerts.found),
            retrains=len(found.retrains.found),
            outcomes=len(found.outcomes.found),
            windows=len(found.windows),
            dead=len(found.dead.found),
            late=self._wanted.late.total(),
            ticks=found.ticks,
            repeats=account.repeats(found),
            differences=tuple(differences),
            faults=tuple(run.faults),
        )
