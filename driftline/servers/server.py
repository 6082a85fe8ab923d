"""What the private servers have in common: a child, a directory of their own, a beginning and an end."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from driftline.servers.child import Child


class PrivateServer(ABC):
    """A server as a private child; its address stays the same while the object lives, unless it says otherwise."""

    child: Child

    def __init__(self, directory: Path | None, name: str) -> None:
        """Take the directory for data and log; None makes a temporary one, removed at the end."""
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"driftline-{name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def start(self, timeout_seconds: float = 60.0) -> Self:
        """Start the server and return once it answers; also after `kill`.

        Raises:
            UnavailableError: it did not start; the end of its log is in the message.
        """

    def kill(self) -> None:
        """End the server with SIGKILL; `start` brings it back."""
        self.child.kill()

    def stop(self) -> None:
        """End the server in order and remove its temporary directory."""
        self.child.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start; a server that does not come up leaves nothing behind."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()
