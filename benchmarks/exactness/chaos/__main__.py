"""The same alerts, with the same ids and bytes, after any crash, freeze or rescaling as without.

    python -m benchmarks.chaos [--quick] [--seed N] [--only NAME] [--calm] [--partitions N] [--windows N] [--rows N]
                               [--keep DIRECTORY]

Real Apache Kafka, real Redis, real worker processes at full speed. A calm run over an input log gives the
reference; each scenario then begins afresh over the same log, and what it leaves behind is compared with
the log and the reference. The last line is one JSON object; the exit status is 0 if everything was exact.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.exactness.chaos import report
from benchmarks.exactness.chaos.log import input_log
from benchmarks.exactness.chaos.round import Result, Round
from benchmarks.exactness.chaos.run import ChaosServers
from benchmarks.exactness.chaos.scenarios import SCENARIOS, Scenario
from benchmarks.machine import whole_number
from detectors.errors import DriftlineError
from driftline.servers.kafka_server import KafkaServer
from driftline.servers.redis_server import RedisServer

INTERRUPTED = 130
_PARTITIONS = (1, 4, 12)
_QUICK_PARTITIONS = (4,)
#: (windows, rows of each window and segment): about 450,000 and 75,000 events.
_SIZE, _QUICK_SIZE = (300, 150), (125, 60)
_REDIS_MB = 2048
#: A table in a pipe has no terminal to ask for its width.
_PLAIN_WIDTH = 160


def main() -> int:
    """Run what was asked for and return the exit status."""
    arguments = _arguments()
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    console.print(f"seed {seed}: --seed {seed} rolls the same dice again", highlight=False)
    results: list[Result] = []
    broken = ""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(_home(arguments.keep, seed))
        say = stack.enter_context(_progress(console))
        try:
            servers = ChaosServers(stack.enter_context(KafkaServer()), stack.enter_context(_redis()))
            for partitions in arguments.partitions or (_QUICK_PARTITIONS if arguments.quick else _PARTITIONS):
                windows, rows = _QUICK_SIZE if arguments.quick else _SIZE
                log = input_log(seed, partitions=partitions, windows=arguments.windows or windows, rows=arguments.rows or rows)
                current = Round(log, servers, home, seed=seed, quick=arguments.quick, say=say)
                for scenario in (None, *_chosen(arguments)):
                    results.append(current.play(scenario))
                    report.print_faults(console, results[-1])
                    if not current.has_reference:
                        break
        except DriftlineError as error:
            broken = str(error)
            console.print(f"benchmarks.chaos: {broken}", style="red", markup=False)
        except KeyboardInterrupt:
            console.print("benchmarks.chaos: interrupted")
            return INTERRUPTED
    console.print(report.table(results))
    found = report.as_json(results, seed=seed, quick=arguments.quick, broken=broken)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["exact"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description="The same alerts after any crash as without, on real Kafka and Redis.",
        epilog="scenarios: " + "; ".join(f"{one.name}: {one.says}" for one in SCENARIOS),
    )
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="a smaller log, the essential scenarios: under 4 minutes")
    parser.add_argument("--seed", type=int, help="of log and dice; random by default, and printed")
    parser.add_argument("--only", choices=names, metavar="NAME", action="append", help="this scenario; may be given again")
    parser.add_argument("--calm", action="store_true", help="the calm run alone")
    parser.add_argument("--windows", type=whole_number(1), help=f"of the input log ({_SIZE[0]}, quick {_QUICK_SIZE[0]})")
    parser.add_argument("--rows", type=whole_number(1), help=f"of a window and segment ({_SIZE[1]}, quick {_QUICK_SIZE[1]})")
    parser.add_argument("--partitions", type=int, metavar="N", action="append", help="of events; 1, 4 and 12 by default")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep configurations and logs of all processes here")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.calm:
        return []
    if arguments.only:
        return [scenario for scenario in SCENARIOS if scenario.name in arguments.only]
    return [scenario for scenario in SCENARIOS if scenario.quick or not arguments.quick]


@contextlib.contextmanager
def _home(keep: Path | None, seed: int) -> Iterator[Path]:
    """Give a new directory for configurations and logs; it is gone at the end unless it lies in one to `keep`."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="driftline-chaos-") as folder:
            yield Path(folder)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        yield Path(tempfile.mkdtemp(dir=keep, prefix=f"seed-{seed}-"))


def _redis() -> RedisServer:
    """Return a Redis that keeps on disk what it acknowledged, as docs/deployment.md asks of one."""
    return RedisServer(durable=True, memory_mb=_REDIS_MB)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show one line of what goes on, on a terminal only."""
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("starting Kafka and Redis") as status:
        yield status.update


if __name__ == "__main__":
    sys.exit(main())
