"""The outbox: what waits for a flush, and when there is a checkpoint."""

from __future__ import annotations

from streams.engine.outbox import Outbox
from streams.kafka import Outgoing


def message(number: int) -> Outgoing:
    """Return a message."""
    return Outgoing("t.windows", None, b"%d" % number)


def test_messages_leave_in_the_order_in_which_they_came() -> None:
    """A checkpoint takes all messages, in order, with the offset that they make durable."""
    outbox = Outbox(0)
    outbox.add(message(1))
    outbox.extend([message(2), message(3)])
    assert len(outbox) == 3
    checkpoint = outbox.checkpoint(7)
    assert checkpoint is not None
    assert (checkpoint.outgoing, checkpoint.durable) == ([message(1), message(2), message(3)], 7)
    assert len(outbox) == 0


def test_nothing_new_is_no_checkpoint() -> None:
    """While nothing waits, an offset that is known already makes no checkpoint, and a new one does."""
    outbox = Outbox(5)
    assert outbox.checkpoint(5) is None
    assert outbox.checkpoint(6) is not None
    assert outbox.checkpoint(6) is None
    outbox.add(message(1))
    assert outbox.checkpoint(6) is not None


def test_an_offset_that_kafka_may_not_know_is_reported() -> None:
    """An outbox that begins with -1 makes its first checkpoint at any offset, so that the offset gets committed."""
    assert Outbox(-1).checkpoint(0) is not None


def test_what_waits_beside_the_messages_counts() -> None:
    """Entries that wait beside the messages count as waiting, and call for a checkpoint; their owner empties them."""
    entries = {"a": 1}
    outbox = Outbox(5, entries)
    assert len(outbox) == 1
    checkpoint = outbox.checkpoint(5)
    assert checkpoint is not None
    assert checkpoint.outgoing == []
    entries.clear()
    assert (len(outbox), outbox.checkpoint(5)) == (0, None)


def test_a_message_added_after_a_checkpoint_is_not_in_it() -> None:
    """What is added while a flush sends the messages of a checkpoint waits for the next one."""
    outbox = Outbox(0)
    outbox.add(message(1))
    first = outbox.checkpoint(1)
    outbox.add(message(2))
    assert first is not None
    assert first.outgoing == [message(1)]
    assert outbox.take() == [message(2)]
