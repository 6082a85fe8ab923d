"""Benchmarks: each figure of docs/ comes from a command here, `python -m benchmarks.NAME`.

Rooms:
- quality/: what is found and what is raised in vain, on real and simulated streams;
- speed/: throughput, latency, memory, what a deployment needs;
- exactness/: the same alerts whatever crashes, and whatever changes in the code.

lanes/ says when a benchmark runs and what is checked: as a smoke test, in `make quick`, or by hand with `make full-NAME`.

Beside the rooms lies what several of them share: machine.py (cores, servers, tables), workers.py (worker processes under load),
deployment.py (all processes of one deployment), documents.py (what is written into docs/), progress.py (one line on a terminal).
The rooms lie on this package's path, so that a command needs no room. Imports name the room.
"""

from __future__ import annotations

from pathlib import Path

__path__ += [str(Path(__file__).parent / room) for room in ("quality", "speed", "exactness")]
