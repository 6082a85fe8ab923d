"""The suite itself: what a fast test may do and how many there are, the long files, and where helpers stand."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis

from streams.kafka import Log, Sender
from streams.settings import KafkaSettings
from tests.support.fast_tests import NotFastError, without_servers
from tests.support.paths import ROOT
from tests.support.suite import COUNTED, LEAST_FAST, LONG_FILES, files_of_tests

pytestmark = pytest.mark.fast


def nothing() -> None:
    """Do nothing, in another process."""


def listen() -> None:
    """Listen as aiohttp does."""

    async def serve() -> None:
        await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)

    asyncio.run(serve())


def in_a_thread() -> None:
    """Ask for a connection in a thread of the test's own, which swallows the refusal."""

    def connect() -> None:
        with suppress(NotFastError):
            socket.create_connection(("127.0.0.1", 9))

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()


#: What a test may do wrongly, and what it is then said to do.
WRONGS: dict[str, tuple[Callable[[], object], str]] = {
    "subprocess": (lambda: subprocess.run(["true"], check=True), "starts a process: subprocess.Popen('true'"),
    "fork": (os.fork, "starts a process: os.fork()"),
    "fork of multiprocessing": (multiprocessing.get_context("fork").Process(target=nothing).start, "starts a process: os.fork"),
    "spawn": (multiprocessing.get_context("spawn").Process(target=nothing).start, "starts a process: multiprocessing.util"),
    "shell": (lambda: os.system("true"), "starts a process: os.system(b'true')"),
    "connection": (lambda: socket.create_connection(("127.0.0.1", 9)), "uses a socket: socket."),
    "server": (listen, "uses a socket: socket."),
    "thread": (in_a_thread, "uses a socket: socket."),
    "Redis": (lambda: redis.Redis().ping(), "uses a socket: socket."),
    "producer": (lambda: Sender(KafkaSettings(), "test"), "uses a socket: streams.kafka.sender.Producer"),
    "consumer": (lambda: Log(KafkaSettings(), "test"), "uses a socket: streams.kafka.log.Consumer"),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_process_or_a_socket_is_refused(wrong: str) -> None:
    """Whatever starts a process or uses a socket is refused at once, and the test fails even if it hides that."""
    act, sentence = WRONGS[wrong]
    with pytest.raises(pytest.fail.Exception) as failed, without_servers(), suppress(Exception):
        act()
    assert str(failed.value).startswith(f"a test marked fast {sentence}")


@pytest.mark.xfail(strict=True, raises=pytest.fail.Exception, reason="shows that a fast test is watched")
def test_every_fast_test_is_watched() -> None:
    """A test with the mark fails if it starts a process, whatever else it does."""
    with suppress(NotFastError):
        subprocess.run(["true"], check=True)


def test_work_without_servers_is_left_alone() -> None:
    """Files, threads and an event loop are no servers."""
    with without_servers():
        assert asyncio.run(asyncio.to_thread(os.getpid)) == os.getpid()


def test_at_least_half_of_all_tests_are_fast(request: pytest.FixtureRequest) -> None:
    """So `make test-fast` stays worth running: a new test that needs no server gets the mark."""
    counts = request.config.stash.get(COUNTED, None)
    if counts is None:
        pytest.skip("only some of the files of tests were collected")
    fast, tests = counts
    assert fast >= LEAST_FAST * tests, f"only {fast} of {tests} tests are marked fast"


def test_every_long_file_is_there() -> None:
    """The table of long files names files that exist, each once."""
    stems = [path.rpartition("/")[2].removesuffix(".py") for path in files_of_tests()]
    assert [name for name in LONG_FILES if stems.count(name) != 1] == []


def test_no_test_imports_from_another() -> None:
    """What two test modules need stands in tests/support/."""
    imported = re.compile(r"^from tests\.(?!support|data)\S+ import .*|^import tests\.(?!support|data).*", re.MULTILINE)
    found = {name: imported.findall((ROOT / name).read_text(encoding="utf-8")) for name in files_of_tests()}
    assert {name: lines for name, lines in found.items() if lines} == {}
