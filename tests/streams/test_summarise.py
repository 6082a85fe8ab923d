"""The summarise stages: every event is accounted for, and what crashes and comes again changes no window."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from detectors.errors import EventError
from detectors.model.aligner import WindowAligner
from detectors.spec import ModelSpec, OutcomeSpec, shapes_of
from detectors.windows.record import Mark, Window
from detectors.windows.row import PREDICTION_LABEL, PREDICTION_SCORE
from streams.events.event import tick
from streams.events.typed_records import row_of_event
from streams.kafka import Outgoing
from streams.metrics import Metrics
from streams.records import window_codec, window_records
from streams.records.dead_letters import REASON, SOURCE
from streams.records.outcomes import Outcome, OutcomeColumns, OutcomeTick, PredictionValue, SourceOffset, encode
from streams.settings import KafkaSettings
from streams.stages.summarise import SummariseEvents
from streams.stages.summarise_outcomes import SummariseOutcomes
from tests.support.records import Fetched, batch_of, checkpoints, decode, feed, log_of, make_durable
from tests.support.wired import wired

KAFKA = KafkaSettings(prefix="t")
#: Event times are small numbers, and the broker's clock is far ahead of them.
BEGIN = 1_000_000.0
MODELS = {
    "m": ModelSpec("m", window_seconds=10.0, lateness_seconds=5.0, max_segments=2),
    "n": ModelSpec("n", window_seconds=30.0, outcomes=OutcomeSpec(window_seconds=20.0)),
}
Stage = SummariseEvents | SummariseOutcomes


def events_stage(metrics: Metrics, start: int = 0) -> SummariseEvents:
    """Return the stage of one partition of events."""
    return SummariseEvents(wired(MODELS, metrics=metrics), source=0, start=start)


def outcomes_stage(metrics: Metrics, start: int = 0) -> SummariseOutcomes:
    """Return the stage of one partition of outcomes."""
    return SummariseOutcomes(wired(MODELS, metrics=metrics), source=0, start=start)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the sum of a counter over the children that have these labels."""
    return sum(
        one.value
        for family in metrics.registry.collect()
        for one in family.samples
        if one.name == name and all(one.labels.get(key) == value for key, value in labels.items())
    )


def told(messages: Iterable[Outgoing]) -> list[Window | Mark]:
    """Return the windows and marks among messages."""
    found = [window_codec.parse(message.value) for message in messages if message.topic == "t.windows"]
    return [record for record in found if isinstance(record, Window | Mark)]


def judged(records: Iterable[Window | Mark]) -> dict[str, list[Window]]:
    """Return what a judge would merge, by model: parts that marks complete, repeats left out."""
    streams: dict[str, WindowAligner] = {}
    found: dict[str, list[Window]] = {}
    for record in records:
        aligner = streams.setdefault(record.model, WindowAligner())
        if isinstance(record, Window):
            aligner.add(record)
        else:
            for _, segments in aligner.advance(record):
                found.setdefault(record.model, []).extend(part for parts in segments.values() for part in parts)
    return found


def event(at: float, model: str = "m", **fields: Any) -> dict[str, Any]:
    """Return features of a model at BEGIN + `at` seconds."""
    return {"model": model, "ts": BEGIN + at, "features": {"x": at}, **fields}


async def test_a_window_holds_what_its_events_say() -> None:
    """Ten seconds of predictions become one window of features and answers; a later event closes it."""
    metrics = Metrics()
    stage = events_stage(metrics)
    log = log_of(
        [
            event(0, prediction={"label": True, "score": 0.5}),
            event(4, prediction={"label": False, "score": 0.25}),
            event(15, segment="eu"),
        ]
    )
    position = await feed(stage, log)
    window, mark = told(await make_durable(stage.checkpoint(position, final=False)))
    assert isinstance(window, Window)
    assert (window.start, window.n, window.first, window.last, sorted(window.features)) == (
        BEGIN,
        2,
        0,
        1,
        [PREDICTION_LABEL, PREDICTION_SCORE, "x"],
    )
    assert window.features[PREDICTION_LABEL].categories == {"false": 1, "true": 1}
    assert mark == Mark("m", "features", 0, 1, BEGIN + 10)
    assert sample(metrics, "driftline_windows_total", model="m", kind="features") == 1


