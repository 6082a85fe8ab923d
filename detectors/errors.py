"""The errors of Driftline, as a tree; each leaf says what to do next.

::

    DriftlineError
    ├── ConfigError          a file or setting is wrong: correct the named key      (exit 2)
    ├── EventError           one event cannot be used: it goes to the dead letters
    ├── UnavailableError     Kafka, Redis or a port cannot be reached: start or free it (exit 3)
    ├── StateError           stored state does not fit the log, River or this version  (exit 4)
    │   └── SignatureError   a stored blob was altered, or signed with another key
    └── ModelError           a model cannot be loaded, trained or served

Every message names the key, the value and the way out. The command line prints it in one line and
never shows a traceback for these errors.
"""

from __future__ import annotations


class DriftlineError(Exception):
    """An error that a user or an operator can correct; the process ends with `exit_code`."""

    exit_code = 1


class ConfigError(DriftlineError):
    """The configuration has faults; the message lists all of them, one a line."""

    exit_code = 2


class EventError(DriftlineError):
    """An event cannot be used; `reason` is a word of a closed set, `path` names the field."""

    def __init__(self, reason: str, path: str, detail: str) -> None:
        """Keep the machine-readable parts beside the sentence."""
        super().__init__(f"{path}: {detail}" if path else detail)
        self.reason = reason
        self.path = path
        self.detail = detail


class UnavailableError(DriftlineError):
    """A service that this process needs cannot be reached."""

    exit_code = 3


class StateError(DriftlineError):
    """Stored state does not fit: topic re-created, partitions changed, another River version."""

    exit_code = 4


class SignatureError(StateError):
    """A blob's signature does not match: it was altered or signed with another key."""


class ModelError(DriftlineError):
    """A model cannot be loaded, trained or served."""
