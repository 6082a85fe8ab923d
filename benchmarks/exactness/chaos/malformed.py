"""Events that nobody can use, of every kind: (the word that the dead letter has to carry, the bytes).

`NUMBER` in the bytes is replaced, so that no two are the same.
"""

from __future__ import annotations

import orjson

_GOOD = {"id": "bad-NUMBER", "model": "churn", "ts": 1.7e9, "features": {"amount": 1.0}}


def _but(**fields: object) -> bytes:
    return orjson.dumps({**_GOOD, **fields})


MALFORMED: tuple[tuple[str, bytes | None], ...] = (
    ("not_json", b"not json NUMBER"),
    ("empty", b""),
    ("empty", None),
    ("not_json", b"\xff\xfeNUMBER"),
    ("not_json", b'{"model": "churn", "features": {"amount": NaN}, "n": NUMBER}'),
    ("too_deep", b"[" * 2000 + b"NUMBER"),
    ("not_json", b'{"model": "churn", "features": {"amount": 1.0}},{"n": NUMBER}'),
    ("nested", _but(features={"amount": {"deep": [1, 2]}})),
    ("nested", _but(features={"amount": [1]})),
    ("wrong_type", _but(features=[1, 2, 3])),
    ("wrong_type", _but(model=7)),
    ("unknown_model", _but(model="no-such-model")),
    ("unknown_type", _but(type="complaint")),
    ("unknown_version", _but(v=9)),
    ("wrong_time", _but(ts="yesterday")),
    ("wrong_time", _but(ts=-5)),
    ("future", _but(ts=4.0e9)),
    ("future", _but(ts="2999-01-01T00:00:00Z")),
    ("missing", b'{"model": "churn", "label": true, "n": NUMBER}'),
    ("missing", _but(features={}, prediction=None)),
    ("missing", b'{"n": NUMBER}'),
    ("ambiguous", _but(label=True)),
    ("wrong_type", _but(prediction={"score": "high"})),
    ("wrong_name", _but(features={"": 1.0})),
    ("too_large", _but(padding="x" * (300 << 10))),
)
