"""docs/events.md says what the code does: every field, limit and reason, and its code blocks send events that are taken."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from faust.types import TP

from detectors.errors import EventError
from detectors.spec import ModelSpec
from detectors.windows.feature import CATEGORIES
from detectors.windows.record import OTHER_SEGMENT
from streams.events import event as wire_rules
from streams.events import values, wire
from streams.events.event import Event, event_time
from streams.kafka import Log, Record
from streams.records import dead_letters
from streams.settings import KafkaSettings
from streams.topics import DEAD, EVENTS, TOPICS, topic_name
from tests.support.documents import blocks, text_of
from tests.support.paths import ROOT
from tests.support.records import NOW_MS, Fetched, decode

DOCUMENT = ROOT / "docs/events.md"
PAGE = text_of(DOCUMENT)
SCHEMA = json.loads((ROOT / "streams/schemas/event.v1.json").read_text(encoding="utf-8"))
MODELS = {"fraud": ModelSpec("fraud")}


def section(heading: str) -> str:
    """Return a section of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(text: str, number: int = 0) -> list[list[str]]:
    """Return the cells of a table of a section, without its head."""
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in tables[number].splitlines()[2:]]


def words(cell: str) -> set[str]:
    """Return what a cell has in backticks."""
    return set(re.findall(r"`([^`]+)`", cell))


def reasons(*modules: str) -> set[str]:
    """Return the first argument of every EventError that the modules make."""
    found: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EventError":
                assert isinstance(node.args[0], ast.Constant), f"{module}:{node.lineno}: a reason that is no literal"
                found.add(str(node.args[0].value))
    return found


def test_every_field_of_the_schema_is_on_the_page_and_no_other() -> None:
    """The table of fields and the schema name the same fields, and the decoder reads no other."""
    listed = set().union(*(words(row[0]) for row in table(section("Fields"))))
    assert listed == set(SCHEMA["$defs"]["fields"]["properties"])
    assert set(wire.Wire.__struct_fields__) <= listed


def test_every_reason_of_the_decoder_is_on_the_page_and_no_other() -> None:
    """The table of dead letters and the code name the same reasons."""
    listed = [words(row[0]) for row in table(section("Dead letters"), 1)]
    assert all(len(cell) == 1 for cell in listed)
    assert set().union(*listed) == reasons(*(f"streams/events/{module}.py" for module in ("event", "values", "wire")))


def test_every_reason_of_other_topics_is_on_the_page_and_no_other() -> None:
    """What else may end as a dead letter is listed as well."""
    listed = set().union(*(words(row[0]) for row in table(section("Dead letters"), 2)))
    modules = (
        "records/window_codec",
        "records/outcomes",
        "records/cloudevents",
        "engine/lanes",
        "routing/labels",
        "routing/router",
    )
    retrainer = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "retrainer").glob("*.py"))
    assert listed == reasons(*(f"streams/{module}.py" for module in modules), *retrainer)


def test_the_headers_of_dead_letters_are_on_the_page() -> None:
    """Headers, and the sizes beyond which a letter is cut, are those of the code."""
    listed = [words(row[0]) for row in table(section("Dead letters"))]
    assert set().union(*listed) == {
        dead_letters.REASON,
        dead_letters.PATH,
        dead_letters.DETAIL,
        dead_letters.SOURCE,
        dead_letters.CUT,
    }
    assert f"more than {dead_letters.MAX_LETTER_BYTES >> 20} MiB together" in PAGE
    assert f"{dead_letters._KEPT_BYTES >> 10} KiB of each are kept" in PAGE


def test_the_limits_are_those_of_the_code() -> None:
    """Every limit of the page is the constant that enforces it."""
    limits = {row[0]: row[1] for row in table(section("Limits"))}
    spec = ModelSpec("any")
    assert limits == {
        "one event": f"{wire_rules.MAX_EVENT_BYTES >> 10} KiB",
        "`id`, `entity`": f"1 to {wire_rules.MAX_ID_LENGTH} characters",
        "name of a feature, tag or class, `model_version`, `client`": f"1 to {wire_rules.MAX_NAME_LENGTH} characters",
        "`segment`": f"{wire_rules.MAX_NAME_LENGTH} characters",
        "string of a tag": f"{wire_rules.MAX_TAG_LENGTH} characters",
        "`label`, predicted label": f"{wire_rules.MAX_LABEL_LENGTH} characters",
        "tags of one event": f"{wire_rules.MAX_TAGS}",
        "classes in `probabilities`": f"{wire_rules.MAX_CLASSES}",
        "features of one event": f"`max_features`, {spec.max_features}",
        "features of one window": f"`max_features`, {spec.max_features}",
        "segments of one window": f"`max_segments`, {spec.max_segments}",
        "values in the open windows of one partition that end together": f"`max_buffered_values`, {spec.max_buffered_values:,}",
        "categories of a feature in one window": f"{CATEGORIES} by name",
        "a message on the events topic": f"{EVENTS.max_message_bytes >> 20} MiB, compressed",
    }
    assert wire_rules.MAX_TAG_LENGTH == wire_rules.MAX_NAME_LENGTH
    assert f"`{OTHER_SEGMENT}`" in section("Limits")
    rounding = values.GREATEST_SUM - 1.0
    assert rounding == pytest.approx(1.0 - values.LEAST_SUM)
    assert f"together they are 1, give or take {rounding:.2g}." in section("Fields")


