"""Publishing a model by hand: its first version, or a version that was trained elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serving.registry.artifact import Artifact, golden_rows, kind_of
from serving.registry.versions import PointerMovedError, Registry
from streams.settings import Settings
from streams.state.store import Store

BY = "publish"


@dataclass(frozen=True, slots=True)
class Published:
    """The number of the new version, and whether it is served: only if the model had no served version."""

    version: int
    promoted: bool


def publish(
    settings: Settings,
    model_name: str,
    model: Any,
    *,
    lineage: Mapping[str, Any] | None = None,
    rows: Iterable[Mapping[str, Any]] = (),
    created_at: float | None = None,
) -> Published:
    """Store a trained model as the next version, and serve it if the model has no served version yet.

    Args:
        settings: where Redis is, and the key that signs.
        model_name: as in driftline.toml.
        model: anything with `predict_one` that can be pickled.
        lineage: what it was made from, JSON-able.
        rows: features of a few rows; the model's answers to them are checked whenever it is loaded.
        created_at: epoch seconds, by default now.

    Raises:
        ModelError: the model cannot be pickled, or cannot answer a row.
        UnavailableError: Redis is away.
    """
    registry = Registry(Store(settings.redis, settings.signing_key))
    now = time.time()
    artifact = Artifact(
        model=model,
        created_at=now if created_at is None else created_at,
        kind=kind_of(model),
        golden=golden_rows(model, rows),
        lineage=dict(lineage or {}),
    )
    version = registry.publish(model_name, artifact)
    if registry.current(model_name) is not None:
        return Published(version, promoted=False)
    try:
        registry.promote(model_name, version, 0, BY, now)
    except PointerMovedError:  # somebody else promoted a version meanwhile, and it is served
        return Published(version, promoted=False)
    return Published(version, promoted=True)
