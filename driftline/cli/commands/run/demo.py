"""`driftline demo`: the whole product on real rows, on this machine alone."""

from __future__ import annotations

import click

from driftline.cli.logs import start_logging
from driftline.demo.options import DemoOptions


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object in the last line.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end and print the addresses.")
@click.option("--kafka", metavar="BOOTSTRAP", default="", help="Use this Kafka, such as 127.0.0.1:9092.")
@click.option("--redis", metavar="URL", default="", help="Use this Redis, such as redis://127.0.0.1:6379/0.")
@click.option(
    "--broker",
    type=click.Choice(["embedded", "kafka"]),
    default="embedded",
    show_default=True,
    help="Broker to start: librdkafka's in-memory one, or a real Apache Kafka (needs Java and Maven).",
)
@click.option("--rows", type=click.IntRange(0), default=0, metavar="N", help="Send at most N rows; 0 sends all 45,312.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool, keep: bool, kafka: str, redis: str, broker: str, rows: int) -> int:
    """Watch the loop close on 45,312 real rows, on this machine alone.

    They are the prices and demands of an electricity market. Starts a broker, a Redis and the three Driftline
    processes, sends the rows through the HTTP service, and shows drift, retrain and swap as they happen. Exit status 0
    only if the loop closed by itself.
    """
    from driftline.demo.run import run  # noqa: PLC0415 - the demo loads the whole product; --help does not wait for it

    log_level = ctx.find_root().obj["log_level"]
    start_logging(log_level)
    return run(DemoOptions(as_json, keep, kafka, redis, broker, rows, log_level))
