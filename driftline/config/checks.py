"""What one value of the configuration must look like: functions from the written value to the meant one.

Rules:
1. A check returns the value in base units, or raises `Expected` with the sentence a user must see.
2. The sentence names the form and a legal example; the printer adds the place and the value.
3. A value that may contain a secret (an address with a password in it) is never shown.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from detectors.reference.holidays import countries, subdivisions
from driftline.text.durations import duration, format_duration, weekly_rate
from driftline.text.nearest import nearest, nearest_meaning
from driftline.text.sizes import format_size, size
from streams.events.event import MAX_NAME_LENGTH

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FACTORY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_NAMES = 10_000

Check = Callable[[Any], Any]


class Expected(ValueError):  # noqa: N818 - reads as the sentence it makes: raise Expected("a duration ...")
    """A wrong value; `hint` says how to mend it, `shown` whether the value may be printed."""

    def __init__(self, what: str, *, hint: str = "", shown: bool = True) -> None:
        """Keep the parts; the printer puts place and value between them."""
        super().__init__(f"expected {what}")
        self.hint = hint
        self.shown = shown


def show(value: object) -> str:
    """Return a value as written in the file, cut at 60 characters.

    >>> show("10 potatoes"), show(True), show({"a": 1})
    ('"10 potatoes"', 'true', 'a table')
    """
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        text = f"[{', '.join(show(item) for item in value[:20])}{', ...' if len(value) > 20 else ''}]"
    elif isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_duration(least: str, most: str) -> Check:
    """Check a duration from `least` to `most`, both included; gives seconds."""
    low, high = duration(least), duration(most)

    def check(value: Any) -> float:
        try:
            seconds = duration(value) if isinstance(value, str) else None
        except ValueError:
            seconds = None
        if seconds is None:
            bare = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
            hint = f'did you mean "{value:g}s"?' if bare else ""
            raise Expected('a duration such as "10s"', hint=hint)
        if not low <= seconds <= high:
            raise Expected(f'a duration from "{least}" to "{format_duration(high)}"')
        return seconds

    return check


def is_budget(value: Any) -> float:
    """Check a false-alarm budget; gives alarms per week."""
    try:
        rate = weekly_rate(value) if isinstance(value, str) else None
    except ValueError:
        rate = None
    if rate is None:
        hint = ""
        if isinstance(value, str) and (found := re.search(r"[0-9.]+", value)):
            period = next((name for name in ("hour", "day", "week", "month", "year") if name in value.casefold()), "week")
            hint = f'did you mean "{found[0]} per {period}"?'
        raise Expected('a rate such as "1 per week" or "2 per day"', hint=hint)
    if rate <= 0:
        raise Expected(
            "a budget above zero",
            hint='a monitor that may never be wrong can never alarm: allow a rare one, such as "1 per year"',
        )
    return rate


def is_whole(low: int, high: int) -> Check:
    """Check a whole number from `low` to `high`, both included."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Expected(f"a whole number from {low} to {high}")
        return value

    return check


def is_between(low: float, high: float) -> Check:
    """Check a number strictly between two others."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low < value < high:
            raise Expected(f"a number between {low:g} and {high:g}, both excluded")
        return float(value)

    return check


def is_flag(value: Any) -> bool:
    """Check true or false."""
    if not isinstance(value, bool):
        hint = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}.get(
            str(value).casefold()
        )
        raise Expected("true or false", hint=f"did you mean {hint} (without quotes)?" if hint else "")
    return value


def is_name(value: Any) -> str:
    """Check the name of a model or a prefix: letters, digits, `_`, `.`, `-`, at most 64."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Expected('a name of 1 to 64 letters, digits, "_", "." or "-"')
    return value


def is_size(least: str, most: str) -> Check:
    """Check a size of memory from `least` to `most`, both included: whole bytes, or a text such as "512MB"; gives bytes."""
    low, high = size(least), size(most)

    def check(value: Any) -> int:
        try:
            whole = size(value) if isinstance(value, str) else None
        except ValueError:
            whole = None
        if isinstance(value, int) and not isinstance(value, bool):
            whole = value
        if whole is None:
            bare = isinstance(value, str) and value.strip().isascii() and value.strip().isdigit()
            raise Expected('a size such as "512MB", or whole bytes', hint=f'did you mean "{value.strip()}MB"?' if bare else "")
        if not low <= whole <= high:
            raise Expected(f'a size from "{format_size(low)}" to "{format_size(high)}"')
        return whole

    return check


def is_topic(value: Any) -> str:
    """Check the name of a Kafka topic; empty is none."""
    if value == "":
        return ""
    if not isinstance(value, str) or not _TOPIC.fullmatch(value) or value in (".", ".."):
        raise Expected('the name of a Kafka topic, of 1 to 249 letters, digits, "_", "." or "-"')
    return value


def is_names(value: Any) -> tuple[str, ...]:
    """Check a list of different feature names; the list may have every name that an event may have."""
    return _different_names(value, _MAX_NAMES)


