"""Real neighbours for the tests: Apache Kafka, Redis, and settings that keep tests apart.

| folder | what |
|---|---|
| detectors, streams, serving, retrainer, dashboards, driftline | the tests of each package |
| benchmarks | tiny runs of the benchmarks, and tests of how they count |
| project | documents, packaging, imports, the compose file |
| support | helpers; a test module imports from there and never from another test module |
| data | files that tests read |

| a test that | takes |
|---|---|
| needs no server, no process and no socket | `pytest.mark.fast`: `make test-fast` runs it |
| needs one, or a second, in a file marked fast | `pytest.mark.slow` |
| talks to Kafka or Redis | `settings`, or `kafka_settings` and `redis_settings`: names of its own on the shared servers |
| kills, freezes or restarts a server | `own_kafka`, `own_redis` |
| needs a broker and no Java | `mock_broker` |
| runs a program such as promtool | `tool` |
| has a seed or a count to report | `say` |
| names something outside of its directory | `prefix` |

docs/development.md says more. `make test` runs the files of tests in several processes at once (pytest-xdist); `kafka_server`
and `redis_server` are started once in each of them and must be left running. What the machine lacks skips the test and is
printed at the end; with CI=true it fails it.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import settings as hypothesis_settings

from detectors.errors import UnavailableError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.mock_broker import MockBroker
from driftline.servers.redis_server import RedisServer
from streams.kafka import create_topics
from streams.settings import HttpSettings, KafkaSettings, RedisSettings, Secret, Settings
from streams.topics import TOPICS, topic_name
from tests.support.absent import absent
from tests.support.fast_tests import without_servers
from tests.support.suite import COUNTED, LONG_FILES, counted, is_fast

# No example is judged by how long it took: machines differ.
hypothesis_settings.register_profile("driftline", deadline=None)
hypothesis_settings.load_profile("driftline")

_MARKS = {"kafka": {"kafka_server", "own_kafka"}, "redis": {"redis_server", "own_redis"}}
_SAID = "said"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by the neighbours they use, count the fast ones, and let several processes begin with the long files.

    `-m "not kafka"` leaves out what needs Java. A file goes whole to the first process that is free, in the order of
    `items`, so that none is left with a long one at the end; what runs alone is the end.
    """
    if (fast := counted(items)) is not None:
        config.stash[COUNTED] = fast
    if hasattr(config, "workerinput"):
        order = {name: number for number, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: (_alone(item), order.get(item.path.stem, len(order))))
    for item in items:
        for mark, fixtures in _MARKS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse servers and processes to the fixtures of a fast test."""
    with _allowed(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse servers and processes to a fast test."""
    with _allowed(item):
        return (yield)


def _allowed(item: pytest.Item) -> AbstractContextManager[None]:
    return without_servers() if is_fast(item) else nullcontext()


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Run a test marked `alone` while no other process of the run has one: all hold a lock, that test keeps it for itself."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with (item.config._tmp_path_factory.getbasetemp().parent / "alone").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if _alone(item) else fcntl.LOCK_SH)
        return (yield)


def _kafka() -> KafkaServer:
    try:
        return KafkaServer()
    except UnavailableError as error:
        reason = str(error)
    return absent(reason)


def _redis() -> RedisServer:
    if shutil.which("redis-server") is None:
        absent("no redis-server on PATH: install it")
    return RedisServer()


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """A real Apache Kafka for the whole run."""
    with _kafka() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real redis-server for the whole run."""
    with _redis() as server:
        yield server


@pytest.fixture
def own_kafka() -> Iterator[KafkaServer]:
    """A real Apache Kafka for one test, which may kill it."""
    with _kafka() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A real redis-server for one test, which may kill or freeze it."""
    with _redis() as server:
        yield server


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that keeps a line for the end of the run, and beside the test if it fails."""

    def keep(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        request.node.user_properties.append((_SAID, line))  # pytest brings it from whichever process runs the test

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests said."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind) if report.when == "call"]
    lines = [f"{report.nodeid}: {line}" for report in reports for name, line in report.user_properties if name == _SAID]
    if lines:
        terminalreporter.section("what tests said")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


@pytest.fixture
def mock_broker() -> Iterator[MockBroker]:
    """The embedded broker for one test."""
    with MockBroker() as broker:
        yield broker


@pytest.fixture
def tool() -> Callable[[str], str]:
    """A function that gives the path of a program, and skips the test where there is none."""

    def find(name: str) -> str:
        return shutil.which(name) or absent(f"no {name} on PATH: install it")

    return find


@pytest.fixture
def prefix() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def kafka_settings(kafka_server: KafkaServer, prefix: str) -> Iterator[KafkaSettings]:
    """Topics of this test's own on the shared broker, removed afterwards."""
    settings = KafkaSettings(bootstrap=kafka_server.bootstrap, prefix=prefix, session_timeout_seconds=6.0)
    create_topics(settings)
    yield settings
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    for future in admin.delete_topics([topic_name(prefix, topic) for topic in TOPICS]).values():
        future.exception(30)


@pytest.fixture
def redis_settings(redis_server: RedisServer, prefix: str) -> RedisSettings:
    """Keys of this test's own on the shared Redis."""
    return RedisSettings(url=redis_server.url, prefix=prefix)


@pytest.fixture
def signing_key() -> Secret:
    """A key for blobs and snapshots."""
    return Secret(b"a key that only the tests know...")


@pytest.fixture
def settings(kafka_settings: KafkaSettings, redis_settings: RedisSettings, signing_key: Secret) -> Settings:
    """All settings of one process, with ports that the system chooses and no models."""
    return Settings(
        kafka=kafka_settings,
        redis=redis_settings,
        serve=HttpSettings(port=0),
        worker_metrics_port=0,
        retrainer_metrics_port=0,
        signing_key=signing_key,
    )