@pytest.mark.parametrize(
    ("prediction", "values"),
    [
        ({"label": 12.5, "score": None}, {PREDICTION_LABEL: 12.5}),
        ({"label": 12.0}, {PREDICTION_LABEL: 12.0}),
        ({"label": 7, "score": 0.5}, {PREDICTION_LABEL: "7", PREDICTION_SCORE: 0.5}),
        ({"label": True}, {PREDICTION_LABEL: True}),
        ("spam", {PREDICTION_LABEL: "spam"}),
        (0.25, {PREDICTION_SCORE: 0.25}),
        ({}, {}),
    ],
)
def test_a_regressors_answer_stays_a_number(prediction: Any, values: dict[str, Any]) -> None:
    """A predicted float is watched as a number, an integer as the name of a class, a boolean or string as it is."""
    (found,), _ = decode(log_of([event(0, prediction=prediction)]), MODELS)
    row = row_of_event(found)
    assert row.values == {"x": 0, **values}
    assert {name: type(value) for name, value in (row.values or {}).items() if name != "x"} == {
        name: type(value) for name, value in values.items()
    }


async def test_bad_events_go_to_the_dead_letters_unchanged() -> None:
    """What cannot be used is sent on as it came, with key, reason and place, and counted by reason."""
    metrics = Metrics()
    stage = events_stage(metrics)
    log = [
        Fetched(b"\xff\x00", 0, partition=3, key=b"k"),
        Fetched(None, 1, partition=3),
        *log_of([event(0)], first=2, partition=3),
    ]
    letters = await make_durable(stage.checkpoint(await feed(stage, log), final=False))
    assert [(one.topic, one.key, one.value) for one in letters if one.topic == "t.dead-letters"] == [
        ("t.dead-letters", b"k", b"\xff\x00"),
        ("t.dead-letters", None, None),
    ]
    assert dict(letters[0].headers)[SOURCE] == b"t.events/3/0"
    assert sample(metrics, "driftline_dead_letters_total", reason="not_json") == 1
    assert sample(metrics, "driftline_dead_letters_total", reason="empty") == 1


async def test_records_that_are_no_outcomes_go_to_the_dead_letters() -> None:
    """Garbage on the outcomes topic is put aside with its reason and stops nothing."""
    metrics = Metrics()
    stage = outcomes_stage(metrics)
    good = outcome(0, 0.0)
    garbage = [b"", b"{}", b"\xff", b'{"type":"outcome"}', b'{"type":"other","model":"m","ts":1}', b"[" * 100_000]
    log = log_of([*garbage, encode(good), tick("m", BEGIN + 1000)], topic="t.outcomes")
    written = await make_durable(stage.checkpoint(await feed(stage, log), final=False))
    letters = [one for one in written if one.topic == "t.dead-letters"]
    assert [one.value for one in letters] == garbage
    assert {dict(one.headers)[REASON] for one in letters} == {b"not_an_outcome"}
    assert [record.n for record in told(written) if isinstance(record, Window)] == [1]
    assert sample(metrics, "driftline_dead_letters_total", reason="not_an_outcome") == len(garbage)


def test_windows_of_outcomes_have_their_own_width() -> None:
    """`window` of the errors holds for outcomes alone; without it they are as wide as the features' windows."""
    assert {name: shape.seconds for name, shape in shapes_of(MODELS, "outcomes").items()} == {"m": 10.0, "n": 20.0}
    assert {name: shape.seconds for name, shape in shapes_of(MODELS, "features").items()} == {"m": 10.0, "n": 30.0}


@pytest.mark.parametrize(
    "broken",
    [
        {"n": 0},
        {"seconds": 0.0},
        {"seconds": float("inf")},
        {"start": float("nan")},
        {"source": -1},
        {"points": b""},
        {"points": b"1234567"},
        {"points": b"x" * 8 * 65},
        {"numbers": 1},
        {"missing": -1},
        {"count": -1},
    ],
)
async def test_a_window_that_cannot_be_is_none(broken: dict[str, Any]) -> None:
    """A well-formed window with impossible numbers is refused where it is read, not in the bucket it would be merged into."""
    stage = events_stage(Metrics())
    position = await feed(stage, log_of([event(0, features={"x": 1.5}), event(1, features={"x": "a"}), event(40)]))
    window = next(one for one in told(await make_durable(stage.checkpoint(position, final=False))) if isinstance(one, Window))
    feature = window.features["x"]
    assert feature.numeric is not None
    numeric = msgspec.structs.replace(
        feature.numeric, points=broken.get("points", feature.numeric.points), n=0 if "numbers" in broken else feature.numeric.n
    )
    categories = {"a": broken.get("count", 1)}
    other = msgspec.structs.replace(feature, numeric=numeric, categories=categories, missing=broken.get("missing", 0))
    changed = {name: value for name, value in broken.items() if name in ("n", "seconds", "start", "source")}
    record = window_records.outgoing(KAFKA, msgspec.structs.replace(window, features={"x": other}, **changed))
    with pytest.raises(EventError) as caught:
        window_codec.parse(record.value)
    assert caught.value.reason == "not_a_window"
    assert window_codec.parse(window_records.outgoing(KAFKA, window).value) == window


