"""A worker that has its imports behind it and waits for its cue, to take a killed one's place at once.

    python -m benchmarks.chaos.spare --config FILE worker

Python takes seconds to import a worker. In that time the others would run through the log, and most kills
would fall into an empty house. At SIGUSR1 this process becomes exactly what `driftline` would be.
"""

from __future__ import annotations

import signal
import sys
import threading

import driftline.cli.commands.run.worker
from driftline.cli.main import main

#: What its log says once the cue may come.
WAITING = "spare: waiting"
CUE = signal.SIGUSR1

_ = driftline.cli.commands.run.worker  # imported for its imports

if __name__ == "__main__":
    cue = threading.Event()
    signal.signal(CUE, lambda *_: cue.set())
    sys.stdout.write(f"{WAITING}\n")
    sys.stdout.flush()
    while not cue.wait(0.02):  # another thread may be the one that the signal wakes
        pass
    main()
