"""`driftline demo`, started as a user starts it: the loop closes, on servers of others too, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from confluent_kafka.admin import AdminClient

from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer
from tests.support.command_line import Done, clean_environment

# How many rows lie between a request and its swap is up to the retrainer's share of the machine; beside other tests a swap
# may come so late that the change is learned as part of a new reference, and not told.
pytestmark = pytest.mark.alone

#: Far beyond what the demo may take; it is here so that a test that hangs ends.
PATIENCE_SECONDS = 900
#: The first half hour of the data, on the market's clock, and the row at which the market joined Victoria.
FIRST = datetime(1996, 5, 7, tzinfo=timezone(timedelta(hours=10)))
JOINED_VICTORIA = 17_424
MOVED = {"vicprice", "vicdemand", "transfer"}
_T = TypeVar("_T")


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo in a directory, where its temporary files go as well."""
    return subprocess.Popen(
        [sys.executable, "-m", "driftline", "demo", *arguments],
        cwd=home,
        env=clean_environment() | {"TMPDIR": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for a run and tell how it ended; a run that a failing test leaves behind is ended."""
    with process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    return Done(process.returncode, stdout, stderr)


def until(answer: Callable[[], _T | None], *, seconds: float = 60.0) -> _T:
    """Return the first answer that is true, or fail when none came in time."""
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """One run over all rows on servers of its own, and the directory that it was started in."""
    home = tmp_path_factory.mktemp("demo")
    return end(start(home, "--json")), home


def test_the_loop_closes(whole: tuple[Done, Path]):
    """Alert, retrain and swap follow each other by themselves: exit status 0, and `closed`."""
    done, _ = whole
    assert done.status == 0, done.stderr
    assert done.result["closed"] is True
    assert done.result["retrains"] >= 1
    assert len(done.result["swaps"]) >= 1


def test_no_request_fails_and_no_event_is_dead(whole: tuple[Done, Path]):
    """All rows are asked for, all are answered, and the workers can use all of them."""
    done, _ = whole
    result = done.result
    assert (result["rows"], result["requests"], result["failed_requests"], result["dead_letters"]) == (45_312, 45_312, 0, 0)


def test_the_change_is_found_and_dated(whole: tuple[Done, Path]):
    """One alert names at least two of the features that began to move, and dates them within three days of the truth."""
    done, _ = whole
    joined = FIRST + JOINED_VICTORIA * timedelta(minutes=30)
    near = [
        alert
        for alert in done.result["alerts"]
        if len(MOVED & set(alert["features"])) >= 2
        and abs(datetime.fromisoformat(alert["began_at"]) - joined) <= timedelta(days=3)
    ]
    assert near
    assert all(datetime.fromisoformat(alert["raised_at"]) > datetime.fromisoformat(alert["began_at"]) for alert in near)


def test_driftline_beats_the_frozen_model(whole: tuple[Done, Path]):
    """After the change the served versions are right more often than the first model would have been."""
    done, _ = whole
    accuracy = done.result["accuracy"]
    assert accuracy["driftline"] > accuracy["frozen"]


def test_the_result_has_the_fields_that_are_promised(whole: tuple[Done, Path]):
    """Scripts can rely on the names; alerts have ids of their own; times are RFC 3339."""
    done, _ = whole
    result = done.result
    fields = "rows windows alerts retrains swaps accuracy requests failed_requests dead_letters seconds closed"
    assert list(result) == fields.split()
    assert all(set(alert) == {"id", "model", "features", "began_at", "raised_at"} for alert in result["alerts"])
    assert len({alert["id"] for alert in result["alerts"]}) == len(result["alerts"])
    assert all(datetime.fromisoformat(alert["began_at"]).tzinfo == UTC for alert in result["alerts"])
    assert all(set(swap) == {"version", "seconds"} for swap in result["swaps"])
    assert set(result["accuracy"]) == {"before", "frozen", "driftline"}


def test_the_story_is_for_people(whole: tuple[Done, Path]):
    """With --json only the object is on stdout; what happened is told on stderr, without a traceback."""
    done, _ = whole
    assert len(done.stdout.splitlines()) == 1
    assert "Share of right predictions" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_leaves_no_file(whole: tuple[Done, Path]):
    """Logs, sockets and data of broker, Redis and processes are gone with them."""
    _, home = whole
    assert list(home.iterdir()) == []


def test_servers_of_others_are_left_as_they_were(kafka_server: KafkaServer, redis_server: RedisServer, tmp_path: Path):
    """On a Kafka and a Redis that are there, a short run answers every request and takes its topics away again."""
    done = end(start(tmp_path, "--json", "--rows", "3000", "--kafka", kafka_server.bootstrap, "--redis", redis_server.url))
    assert done.status in (0, 1), done.stderr
    result = done.result
    assert done.status == (0 if result["closed"] else 1)
    assert (result["rows"], result["requests"], result["failed_requests"]) == (3000, 3000, 0)
    assert "Traceback" not in done.stderr
    admin = AdminClient({"bootstrap.servers": kafka_server.bootstrap})
    assert [name for name in admin.list_topics(timeout=10).topics if name.startswith("driftline-demo")] == []
    assert redis.Redis.from_url(redis_server.url).ping()
    assert list(tmp_path.iterdir()) == []


def children(pid: int) -> dict[int, str]:
    """Return pid -> command line of the processes that a process started."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue  # it ended meanwhile
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_ctrl_c_ends_everything(tmp_path: Path):
    """Interrupted in the middle, the demo exits with 130 and no traceback, and no child and no file is left."""
    process = start(tmp_path)
    try:
        until(
            lambda: any("application.py" in command for command in children(process.pid).values()) or process.poll() is not None
        )
        started = children(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        done = end(process)
    assert done.status == 130, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(started) == 6, started
    until(lambda: not any(alive(pid) for pid in started))
    assert list(tmp_path.iterdir()) == []
