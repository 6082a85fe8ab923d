"""How long `driftline --help` takes, from process start to exit: the median of ten runs, the aim is 0.2 s.

python -m benchmarks.cli_start    prints one JSON object as its last line
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 10
AIM_SECONDS = 0.2


def seconds(command: list[str]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print; Python's own start stands beside it, because nobody can be faster."""
    beside = Path(sys.executable).with_name("driftline")
    script = str(beside) if beside.exists() else shutil.which("driftline")
    if script is None:
        sys.exit("no driftline command beside this Python or on PATH: run `make install`")
    seconds([script, "--help"])  # writes the byte code, as the first start of an installation does
    measured = sorted(seconds([script, "--help"]) for _ in range(RUNS))
    bare = statistics.median(seconds([sys.executable, "-c", ""]) for _ in range(RUNS))
    median = statistics.median(measured)
    result = {
        "benchmark": "cli_start",
        "runs": RUNS,
        "median_seconds": round(median, 3),
        "slowest_seconds": round(measured[-1], 3),
        "bare_python_seconds": round(bare, 3),
        "aim_seconds": AIM_SECONDS,
        "met": median < AIM_SECONDS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
