"""`driftline topics`: the table of streams/topics.py, created on the broker or printed."""

from __future__ import annotations

import click

from detectors.errors import UnavailableError
from driftline.cli.invocation import Invocation, configured
from driftline.text.tables import markdown, show_table
from streams.kafka import create_topics, partition_counts, topic_faults
from streams.settings import KafkaSettings
from streams.topics import DAY_SECONDS, TOPICS, topic_name

_KAFKA_SECONDS = 5.0
_PAGE = """# Topics

Written by `driftline topics list --markdown` from the table in `streams/topics.py`; `driftline topics create` makes them.
Names start with the `prefix` of `[kafka]`, here "driftline"; where the partitions are `partitions`, that key of `[kafka]` counts.

"""


@click.group("topics")
def command() -> None:
    """Create or list the Kafka topics."""


@command.command("create")
@configured
def create(invocation: Invocation) -> None:
    """Create the missing topics; running it twice does no harm.

    It changes no topic that is there, and says how to change one whose settings would do harm.
    """
    settings = invocation.settings()
    longest = settings.longest_label_within_seconds
    result = create_topics(settings.kafka, label_within_seconds=longest)
    show_table(["topic", "result"], [[name, done] for name, done in result.items()])
    for fault in topic_faults(settings.kafka, longest):
        click.echo(f"note: {fault}")


@command.command("list")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the page docs/topics.md; reads no configuration.")
@configured
def list_(invocation: Invocation, *, as_markdown: bool) -> None:
    """Print every topic: content, key, partitions, retention, and whether the broker has it."""
    headings = ["name", "carries", "key", "partitions", "retention", "largest message"]
    if as_markdown:
        click.echo(_PAGE + markdown(headings, _rows(KafkaSettings(), placeholder="`partitions`")))
        return
    settings = invocation.settings().kafka
    try:
        counts = partition_counts(settings, _KAFKA_SECONDS)
    except UnavailableError as error:
        click.echo(f"driftline: {error}", err=True)
        show_table(headings, _rows(settings))
        return
    rows = [[*row, "missing" if row[0] not in counts else f"exists ({counts[row[0]]})"] for row in _rows(settings)]
    show_table([*headings, "on the broker"], rows)


def _rows(settings: KafkaSettings, placeholder: str = "") -> list[list[str]]:
    return [
        [
            topic_name(settings.prefix, topic),
            topic.carries,
            topic.key,
            str(topic.partitions or placeholder or settings.partitions),
            f"{topic.retention_seconds // DAY_SECONDS} days",
            f"{topic.max_message_bytes >> 20} MiB",
        ]
        for topic in TOPICS
    ]
