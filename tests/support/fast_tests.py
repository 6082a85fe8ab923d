"""What a fast test may not do: start a process, or use a socket.

Rules:
1. Python itself says when a process starts or a socket is used (audit events), whoever calls.
2. Two borders say nothing: `multiprocessing`, which has its own way to start a process, and the clients of librdkafka,
   which open their sockets in C. Both are replaced while a fast test runs, and only then.
3. A refusal is raised where the call stands, and again at the end: a client that takes the error for an outage cannot hide it.
4. A thread that ran before the test does not belong to the test.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing.util
import pkgutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

import driftline.servers
import streams.kafka

_PROCESS, _SOCKET = "starts a process", "uses a socket"
#: Audit event of Python -> what the test does.
_EVENTS = {
    "os.exec": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.system": _PROCESS,
    "subprocess.Popen": _PROCESS,
    "socket.bind": _SOCKET,
    "socket.connect": _SOCKET,
    "socket.getaddrinfo": _SOCKET,
    "socket.gethostbyname": _SOCKET,
    "socket.sendmsg": _SOCKET,
    "socket.sendto": _SOCKET,
}
#: Clients of librdkafka, wherever a module of these packages names them.
_CLIENTS = ("AdminClient", "Consumer", "Producer")
_PACKAGES_OF_CLIENTS = (streams.kafka, driftline.servers)


class NotFastError(RuntimeError):
    """A fast test did what only other tests may do."""


@dataclass(frozen=True, slots=True)
class _FastTest:
    """One fast test at work.

    Args:
        older: threads that ran before it.
        refused: a sentence for each call that it was refused.
    """

    older: frozenset[int | None]
    refused: list[str] = field(default_factory=list)

    def refuse(self, does: str, call: str) -> NoReturn:
        """Note the call, and raise where it stands."""
        sentence = f"a test marked fast {does}: {call}; do without, or take the mark away"
        self.refused.append(sentence)
        raise NotFastError(sentence)


#: The fast test at work; a test of this file puts another on top.
_AT_WORK: list[_FastTest] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _AT_WORK and event in _EVENTS and threading.get_ident() not in _AT_WORK[-1].older:
        shown = ", ".join(repr(argument) for argument in arguments[:2] if not isinstance(argument, socket.socket))
        _AT_WORK[-1].refuse(_EVENTS[event], f"{event}({shown})")


@functools.cache
def _listen() -> None:
    """Hear of Python's audit events from now on: a hook cannot be taken away."""
    sys.addaudithook(_audit)


@functools.cache
def _silent_borders() -> tuple[tuple[Any, str, str], ...]:
    """Return (owner, name, what a call does) of all that starts a process or uses a socket without an audit event."""
    found: list[tuple[Any, str, str]] = [(multiprocessing.util, "spawnv_passfds", _PROCESS)]
    for package in _PACKAGES_OF_CLIENTS:
        for listed in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(listed.name)
            found += [(module, name, _SOCKET) for name in _CLIENTS if hasattr(module, name)]
    return tuple(found)


def _refusing(test: _FastTest, does: str, call: str) -> Callable[..., NoReturn]:
    return lambda *_, **__: test.refuse(does, call)


@contextmanager
def without_servers() -> Iterator[None]:
    """Refuse processes and sockets to what runs inside.

    Raises:
        NotFastError: where the call stands.
        pytest.fail.Exception: at the end, if any call was refused.
    """
    _listen()
    here = threading.get_ident()
    test = _FastTest(frozenset(thread.ident for thread in threading.enumerate() if thread.ident != here))
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, does in _silent_borders():
            patch.setattr(owner, name, _refusing(test, does, f"{owner.__name__}.{name}"))
        _AT_WORK.append(test)
        try:
            yield
        finally:
            _AT_WORK.pop()
            if test.refused:
                pytest.fail(test.refused[0], pytrace=False)