# -- whatever comes, in whatever order ---------------------------------------------------------------

_AT = st.integers(0, 80).map(float)
_RECORDS = st.lists(
    st.one_of(
        st.builds(event, _AT, st.sampled_from("mn"), segment=st.sampled_from(("", "a", "b", "c"))),
        st.builds(event, _AT, st.just("m"), prediction=st.sampled_from((True, 0.5, {"label": 1.5}, "a"))),
        st.builds(lambda at: {"model": "m", "id": "i", "ts": BEGIN + at, "label": True}, _AT),
        st.builds(lambda at, model: orjson.loads(tick(model, BEGIN + at)), _AT, st.sampled_from("mn")),
        st.sampled_from((b"garbage", b"", {"model": "other", "features": {"x": 1}}, {"model": "m", "features": {"x": [1]}})),
    ),
    max_size=30,
)
_SIZES = st.lists(st.integers(1, 7), max_size=8)


def closed(records: Sequence[Any]) -> list[Fetched]:
    """Return a log in which ticks close everything at the end."""
    return log_of([*records, tick("m", BEGIN + 10_000), tick("n", BEGIN + 10_000)])


@effort(max_examples=200, deadline=None)
@given(_RECORDS, _SIZES)
def test_every_event_is_in_a_window_or_late_or_a_dead_letter(records: list[Any], sizes: list[int]) -> None:
    """Nothing is lost and nothing counted twice, however the log is cut into batches; labels and ticks are counted as such."""
    log = closed(records)
    metrics = Metrics()
    stage = events_stage(metrics)

    async def run() -> list[Outgoing]:
        return await make_durable(stage.checkpoint(await feed(stage, log, sizes), final=True))

    written = asyncio.run(run())
    windows = [record for record in told(written) if isinstance(record, Window)]
    dead = [message for message in written if message.topic == "t.dead-letters"]
    events, letters = decode(log, MODELS)
    kinds = Counter(one.kind for one in events)
    late = sample(metrics, "driftline_late_events_total")
    assert sum(window.n for window in windows) + late == kinds["features"] + kinds["prediction"]
    assert len(dead) == len(letters) == sample(metrics, "driftline_dead_letters_total")
    for kind, count in kinds.items():
        assert sample(metrics, "driftline_events_total", kind=kind) == count
    assert all(
        sum(numeric.n for numeric in (feature.numeric,) if numeric) + sum(feature.categories.values()) + feature.missing
        == window.n
        for window in windows
        for feature in window.features.values()
    )


@dataclass(frozen=True)
class SummariseLife:
    """One life of a worker: it flushes after each batch, and of the last flush only `sent` messages arrive."""

    sizes: list[int]
    sent: int


_LIVES = st.lists(st.builds(SummariseLife, st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 5)), max_size=5)


async def survive(
    make: Callable[[Metrics, int], Stage], log: list[Fetched], lives: Sequence[SummariseLife]
) -> list[Window | Mark]:
    """Return the windows topic after workers that die, and one that comes to the end; each starts at the durable offset."""
    topic: list[Window | Mark] = []
    durable = 0
    for life in lives:
        async for checkpoint, last in checkpoints(make(Metrics(), durable), log, life.sizes):
            if last:
                topic += told(checkpoint.outgoing[: life.sent])
                break
            topic += told(await make_durable(checkpoint))
            durable = max(durable, checkpoint.durable or 0)
    stage = make(Metrics(), durable)
    return topic + told(await make_durable(stage.checkpoint(await feed(stage, log), final=True)))


