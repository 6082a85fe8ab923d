"""Ticking: ticks move event time on where no event comes that would move it.

Rules:
1. A source that is behind others and has not moved for `IDLE_SECONDS` is *idle*. A tick takes it to the
   furthest source.
2. A model is *silent* when none of its sources has moved for long enough: as long as live events would
   have needed to close every window that may be open, and one window and `IDLE_SECONDS` more. Then ticks
   take all sources to the end of the last such window, once. Only a live model can fall silent: its
   furthest mark was written when its event time was now. So a replay that pauses is not cut short.
3. The clock decides when a tick is written, never what follows from it: the tick is in the log. It is
   written at the end of its source's log, so it changes nothing about the records before it. A tick for
   outcomes goes through the events topic too, and the join passes it on.
4. Windows of outcomes have ticks of rule 1 only: labels may come at any time, so none is no silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from detectors.model.aligner import WindowAligner
from detectors.windows.record import Kind, Mark, WindowShape
from streams.events.event import outcome_tick, tick
from streams.kafka import Outgoing
from streams.settings import KafkaSettings
from streams.topics import EVENTS, topic_name

#: A source that has not moved for so long while others wait for it is idle; wall time.
IDLE_SECONDS = 10.0
#: A mark is live if its event time and the time when it was written are no further apart, beside window and lateness.
_NOW_SECONDS = 60.0

_NEVER = float("-inf")


@dataclass(slots=True)
class _Seen:
    """The marks of one kind of windows of one model; times of the clock in seconds.

    Args:
        at: when a source moved last, by the clock.
        moved: source -> (end of its last mark, when it got there or was ticked last).
        furthest: event time that the furthest source has reached.
        live: whether the mark of the furthest source was written when its event time was now.
        ticked: event time to which the sources were ticked when the model fell silent.
    """

    at: float
    moved: dict[int, tuple[float, float]] = field(default_factory=dict)
    furthest: float = _NEVER
    live: bool = False
    ticked: float = _NEVER


class Ticking:
    """The ticks for the models of one partition of the windows topic."""

    def __init__(self, kafka: KafkaSettings, shapes: Mapping[Kind, Mapping[str, WindowShape]]) -> None:
        """`shapes`: kind -> model -> shape of its windows."""
        self._kafka = kafka
        self._shapes = shapes
        self._seen: dict[tuple[str, Kind], _Seen] = {}

    def add(self, mark: Mark, written_at: float, now: float) -> None:
        """Note a mark.

        Args:
            mark: the mark.
            written_at: when it was written, epoch seconds.
            now: time of the clock.
        """
        shape = self._shapes[mark.kind].get(mark.model)
        if shape is None:
            return
        seen = self._seen.setdefault((mark.model, mark.kind), _Seen(now))
        if mark.until > seen.furthest:
            seen.furthest = mark.until
            behind = written_at - mark.until - shape.lateness_seconds
            seen.live = -_NOW_SECONDS <= behind < shape.seconds + _NOW_SECONDS

    def due(self, model: str, kind: Kind, aligner: WindowAligner, now: float) -> list[Outgoing]:
        """Return the ticks that are due for one kind of windows of a model."""
        shape = self._shapes[kind].get(model)
        if shape is None:  # the configuration has it no more: nobody would read the tick
            return []
        seen = self._seen.setdefault((model, kind), _Seen(now))
        ticks = [self._tick(model, kind, source, to) for source, to in _idle(seen, aligner, now)]
        if not ticks and kind == "features":
            ticks = [self._tick(model, kind, source, to) for source, to in _silent(seen, aligner, shape, now)]
        return ticks

    def _tick(self, model: str, kind: Kind, source: int, to: float) -> Outgoing:
        value = tick(model, to) if kind == "features" else outcome_tick(model, to)
        return Outgoing(topic_name(self._kafka.prefix, EVENTS), None, value, partition=source)


def _idle(seen: _Seen, aligner: WindowAligner, now: float) -> Iterator[tuple[int, float]]:
    """Yield each source that the others wait for too long, and the event time that they have reached."""
    behind = aligner.behind()
    for source in range(aligner.sources):
        reached = aligner.until.get(source, _NEVER)
        known, since = seen.moved.get(source, (None, now))
        if known != reached:
            seen.moved[source] = (reached, now)
            seen.at = now
        elif source in behind and now - since >= IDLE_SECONDS:
            seen.moved[source] = (reached, now)
            yield source, behind[source]
        elif source not in behind:
            seen.moved[source] = (reached, now)  # level with the furthest: others begin to wait for it after that


def _silent(seen: _Seen, aligner: WindowAligner, shape: WindowShape, now: float) -> Iterator[tuple[int, float]]:
    """Yield all sources of a model that has fallen silent, and the end of the last window that may be open.

    The newest event is less than a window and the lateness beyond the furthest mark; otherwise there would be
    another mark. So `1 + ceil(lateness / window)` windows from the mark on may be open.
    """
    if not seen.live or seen.ticked >= seen.furthest or aligner.behind():
        return
    windows = 1 + math.ceil(shape.lateness_seconds / shape.seconds)
    if now - seen.at < (windows + 1) * shape.seconds + IDLE_SECONDS:
        return
    seen.ticked = (round(seen.furthest / shape.seconds) + windows) * shape.seconds
    for source in range(aligner.sources):
        yield source, seen.ticked
