"""What people write today: a Faust agent that is woken for every event and has one River ADWIN a feature.

Run by `benchmarks.throughput` in a process of its own; prints one JSON object and ends. Everything is
Faust's default but what would keep it from running beside others: no web server, no leader topic.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict

import faust
from faust.worker import Worker
from river.drift import ADWIN


def main() -> None:
    """Read so many events, then print events, seconds from the first to the last, and CPU seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput.plain_faust")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--datadir", required=True, help="a directory that the caller removes")
    arguments = parser.parse_args()
    sys.argv[1:] = []  # Faust's worker would read them
    _run(arguments.bootstrap, arguments.topic, arguments.events, arguments.datadir)


def _run(bootstrap: str, topic: str, events: int, datadir: str) -> None:
    app = faust.App(
        f"plain-{os.getpid()}",
        broker=f"kafka://{bootstrap}",
        datadir=datadir,
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )

    @app.agent(app.topic(topic, value_serializer="json"))
    async def watch(stream: faust.StreamT[dict[str, dict[str, float | str]]]) -> None:
        detectors: dict[str, ADWIN] = defaultdict(ADWIN)
        seen = drifts = 0
        began, used = 0.0, 0.0
        async for event in stream:
            if not seen:
                began, used = time.perf_counter(), time.process_time()
            for name, value in event["features"].items():
                if isinstance(value, int | float):
                    detector = detectors[name]
                    detector.update(value)
                    drifts += detector.drift_detected
            seen += 1
            if seen == events:
                result = {
                    "events": seen,
                    "seconds": time.perf_counter() - began,
                    "cpu_seconds": time.process_time() - used,
                    "drifts": drifts,
                }
                print(json.dumps(result), flush=True)
                os._exit(0)  # nothing to put away, and Faust takes seconds to leave its group

    worker = Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