@effort(max_examples=200, deadline=None)
@given(_RECORDS, _LIVES)
def test_windows_are_the_same_whatever_crashes(records: list[Any], lives: list[SummariseLife]) -> None:
    """After any crashes, read again from the durable offset, the judge is given the very windows of a clean run."""
    log = closed(records)
    assert judged(asyncio.run(survive(events_stage, log, lives))) == judged(asyncio.run(survive(events_stage, log, [])))


def outcome(offset: int, at: float, model: str = "m", label: Any = True) -> Outcome:
    """Return an outcome of the event at `offset`; a label "spam" says nothing about a score."""
    prediction = PredictionValue(None, 0.5) if label == "spam" else PredictionValue(True)
    return Outcome(
        id=str(offset),
        model=model,
        ts=BEGIN + at,
        predicted_at=BEGIN,
        prediction=prediction,
        label=label,
        source=SourceOffset(0, offset),
        at=0,
    )


_OUTCOMES = st.lists(st.tuples(_AT, st.sampled_from("mn"), st.sampled_from((True, False, "spam", "tick"))), max_size=20)
_REPEATS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), max_size=5)


def outcomes_log(told_of: Sequence[tuple[float, str, Any]], repeats: Sequence[tuple[int, int]]) -> list[Fetched]:
    """Return a partition of outcomes; at each (place, back) its writer crashed and wrote the last `back` again."""
    values: list[tuple[int, bytes]] = []
    for offset, (at, model, label) in enumerate(told_of):
        is_tick = label == "tick"
        values.append((offset, tick(model, BEGIN + at) if is_tick else encode(outcome(offset, at, model, label))))
    written: list[bytes] = []
    for offset, value in values:
        written.append(value)
        for place, back in repeats:
            if place == offset:
                # Ticks come from the judge and are not repeated with the outcomes.
                again = [(one, old) for one, old in values if offset - back <= one <= offset and told_of[one][2] != "tick"]
                written += [old for _, old in again]
    return log_of([*written, tick("m", BEGIN + 10_000), tick("n", BEGIN + 10_000)], topic="t.outcomes")


def _contents(found: dict[str, list[Window]]) -> dict[str, list[Any]]:
    """Return windows without their offsets, which repeats shift."""
    return {model: [(one.start, one.segment, one.n, one.features) for one in windows] for model, windows in found.items()}


@effort(max_examples=300, deadline=None)
@given(_OUTCOMES, _REPEATS, _LIVES)
def test_repeated_outcomes_count_once_whatever_crashes(
    told_of: list[tuple[float, str, Any]], repeats: list[tuple[int, int]], lives: list[SummariseLife]
) -> None:
    """Outcomes written again after a crash of the join change no window, even after a restart of the reader at any point."""
    log = outcomes_log(told_of, repeats)
    once = judged(asyncio.run(survive(outcomes_stage, outcomes_log(told_of, []), [])))
    through = judged(asyncio.run(survive(outcomes_stage, log, [])))
    assert _contents(through) == _contents(once)
    assert judged(asyncio.run(survive(outcomes_stage, log, lives))) == through


# -- outcomes as columns ---------------------------------------------------------------------------

_KINDS = (True, False, 0.5, "spam", "tick", "corrects", "corrects null", None)
_TOLD = st.lists(st.tuples(_AT, st.sampled_from("mn"), st.sampled_from(_KINDS)), max_size=24)
#: Owners of the join one after the other: how far before the end of what is there each begins, and its fetches.
_OWNERS = st.lists(st.tuples(st.integers(0, 24), st.lists(st.integers(1, 9), min_size=1, max_size=4)), max_size=4)


def _told(told_of: Sequence[tuple[float, str, Any]]) -> list[Outcome | OutcomeTick]:
    """Return outcomes and ticks by the offset of their event."""
    found: list[Outcome | OutcomeTick] = []
    for offset, (at, model, kind) in enumerate(told_of):
        if kind == "tick":
            found.append(OutcomeTick(model, BEGIN + at, offset))
        elif kind in ("corrects", "corrects null"):
            was = True if kind == "corrects" else None
            found.append(msgspec.structs.replace(outcome(offset, at, model, False), corrects=True, was=was))
        else:
            segment = ("", "eu")[offset % 2]
            found.append(msgspec.structs.replace(outcome(offset, at, model, kind), segment=segment))
    return found


