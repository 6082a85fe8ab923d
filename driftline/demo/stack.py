"""Everything the demo starts, each a process of its own: broker, Redis, worker, retrainer, service, application."""

from __future__ import annotations

import json
import re
import secrets
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from detectors.errors import UnavailableError
from driftline.config.load import parse_settings
from driftline.demo.example import MODEL, directory, first_model, module
from driftline.demo.options import DemoOptions
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.mock_broker import MockBroker
from driftline.servers.ports import free_port
from driftline.servers.redis_server import RedisServer
from retrainer.publish import publish
from streams.kafka import create_topics, delete_topics
from streams.settings import Settings
from streams.topics import TOPICS, topic_name

_START_SECONDS = 30.0
_GOLDEN_ROWS = 20


@dataclass
class Stack:
    """The running demo; a context manager that leaves nothing behind."""

    options: DemoOptions
    settings: Settings = field(default_factory=Settings)
    url: str = ""
    metrics_url: str = ""
    application: Child | None = None
    _exit: ExitStack = field(default_factory=ExitStack)
    _home: Path = field(default_factory=Path)

    def __enter__(self) -> Self:
        """Start everything but the application.

        Raises:
            DriftlineError: something did not start; what had started is gone again.
        """
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything, the application first and the broker last."""
        self._exit.close()

    def _start(self) -> None:
        self._home = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="driftline-demo-")))
        environment = self._environment()
        config = self._config()
        text = config.read_text(encoding="utf-8")
        self.settings = parse_settings(text, str(config), environment, home=directory(), need_key=True)
        # A broker of the user's is left as it was found; ours is gone with its process anyway.
        if self.options.kafka:
            create_topics(self.settings.kafka)
            if not self.options.keep:
                self._exit.callback(delete_topics, self.settings.kafka)
        elif self.options.broker == "kafka":
            create_topics(self.settings.kafka)
        rows = [row.features for row in module("rows").read_rows(_GOLDEN_ROWS)]
        publish(self.settings, MODEL, first_model(), lineage={"trained_on": "the first 28 days"}, rows=rows)
        children = {name: self._child(name, config, environment) for name in ("worker", "retrainer", "serve")}
        for name, child in children.items():
            address = _announced(name, child)
            if name == "serve":
                self.url = address
            elif name == "worker":
                self.metrics_url = address

    def _environment(self) -> dict[str, str]:
        bootstrap = self.options.kafka or self._broker()
        redis = self.options.redis or self._exit.enter_context(RedisServer()).url
        return {
            "DRIFTLINE_KAFKA_BOOTSTRAP": bootstrap,
            "DRIFTLINE_REDIS_URL": redis,
            "DRIFTLINE_SIGNING_KEY": secrets.token_hex(32),
            "DRIFTLINE_WORKER_METRICS_PORT": str(free_port()),
            "DRIFTLINE_RETRAINER_METRICS_PORT": str(free_port()),
            "DRIFTLINE_SERVE_PORT": str(free_port()),
            "PYTHONPATH": str(directory()),
        }

    def _broker(self) -> str:
        if self.options.broker == "kafka":
            return self._exit.enter_context(KafkaServer()).bootstrap
        broker = self._exit.enter_context(MockBroker())
        broker.declare(topic_name("driftline", topic) for topic in TOPICS)
        return broker.bootstrap

    def _config(self) -> Path:
        """Return the example's configuration, with names of this run's own where servers are shared."""
        config = directory() / "driftline.toml"
        if not (self.options.kafka or self.options.redis):
            return config
        own = f"driftline-demo-{secrets.token_hex(4)}"
        prefix = own if self.options.kafka else "driftline"
        shared = self._home / "driftline.toml"
        text = config.read_text(encoding="utf-8")
        shared.write_text(f'{text}\n[kafka]\nprefix = "{prefix}"\n\n[redis]\nprefix = "{own}"\n', encoding="utf-8")
        return shared

    def _child(self, name: str, config: Path, environment: dict[str, str]) -> Child:
        command = [sys.executable, "-m", "driftline", "--config", str(config), "--log-level", self.options.log_level, name]
        child = Child(command, log=self._home / f"{name}.log", name=f"driftline {name}", environment=environment)
        self._exit.callback(child.stop)
        return child.start()

    def start_application(self) -> Child:
        """Start sending the rows."""
        command = [
            *(sys.executable, str(directory() / "application.py")),
            *("--url", self.url, "--kafka", self.settings.kafka.bootstrap, "--prefix", self.settings.kafka.prefix),
            *("--rows", str(self.options.rows), "--answers", str(self.answers)),
        ]
        self.application = Child(command, log=self._home / "application.log", name="the example application")
        self._exit.callback(self.application.stop)
        return self.application.start()

    @property
    def answers(self) -> Path:
        """Where the application writes its answers at its end."""
        return self._home / "answers.csv"

    def sent(self) -> dict[str, object]:
        """Return the last line of figures that the application printed; empty before the first."""
        lines = (self._home / "application.log").read_bytes()[-4000:].splitlines() if self.application else []
        for line in reversed(lines):
            if line.startswith(b"{") and line.endswith(b"}"):
                return dict(json.loads(line))
        return {}

    def addresses(self) -> dict[str, str]:
        """Return what listens where."""
        return {
            "service": self.url,
            "worker metrics": self.metrics_url,
            "Kafka": self.settings.kafka.bootstrap,
            "Redis": self.settings.redis.url,
            "logs": str(self._home),
        }


def _announced(name: str, child: Child) -> str:
    """Return the address in the line with which a process says that it is ready."""

    def address() -> str | None:
        found = re.search(rf"driftline {name}: .*?(http://[^\s)]+)", child.tail())
        return found.group(1) if found else None

    try:
        return child.until(address, timeout_seconds=_START_SECONDS)
    except UnavailableError as error:
        raise UnavailableError(f"{error}\nrun again with --log-level debug to see more") from None
