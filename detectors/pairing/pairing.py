"""The rules by which a prediction and a label of the same id become an outcome.

Rules:
1. The first prediction and the first label of an id count. Later ones are duplicates.
2. The second of the two halves makes the outcome, whether it is the prediction or the label.
3. A label later than `label_within` after its prediction makes no outcome, and uses both halves up.
4. A half that was used up is kept without its event: rule 1 still counts it, and it makes no second outcome.
5. A half from a greater offset than the event at hand does not exist yet: a run that crashed further on wrote it.
6. A half is forgotten after `kept_seconds`. Whoever keeps the halves has the clock: Redis counts wall time, a file of
   events has event time only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol, TypeVar

#: `p` for a prediction, `l` for a label; part of the keys in Redis.
Half = Literal["p", "l"]

#: Added to `label_within`: time to restart after an outage.
_GRACE_SECONDS = 2 * 86_400.0


class Timed(Protocol):
    """An event with its event time, epoch seconds."""

    @property
    def ts(self) -> float:
        """Event time."""


E_co = TypeVar("E_co", bound=Timed, covariant=True)
E = TypeVar("E", bound=Timed)


class Kept(Protocol[E_co]):
    """A half as it is kept: the offset at which it came, and its event unless it was used up."""

    @property
    def offset(self) -> int:
        """Offset of the record."""

    @property
    def event(self) -> E_co | None:
        """The event, None once it was used up."""


K = TypeVar("K", bound=Kept[Timed])


class Pairing(StrEnum):
    """What becomes of an event."""

    DUPLICATE = "duplicate"
    WAITING = "waiting"
    JOINED = "joined"
    TOO_LATE = "too_late"
    #: Its partner was used up already: the same record read again, or a half that came back after it was forgotten.
    AGAIN = "again"


#: What uses both halves up, wherever they are kept.
USING_UP = frozenset({Pairing.JOINED, Pairing.TOO_LATE})


def kept_seconds(label_within_seconds: float) -> float:
    """Return how long a half is kept, in seconds.

    >>> kept_seconds(3600.0)
    176400.0
    """
    return label_within_seconds + _GRACE_SECONDS


def half_of(kind: str) -> Half:
    """Return the half that an event of that kind is.

    >>> half_of("prediction"), half_of("label")
    ('p', 'l')
    """
    return "p" if kind == "prediction" else "l"


def other(half: Half) -> Half:
    """Return the half that it takes to make an outcome.

    >>> other("p")
    'l'
    """
    return "l" if half == "p" else "p"


def existing(kept: K | None, offset: int) -> K | None:
    """Return what is kept of a half, None if it does not exist yet for the event at `offset` (rule 5)."""
    return kept if kept is not None and kept.offset <= offset else None


def in_order(half: Half, event: E, partner: E) -> tuple[E, E]:
    """Return (prediction, label) of an event, which is that half, and its partner."""
    return (event, partner) if half == "p" else (partner, event)


def paired(
    half: Half, event: Timed, offset: int, *, same: Kept[Timed] | None, partner: Kept[Timed] | None, label_within_seconds: float
) -> Pairing:
    """Return what becomes of an event.

    Args:
        half: what the event is.
        event: the event.
        offset: its offset.
        same: the same half of its id, as far as it exists; of the event itself, if it is read again.
        partner: the other half of its id, as far as it exists.
        label_within_seconds: the longest time from a prediction to its label.
    """
    if same is not None and same.offset < offset:
        return Pairing.DUPLICATE
    if partner is None or partner.offset == offset:
        return Pairing.WAITING
    if partner.event is None:
        return Pairing.AGAIN
    prediction, label = in_order(half, event, partner.event)
    return Pairing.TOO_LATE if label.ts - prediction.ts > label_within_seconds else Pairing.JOINED
