"""The judge's state as it was stored last; workers may run or not, and nothing is written."""

from __future__ import annotations

from detectors.errors import DriftlineError, StateError
from detectors.model.model_monitor import ModelMonitor
from streams.state import binding, snapshot
from streams.state.store import Store

__all__ = ["read_monitor"]


def read_monitor(store: Store, model: str) -> ModelMonitor:
    """Return the stored state of a model; all its windows have the same key, so one partition has all of it.

    Raises:
        DriftlineError: there is none yet.
        StateError: it was altered, another version wrote it, or a rebuild has not finished.
        UnavailableError: Redis is away.
    """
    bound = binding.recorded(store)
    if bound is not None and bound.rebuilding is not None:
        raise StateError(f"`driftline rebuild --from {bound.rebuilding}` has not finished: wait for it, or run it again")
    topic = None if bound is None else bound.topics.get("windows")
    for partition in range(topic.partitions if topic else 0):
        name = snapshot.name_of(partition)
        stored = store.load_snapshot(name)
        monitor = None if stored is None else snapshot.load(name, stored[1]).get(model)
        if monitor is not None:
            return monitor
    raise DriftlineError(
        f"no state of model {model} under {store.prefix}:* in Redis yet: start `driftline worker` and send events; thresholds "
        "are there once a reference has been learned"
    )
