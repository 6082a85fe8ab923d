"""Keys of a model that have a new name: the old name is read for one version, and reported.

Rules:
1. Nothing behind this file knows an old key: a table gets its new keys before it is checked.
2. A table with the old and the new key of one setting is a fault: Driftline does not choose between two values.
3. A fault inside an old key names the old key, because that is what the user must look for in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from driftline.config.faults import Faults, Place

__all__ = ["OLD_KEYS", "with_new_keys"]

#: Table inside `[models.NAME]` ("" for the model's own) -> old key -> new key. Tables have their new names here.
OLD_KEYS: Mapping[str, Mapping[str, str]] = {
    "": {"errors": "outcomes", "max_values": "max_buffered_values"},
    "outliers": {"beyond": "distance"},
}


def with_new_keys(faults: Faults, place: Place, raw: object) -> object:
    """Return the table of one model with new keys instead of old ones; what is no table is returned as it is.

    Each old key becomes a note of `faults`. The table that is handed in does not change.
    """
    if not isinstance(raw, dict):
        return raw
    model = _renamed(faults, place, raw, OLD_KEYS[""])
    for table, keys in OLD_KEYS.items():
        inner = model.get(table)
        if isinstance(inner, dict):
            model[table] = _renamed(faults, (*place, table), inner, keys)
    return model


def _renamed(faults: Faults, place: Place, raw: dict[str, object], keys: Mapping[str, str]) -> dict[str, object]:
    renamed: dict[str, object] = {}
    for key, value in raw.items():
        new = keys.get(key, key)
        if new == key:
            renamed[key] = value
        elif new in raw:
            faults.add((*place, key), f'old name of "{new}", and both are written', f'leave out "{key}"')
        else:
            faults.read_as((*place, key), (*place, new))
            renamed[new] = value
    return renamed
