"""Become a command that ends when the process that started it ends; run as a script, never imported.

`python -I -S leash.py PARENT_PID COMMAND ARGUMENT...` asks the kernel to be killed when the parent
dies (Linux; elsewhere only the parent's own clean-up ends it), then replaces itself by the command:
no process stays in between, and the pid is the command's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, *command: str) -> None:
    """Tie this process to its parent and become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):  # it died before the request took effect
            return
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted here


if __name__ == "__main__":
    main(*sys.argv[1:])