def is_few_names(most: int) -> Check:
    """Check a list of at most so many different names of features or tags."""
    return lambda value: _different_names(value, most)


def _different_names(value: Any, most: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Expected('a list of names such as ["amount", "country"]')
    if len(value) > most:
        raise Expected(f"at most {most} names", shown=False)
    seen: set[str] = set()
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise Expected(f"names of 1 to {MAX_NAME_LENGTH} printable characters", hint=f"{show(name)} is none")
        if name in seen:
            raise Expected("every name once", hint=f'"{name}" comes twice')
        seen.add(name)
    return tuple(value)


def is_one_of(what: str, known: Iterable[str], refused: Mapping[str, str] | None = None) -> Check:
    """Check a name from a closed set; a refused one is answered with its reason."""
    names = sorted(known)

    def check(value: Any) -> str:
        if isinstance(value, str) and value in names:
            return value
        reason = (refused or {}).get(value) if isinstance(value, str) else None
        raise Expected(f"{what} ({', '.join(names)})", hint=reason or nearest(value, names))

    return check


def is_each_of(what: str, known: Iterable[str]) -> Check:
    """Check a list, not empty, of different names from a closed set."""
    names = sorted(known)

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
            raise Expected(f"a list of different {what} ({', '.join(names)}), one at least")
        for name in value:
            if name not in names:
                raise Expected(f"{what} ({', '.join(names)})", hint=nearest(name, names))
        return tuple(value)

    return check


def is_factory(value: Any) -> str:
    """Check the form `module:attribute`; nothing is imported here."""
    if not isinstance(value, str) or not _FACTORY.fullmatch(value):
        module, dot, attribute = str(value).rpartition(".")
        hint = f'did you mean "{module}:{attribute}"?' if dot and _FACTORY.fullmatch(f"{module}:{attribute}") else ""
        raise Expected('"module:attribute" such as "shop.models:make"', hint=hint)
    return value


def is_timezone(value: Any) -> str:
    """Check a name of the time zone database."""
    try:
        if isinstance(value, str):
            zoneinfo.ZoneInfo(value)
            return value
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        pass
    raise Expected('a time zone such as "Europe/Oslo" or "UTC"', hint=nearest(value, zoneinfo.available_timezones()))


def is_calendar(value: Any) -> str:
    """Check a calendar of public holidays: a country, or one with a subdivision; empty is none."""
    if value == "":
        return ""
    written, dash, part = value.partition("-") if isinstance(value, str) else ("", "", "")
    spellings = countries()
    country = written if written in spellings.values() else nearest_meaning(written, spellings)
    parts = subdivisions(country) if country else {}
    subdivision = nearest_meaning(part, parts)
    hint = f'did you mean "{country}{"-" if subdivision else ""}{subdivision}"?' if country else ""
    if not country or country != written:
        raise Expected('a country of ISO 3166 such as "DE", or one with its subdivision such as "DE-BY"', hint=hint)
    if dash and part not in parts.values():
        names = ", ".join(sorted(set(parts.values())))
        what = f"a subdivision of {country} ({names})" if parts else f"{country} alone, because its calendar has no subdivisions"
        raise Expected(what, hint=hint if subdivision or not parts else "")
    return str(value)


def is_bootstrap(value: Any) -> str:
    """Check Kafka's addresses: `host:port`, several apart by commas."""
    servers = value.split(",") if isinstance(value, str) else [""]
    for server in servers:
        found = _SERVER.fullmatch(server.strip())
        if found is None or not 0 < int(found[1]) < 65536:
            hint = f'did you mean "{server}:9092"?' if _SERVER.fullmatch(f"{server.strip()}:9092") else ""
            raise Expected('Kafka addresses such as "127.0.0.1:9092" or "kafka1:9092,kafka2:9092"', hint=hint)
    return ",".join(server.strip() for server in servers)


def is_host(value: Any) -> str:
    """Check an address to listen on."""
    if isinstance(value, str) and (_HOST.fullmatch(value) or _is_ip(value)):
        return value
    raise Expected('an address to listen on such as "127.0.0.1" or "0.0.0.0"', hint="the port is a key of its own")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_url(example: str, *schemes: str, empty: bool = False) -> Check:
    """Check an address with one of the schemes; its text is never shown, it may carry a password."""

    def check(value: Any) -> str:
        if empty and value == "":
            return ""
        try:
            parts = urlsplit(value) if isinstance(value, str) else None
            # `port` is parsed only when it is asked for, and raises then.
            legal = (
                parts is not None and parts.scheme in schemes and (parts.hostname or parts.scheme == "unix") and parts.port != 0
            )
        except ValueError:
            legal = False
        if not legal:
            raise Expected(
                f'an address such as "{example}"', hint="what is there is not shown, it may hold a password", shown=False
            )
        return str(value)

    return check


def is_path(value: Any) -> str:
    """Check the path of a file; whether the file exists shows when it is read."""
    if not isinstance(value, str) or not value or "\x00" in value:
        raise Expected('the path of a file such as "/run/secrets/signing_key"')
    return value
