"""What a process needs to reach its neighbours: plain values, already checked.

driftline/config/load.py makes a `Settings` from `driftline.toml` and the environment. Secrets are
`Secret`s, which print as `***` wherever a log line or a traceback would show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from detectors.spec import ModelSpec


class Secret:
    """A value that never shows itself in logs, reprs or tracebacks; `reveal()` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        """Keep the bytes."""
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes themselves."""
        return self._value

    def __bool__(self) -> bool:
        """Tell whether there is a value."""
        return bool(self._value)

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secret(***)"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The broker and the names on it."""

    bootstrap: str = "127.0.0.1:9092"
    #: First part of every topic name and consumer group: `driftline.events`, `driftline.worker`.
    prefix: str = "driftline"
    replication: int = 1
    #: Partitions of the events and outcomes topics, used when topics are created.
    partitions: int = 4
    session_timeout_seconds: float = 10.0


#: One record for the outcomes of a fetch, as columns, or a record for each outcome.
OutcomesFormat = Literal["columns", "rows"]


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """The join of predictions and labels."""

    #: Memory for what waits, of all workers together; beyond it a sample is joined.
    most_bytes: int = 512 << 20
    #: A topic with labels under another key, which a router writes to the events topic; empty without one.
    labels_topic: str = ""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """The Redis that holds models and snapshots."""

    url: str = "redis://127.0.0.1:6379/0"
    prefix: str = "driftline"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where a process listens. Port 0 lets the system choose; the process prints the choice."""

    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 0


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A signed HTTP callback for every alert event; empty url means none."""

    url: str = ""
    secret: Secret = field(default_factory=lambda: Secret(b""))
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class GrafanaSettings:
    """Where annotations go; without a token nothing is sent."""

    url: str = ""
    token: Secret = field(default_factory=lambda: Secret(b""))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one process is told at start."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    join: JoinSettings = field(default_factory=JoinSettings)
    outcomes_format: OutcomesFormat = "columns"
    redis: RedisSettings = field(default_factory=RedisSettings)
    serve: HttpSettings = field(default_factory=HttpSettings)
    #: Where /metrics of the worker and of the retrainer listens; in a container 0.0.0.0.
    metrics_host: str = "127.0.0.1"
    #: Port of /metrics of the worker and of the retrainer.
    worker_metrics_port: int = 9464
    retrainer_metrics_port: int = 9465
    #: Signs model blobs and snapshots; the same on every process of a deployment.
    signing_key: Secret = field(default_factory=lambda: Secret(b""))
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    grafana: GrafanaSettings = field(default_factory=GrafanaSettings)
    models: tuple[ModelSpec, ...] = ()
    #: What the configuration says in a way that the next version does not read, a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def longest_label_within_seconds(self) -> float:
        """The longest time that a prediction of any model waits for its label, in seconds of event time."""
        return max((model.outcomes.label_within_seconds for model in self.models), default=0.0)

    def model(self, name: str) -> ModelSpec | None:
        """Return the model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)
