"""What people write today: a Faust agent whose Table has the predictions that wait by id; a label takes its own out.

Run by `benchmarks.join` in a process of its own; prints one JSON object and ends. Everything is Faust's default but what would
keep it from running beside others: no web server, no leader topic.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import faust
from faust.worker import Worker


def main() -> None:
    """Read so many records, then print records, outcomes and CPU seconds from the first record to the last."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.join.plain_faust")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--store", choices=["memory://", "rocksdb://"], required=True)
    parser.add_argument("--datadir", required=True, help="a directory that the caller removes")
    arguments = parser.parse_args()
    sys.argv[1:] = []  # Faust's worker would read them
    app = faust.App(
        f"plain-{os.getpid()}",
        broker=f"kafka://{arguments.bootstrap}",
        store=arguments.store,
        datadir=arguments.datadir,
        autodiscover=False,
        topic_disable_leader=True,
        topic_partitions=1,
        topic_replication_factor=1,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    _watch(app, arguments.topic, arguments.records)
    worker = Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


def _watch(app: faust.App, topic: str, records: int) -> None:
    predictions = app.Table("predictions", partitions=1)
    outcomes = app.topic(f"{topic}-outcomes", value_serializer="json")

    @app.agent(app.topic(topic, value_serializer="json"))
    async def join(stream: faust.StreamT[dict[str, Any]]) -> None:
        seen = joined = 0
        used = 0.0
        async for event in stream:
            if not seen:
                used = time.process_time()
            if event["type"] == "prediction":
                predictions[event["id"]] = event
            elif (prediction := predictions.pop(event["id"], None)) is not None:
                joined += 1
                outcome = {**prediction, "truth": event["label"], "labelled_at": event["ts"]}
                await outcomes.send(key=event["id"], value=outcome)
            seen += 1
            if seen == records:
                print(json.dumps({"records": seen, "outcomes": joined, "cpu_seconds": time.process_time() - used}), flush=True)
                os._exit(0)  # nothing to put away, and Faust takes seconds to leave its group


if __name__ == "__main__":
    main()
