"""Parts of the documents that a benchmark writes: what stands between two markers, and the constants of docs/scaling.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from detectors.errors import ConfigError

ROOT = Path(__file__).parents[1]


def replaced(text: str, name: str, body: str) -> str:
    r"""Return a document with `body` between the markers of that name.

    Raises:
        ConfigError: the markers are not there.

    >>> replaced("<!-- a: begin -->old<!-- a: end -->", "a", "new")
    '<!-- a: begin -->\nnew\n<!-- a: end -->'
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigError(f"the document has no lines {begin} and {end}: put them where the table belongs")
    return f"{before}{begin}\n{body}\n{end}{after}"


def with_constants(text: str, constants: Mapping[str, float]) -> str:
    """Return docs/scaling.md with new values of some constants, three digits each.

    Raises:
        ConfigError: a constant has no row.

    >>> with_constants("| `load` | 1 | share |", {"load": 0.5123})
    '| `load` | 0.512 | share |'
    """
    for name, value in constants.items():
        text, rows = re.subn(rf"^(\| `{name}` \| )[^|]*( \|)", rf"\g<1>{three_digits(value)}\g<2>", text, flags=re.MULTILINE)
        if rows != 1:
            raise ConfigError(f"docs/scaling.md: {name}: expected one row of a table, got {rows}")
    return text


def three_digits(value: float) -> str:
    """Return a number with three significant digits.

    >>> three_digits(251_234.0), three_digits(0.2777)
    ('251,000', '0.278')
    """
    short = float(f"{value:.3g}")
    return f"{short:,.0f}" if abs(short) >= 100 else f"{short:g}"