def test_the_rules_of_time_are_those_of_the_code() -> None:
    """The page's bounds are the ones at which the code changes its mind."""
    time = section("Time")
    assert f"more than {wire_rules.MAX_AHEAD_SECONDS:,.0f} s ahead" in time
    assert f"From {wire_rules.MILLISECONDS_FROM:,.0f} on" in time
    assert event_time(wire_rules.MILLISECONDS_FROM, 1e8) == wire_rules.MILLISECONDS_FROM / 1000
    assert event_time(wire_rules.MILLISECONDS_FROM - 1, 1e11) == wire_rules.MILLISECONDS_FROM - 1
    for stamp in re.findall(r'"(\d{4}-[^"]+)"', time):
        assert event_time(stamp, 2e9) > 0
    for ts, reason in ((-1, "wrong_time"), ("10000-01-01T00:00:00Z", "wrong_time"), (3601.0, "future")):
        with pytest.raises(EventError) as caught:
            event_time(ts, 0.0)
        assert caught.value.reason == reason
        assert f"`{reason}`" in time


def test_what_the_page_says_of_errors_is_so() -> None:
    """The examples of a regressor's 12.0 and of "1" against 1 behave as described."""
    from streams.records.outcomes import Outcome, PredictionValue, SourceOffset, error_of

    def error(predicted: object, known: object) -> float | None:
        value = PredictionValue(predicted)  # type: ignore[arg-type] # whatever the page shows
        return error_of(
            Outcome(id="a", model="m", ts=1.0, predicted_at=0.0, prediction=value, label=known, source=SourceOffset(0, 1))  # type: ignore[arg-type]
        )

    assert (error(12.0, 20), error(12, 20), error("1", 1)) == (8.0, 1.0, 1.0)


def test_every_topic_named_exists() -> None:
    """Topics are called as the table of topics calls them."""
    known = {topic_name("driftline", topic) for topic in TOPICS}
    assert set(re.findall(r"`(driftline\.[a-z-]+)`", PAGE)) <= known


def test_the_json_of_the_page_is_taken() -> None:
    """Every JSON block is an event, of the kind that the text says."""
    fetched = [Fetched(block.encode(), number, NOW_MS + 7_200_000) for number, block in enumerate(blocks(DOCUMENT, "json"))]
    events, letters = decode(fetched, MODELS)
    assert letters == []
    assert [event.kind for event in events] == ["features", "prediction", "label", "label", "prediction"]


class Sent:
    """What the blocks of the page put on a broker."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self._log = Log(settings, "page")

    def run(self, code: str, *command: str) -> str:
        """Run a block with the broker and topics of the test in place of those of the page."""
        ready = code.replace("127.0.0.1:9092", self.settings.bootstrap).replace("driftline.", f"{self.settings.prefix}.")
        done = subprocess.run([*command, ready], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def records(self) -> list[Record]:
        """Return the events topic."""
        topic = topic_name(self.settings.prefix, EVENTS)
        return list(self._log.read(topic, {number: first for number, (first, _) in self._log.ends(topic).items()}))

    def pair(self, identity: str) -> tuple[Event, Event]:
        """Return prediction and label of an id, which must be taken, be in one partition, and be keyed by it."""
        found = [record for record in self.records() if record.key == identity.encode()]
        assert len(found) == 2
        assert found[0].partition == found[1].partition
        events, letters = decode(
            [Fetched(one.value, one.offset, int(one.timestamp_seconds * 1000), key=one.key) for one in found], MODELS
        )
        assert letters == []
        prediction, label = events
        assert (prediction.kind, label.kind) == ("prediction", "label")
        assert prediction.id == label.id == identity
        return prediction, label

    def close(self) -> None:
        """Leave the broker."""
        self._log.close()


@pytest.fixture
def sent(kafka_settings: KafkaSettings) -> Iterator[Sent]:
    """A real broker with topics of the test's own."""
    made = Sent(kafka_settings)
    yield made
    made.close()


def test_the_python_of_the_page_sends_a_prediction_and_its_label(sent: Sent) -> None:
    """Five lines of Python put both on a real broker, in one partition, and the decoder takes them."""
    (code,) = blocks(DOCUMENT, "python")
    assert len(code.splitlines()) == 5
    sent.run(code, sys.executable, "-c")
    prediction, label = sent.pair("c0ffee-1")
    assert (prediction.features, prediction.label, label.label) == ({"amount": 12.5}, True, False)


def test_the_kcat_of_the_page_sends_a_prediction_and_its_label(sent: Sent, tool: Callable[[str], str]) -> None:
    """One line of kcat each puts both on a real broker, where Python's producer would have put them."""
    tool("kcat")
    code = blocks(DOCUMENT, "sh")[0]
    assert len(code.splitlines()) == 2
    sent.run(code, "sh", "-ec")
    prediction, label = sent.pair("c0ffee-2")
    assert (prediction.label, prediction.score, label.label) == (False, 0.1, True)
    (python,) = blocks(DOCUMENT, "python")
    sent.run(python.replace("c0ffee-1", "c0ffee-2"), sys.executable, "-c")
    assert len({record.partition for record in sent.records()}) == 1


async def test_the_reasons_can_be_read_with_kcat(sent: Sent, tool: Callable[[str], str]) -> None:
    """The line that reads dead letters prints their headers."""
    from streams.kafka import Sender

    tool("kcat")
    sender = Sender(sent.settings, "page")
    letter = dead_letters.dead_letter(
        sent.settings, TP("t.events", 0), Fetched(b"x", 7, key=b"k"), EventError("nested", "features.card", "flatten it")
    )
    assert letter.topic == topic_name(sent.settings.prefix, DEAD)
    await sender.send_all([letter])
    sender.close()
    told = sent.run(blocks(DOCUMENT, "sh")[1], "sh", "-ec")
    for text in ("driftline-reason=nested", "driftline-path=features.card", "driftline-source=t.events/0/7"):
        assert text in told
