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
#: What follows on the table, in docs/topics.md.
_FORMATS = """

## The outcomes

A record of `driftline.outcomes` is JSON: the outcomes of one model in one fetch of events, in lists of equal length.
Its schema is [outcome.v2.json](../streams/schemas/outcome.v2.json).

| field | content |
| --- | --- |
| `type`, `v` | `"outcomes"`, 2 |
| `model`, `partition` | of the events |
| `id` | the ids |
| `ts`, `predicted_at` | event times of label and prediction, epoch seconds |
| `label`, `score` | what was predicted |
| `truth` | the true label; null takes an earlier one back |
| `at`, `source` | offsets in the events topic: of the prediction, and of the later of prediction and label |
| `corrects`, `was` | whether an earlier label is replaced, and that label |
| `share` | part of the ids that was kept since the prediction |
| `segment`, `model_version`, `client`, `label_client`, `entity`, `probabilities`, `groups` | as in the events |

A list that would hold nothing but its default is left out.
`source` grows within a partition; who reads drops what is not newer.
With `[outcomes] format = "rows"` each outcome is a record of its own, of type `"outcome"`, with the answer in `prediction`.
Records of version 1 ([outcome.v1.json](../streams/schemas/outcome.v1.json)) have the features of the prediction besides.
Records of type `"tick"` move event time, and hold no outcome.

## The log of the join

`driftline.join` is the state of the [join](join.md).
It is compacted, and only workers write to it; nothing else needs to read it.
There are three kinds of records:

| key | value |
| --- | --- |
| `MODEL&#124;FIRST&#124;END&#124;FROM&#124;TO` | a chunk: what the model took of the events from FIRST up to END |
| the same | no value: all rows of the chunk have expired |
| `~begin` | JSON `{"start", "upgraded", "format"}`: from offset `start` on, the log has everything |

A chunk is part of the flush from offset FROM up to TO; no END is included.
Its header `part` is its number in the flush, and how many there are: `PART|PARTS`.
A flush counts only with all of them.
The value is the length of what follows when unpacked (4 bytes, little-endian), then a zstd frame of at most 8 MiB unpacked.
In the frame stands a MessagePack list: format (1), model, first offset, end, flush, part, parts, seed of the hash.
Then come the last offset with an id, the newest event time, the level and the floor.
Then come `label_within` in seconds, and the bytes that wait.
Then come looks, changes of level, words, (segment, version, client) of predictions, and clients of labels.
Last come predictions, labels, a bit for each label that waits, and extras.
Predictions and labels are `[rows, planes]`: for each column the first bytes of all rows, then the second bytes, and so on.
Offsets are differences.
Columns of a prediction are key (8 bytes), check (4), number of its words (4), offset (8), event time (8), score (8), answer (8).
Columns of a label are key, check, number of its client, offset, event time and truth.
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
        click.echo(_PAGE + markdown(headings, _rows(KafkaSettings(), placeholder="`partitions`")) + _FORMATS.rstrip("\n"))
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
