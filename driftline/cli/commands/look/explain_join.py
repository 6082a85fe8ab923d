"""`driftline explain join`: what waits for labels, and what became of one id."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from detectors.errors import ConfigError
from driftline.cli.invocation import Invocation, configured
from driftline.cli.known_model import known_model
from driftline.explain.join import JoinTopics, PartitionAccount, overview
from driftline.explain.join_id import IdAccount, IdRecord, sentences, trace
from driftline.text.progress import ProgressLine
from driftline.text.tables import show_table
from streams.kafka.partitioner import partition_of
from streams.state.store import Store

_HEADINGS = ["partition", "predictions", "without a label", "labels", "bytes", "share", "oldest", "log reaches"]
_ID_HEADINGS = ["what", "partition", "offset", "event time", "value", "segment", "version", "read from"]


@click.command("join")
@click.option("--model", metavar="NAME", required=True, help="Model to explain.")
@click.option("--id", "identity", metavar="ID", help="Say what became of the prediction and the labels of this id.")
@click.option("--anywhere", is_flag=True, help="With --id: read all partitions, for messages with another key than the id.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@configured
def join(invocation: Invocation, *, model: str, identity: str | None, anywhere: bool, as_json: bool) -> None:
    """Print what waits for labels in each partition, or what became of one id.

    It reads the log of the join (topic PREFIX.join), and with --id the events where the log does not answer.
    Workers may run or not; nothing is written, and Redis is not asked.
    """
    if anywhere and identity is None:
        raise click.UsageError("--anywhere looks for one id in all partitions: add --id")
    settings = invocation.settings(references=False)
    spec = known_model(invocation, settings, model)
    progress = ProgressLine()
    topics = JoinTopics(settings.kafka, draw=progress.draw)
    try:
        if identity is None:
            lines = overview(topics.partitions, topics.log, spec)
            progress.erase()
            _show_overview(model, lines, as_json=as_json)
            return
        home = partition_of(identity.encode(), topics.partitions)

        def seed() -> int | None:
            try:
                keyed = invocation.settings(need_key=True, references=False, log_notes=False)
            except ConfigError:  # without a key: nothing of the model is in the log, so there is nothing to look up
                return None
            return Store(keyed.redis, keyed.signing_key).seed("join")

        places = range(topics.partitions) if anywhere else [home]
        accounts = [trace(spec, identity, place, log=topics.log, events=topics.events, seed=seed) for place in places]
        said = sentences(spec, home, accounts)
    finally:
        progress.erase()
        topics.close()
    _show_id(accounts, home, said, as_json=as_json)


def _show_overview(model: str, lines: list[PartitionAccount], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"model": model, "partitions": [asdict(line) for line in lines]}))
        return
    show_table(_HEADINGS, [_cells(line) for line in lines], title=f"join of {model}")
    click.echo()
    predictions, unlabelled = sum(line.predictions for line in lines), sum(line.unlabelled for line in lines)
    click.echo(f"{predictions:,} predictions are kept until label_within is over; {unlabelled:,} of them have no label yet.")
    least = min(line.share for line in lines)
    if least < 1.0:
        click.echo(f"Only a sample is joined, 1 in {round(1 / least):,} in the smallest: raise [join] most_bytes.")


def _cells(line: PartitionAccount) -> list[str]:
    return [
        str(line.partition),
        f"{line.predictions:,}",
        f"{line.unlabelled:,}",
        f"{line.labels:,}",
        f"{line.memory_bytes:,}",
        f"{line.share:g}",
        line.oldest or "-",
        f"{line.reached:,}",
    ]


def _show_id(accounts: list[IdAccount], home: int, said: list[str], *, as_json: bool) -> None:
    first = accounts[0]
    if as_json:
        found = [
            {
                **{name: getattr(one, name) for name in ("partition", "state", "reached", "level")},
                "records": [asdict(record) for record in one.records],
            }
            for one in accounts
        ]
        click.echo(
            json.dumps(
                {"model": first.model, "id": first.id, "hash": first.hash, "partition": home, "found": found, "sentences": said},
                ensure_ascii=False,
            )
        )
        return
    digits = next((one.hash for one in accounts if one.hash is not None), "not known without the signing key")
    click.echo(f"id {first.id}: hash {digits}, partition {home} of events.")
    records = [record for one in accounts for record in one.records]
    if records:
        show_table(_ID_HEADINGS, [_id_cells(record) for record in records])
    for sentence in said:
        click.echo(sentence)


def _id_cells(record: IdRecord) -> list[str]:
    value = "-" if record.value is None and record.score is not None else json.dumps(record.value, ensure_ascii=False)
    return [
        record.kind,
        str(record.partition),
        f"{record.offset:,}",
        record.time,
        value if record.score is None else f"{value} ({record.score:g})",
        record.segment or "-",
        record.model_version or "-",
        record.where,
    ]