def columns_of(outcomes: Sequence[Outcome]) -> OutcomeColumns:
    """Return outcomes of one model as one record."""
    return OutcomeColumns(
        model=outcomes[0].model,
        partition=0,
        id=[one.id for one in outcomes],
        ts=[one.ts for one in outcomes],
        predicted_at=[one.predicted_at for one in outcomes],
        label=[one.prediction.label for one in outcomes],
        score=[one.prediction.score for one in outcomes],
        truth=[one.label for one in outcomes],
        at=[one.at or 0 for one in outcomes],
        source=[one.source.offset for one in outcomes],
        segment=[one.segment for one in outcomes] if any(one.segment for one in outcomes) else None,
        corrects=[one.corrects for one in outcomes] if any(one.corrects for one in outcomes) else None,
        was=[one.was for one in outcomes] if any(one.corrects for one in outcomes) else None,
        v=2,
    )


def _fetch(records: Sequence[Outcome | OutcomeTick]) -> list[bytes]:
    """Return what the join writes for one fetch: each model's outcomes as columns, cut at its ticks."""
    written: list[bytes] = []
    for model in dict.fromkeys(one.model for one in records):
        held: list[Outcome] = []
        for one in [*records, None]:
            if isinstance(one, Outcome) and one.model == model:
                held.append(one)
            elif one is None or one.model == model:
                written += [encode(columns_of(held))] if held else []
                written += [encode(one)] if isinstance(one, OutcomeTick) else []
                held = []
    return written


def columns_log(told_of: Sequence[tuple[float, str, Any]], owners: Sequence[tuple[int, list[int]]]) -> list[Fetched]:
    """Return a partition of outcomes that several owners of the join wrote; the last one begins where the one before ended."""
    records = _told(told_of)
    written: list[bytes] = []
    reached = 0
    for back, sizes in [*owners, (0, [5] * len(records))]:
        at = max(0, reached - back)
        for size in sizes:
            written += _fetch(records[at : at + size])
            at += size
        reached = max(reached, min(at, len(records)))
    return log_of([*written, tick("m", BEGIN + 10_000), tick("n", BEGIN + 10_000)], topic="t.outcomes")


@effort(max_examples=300, deadline=None)
@given(_TOLD, _OWNERS, _LIVES)
def test_columns_cut_anywhere_make_the_windows_of_single_outcomes(
    told_of: list[tuple[float, str, Any]], owners: list[tuple[int, list[int]]], lives: list[SummariseLife]
) -> None:
    """Neither how outcomes share records, nor repeats that share them otherwise, nor a kill within one changes a window."""
    ends = [tick("m", BEGIN + 10_000), tick("n", BEGIN + 10_000)]
    single = log_of([*map(encode, _told(told_of)), *ends], topic="t.outcomes")
    wanted = judged(asyncio.run(survive(outcomes_stage, single, [])))
    log = columns_log(told_of, owners)
    assert judged(asyncio.run(survive(outcomes_stage, log, []))) == wanted
    assert judged(asyncio.run(survive(outcomes_stage, log, lives))) == wanted


def test_a_restart_in_the_middle_of_a_record_makes_no_part_twice() -> None:
    """A window that closes between two outcomes of one record is written once, and the durable offset is that of the record."""
    told_of = [(0.0, "m", True), (1.0, "m", True), (40.0, "m", False), (41.0, "m", True), (42.0, "m", True)]
    of_one_segment = [msgspec.structs.replace(one, segment="") for one in _told(told_of) if isinstance(one, Outcome)]
    log = log_of([_fetch(of_one_segment)[0], tick("m", BEGIN + 10_000)], topic="t.outcomes")

    async def run() -> tuple[list[Any], int | None, list[Any]]:
        first = outcomes_stage(Metrics())
        await first.feed(batch_of(log[:1]), 0)
        checkpoint = first.checkpoint(1, final=False)
        assert checkpoint is not None
        second = outcomes_stage(Metrics(), checkpoint.durable or 0)
        await feed(second, log)
        return told(checkpoint.outgoing), checkpoint.durable, told(await make_durable(second.checkpoint(2, final=True)))

    before, durable, after = asyncio.run(run())
    assert durable == 0
    assert [(one.start - BEGIN, one.n) for one in before if isinstance(one, Window)] == [(0.0, 2)]
    windows = judged([*before, *after])["m"]
    assert [(one.start - BEGIN, one.n, one.first, one.last) for one in windows] == [(0.0, 2, 0, 1), (40.0, 3, 2, 4)]
