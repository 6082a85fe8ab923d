"""The local clock and the local calendar: slots follow summer time, and a public holiday is like a day of rest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from benchmarks.quality.seasonal import DATA, SOURCES, read
from detectors.learning.fit_season import fit
from detectors.reference import holidays
from detectors.reference.holidays import countries, subdivisions, weekday
from detectors.reference.local_time import DAY_SECONDS, local_seconds, local_times
from detectors.reference.reference_set import SegmentReference
from detectors.reference.season import Seasons
from detectors.spec import ModelSpec, OutcomeSpec
from detectors.windows.record import Kind
from driftline.cli.commands.look.check import _season_notes
from driftline.cli.main import run
from driftline.config.checks import is_calendar
from streams.state.reference_file import reference_set_of
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

HOUR = 3600.0
#: Clocks change by an hour, by half an hour, at midnight, in the other half of the year, or never.
ZONES = (
    "Europe/Oslo",
    "America/New_York",
    "America/St_Johns",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kolkata",
    "UTC",
)
ALL_ZONES = sorted(available_timezones())
COUNTRIES = sorted(set(countries().values()))
CALENDARS = [*COUNTRIES, *(f"{country}-{part}" for country in COUNTRIES for part in sorted(set(subdivisions(country).values())))]
#: Every event has a time in the years 1970 to 9999.
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()

moments = st.floats(0.0, LAST)


def changes(zone: str, year: int) -> list[datetime]:
    """Return the hours of a year, in UTC, in which the clocks of a zone change."""
    first = datetime(year, 1, 1, tzinfo=UTC)
    hours = [first + timedelta(hours=hour) for hour in range(366 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, (before, after) in zip(hours, pairwise(offsets), strict=False) if before != after]


# -- the clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES)
def test_slots_follow_the_clocks_on_the_wall_across_both_changes(zone: str) -> None:
    """Through three days around each change, each quarter of an hour is in the slot that a clock on the wall shows."""
    found = changes(zone, 2026)
    assert len(found) == (0 if zone in {"Asia/Kolkata", "UTC"} else 2)
    for change in found or [datetime(2026, 3, 29, tzinfo=UTC)]:
        for quarter in range(-36 * 4, 36 * 4):
            at = change + timedelta(minutes=15 * quarter)
            wall = at.astimezone(ZoneInfo(zone)).strftime("%w %H:%M")  # Sunday is 0 here
            day, hours, minutes = int(wall[0]), int(wall[2:4]), int(wall[5:7])
            assert local_seconds(at.timestamp(), zone) == (day - 1) % 7 * DAY_SECONDS + hours * HOUR + minutes * 60


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25)])
def test_the_days_of_the_changes_have_their_own_length(month: int, day: int, hours: int) -> None:
    """In spring no window falls into the hour that is left out, in autumn those of two hours share a slot."""
    zone = ZoneInfo("Europe/Oslo")
    midnight = datetime(2026, month, day, tzinfo=zone).timestamp()
    slots = [local_seconds(midnight + hour * HOUR, "Europe/Oslo") % DAY_SECONDS // HOUR for hour in range(hours)]
    assert local_seconds(midnight + hours * HOUR, "Europe/Oslo") == 0.0, "then it is Monday"
    assert slots == sorted(slots)
    assert {slot: slots.count(slot) for slot in range(24)} == {**dict.fromkeys(range(24), 1), 2: hours - 23}


@given(st.sampled_from(ZONES), st.integers(1980, 2036), st.integers(0, 23), st.integers(0, 364))
def test_an_hour_on_the_wall_is_the_same_slot_on_every_day(zone: str, year: int, hour: int, day: int) -> None:
    """Nine o'clock is nine o'clock, whatever the offset, unless the clock leaves it out on that day."""
    at = datetime(year, 1, 1, hour, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
    left_out = at.astimezone(UTC).astimezone(at.tzinfo).hour != hour
    assert left_out or local_seconds(at.timestamp(), zone) == at.weekday() * DAY_SECONDS + hour * HOUR


@given(moments, st.sampled_from(ALL_ZONES), st.sampled_from(["", "DE", "SA", "US-NY"]))
def test_every_legal_moment_has_a_time_of_the_week(ts: float, zone: str, holidays: str) -> None:
    """From 1970 to the end of 9999, in all zones, with and without a calendar, no moment is out of reach."""
    assert 0 <= local_seconds(ts, zone, holidays) < 7 * DAY_SECONDS


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"])
def test_the_first_and_the_last_legal_moment_are_in_reach(zone: str) -> None:
    """Clocks east of Greenwich leave the year 9999 before it ends, and those west of it are in 1969 at first."""
    assert all(0 <= local_seconds(ts, zone, "DE") < 7 * DAY_SECONDS for ts in (0.0, LAST))


@given(st.lists(st.floats(0.0, 4e9), max_size=20), st.sampled_from(ZONES), st.sampled_from(["", "AU-NSW"]))
def test_many_times_are_those_of_each(starts: list[float], zone: str, holidays: str) -> None:
    """The array has the same bits as the single answers."""
    assert local_times(np.array(starts), zone, holidays).tolist() == [local_seconds(ts, zone, holidays) for ts in starts]


# -- the calendar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "on", "like"),
    [
        ("DE", date(2026, 4, 3), 6),  # Good Friday
        ("DE", date(2026, 4, 7), 1),  # the Tuesday behind Easter
        ("DE", date(2026, 1, 6), 1),  # Epiphany
        ("DE-BY", date(2026, 1, 6), 6),
        ("DE-BE", date(2026, 1, 6), 1),
        ("IT", date(1995, 4, 25), 6),  # Liberation Day
        ("US", date(2014, 11, 27), 6),  # Thanksgiving
        ("US-NY", date(2015, 1, 19), 6),  # Martin Luther King's
        ("AU-VIC", date(2025, 11, 4), 6),  # the Melbourne Cup
        ("AU-NSW", date(2025, 11, 4), 1),
        ("AU-NSW", date(1998, 1, 26), 6),  # Australia Day
        ("BN", date(2026, 2, 23), 6),  # Fridays and Sundays are free
        ("SA", date(2024, 9, 23), 5),  # the National Day; Sunday is a working day
        ("IL", date(2024, 10, 3), 5),  # Rosh Hashanah
        ("IR", date(2024, 3, 20), 4),  # Fridays alone are free
        ("SA", date(2012, 9, 23), 4),  # a year before its weekend was moved
        ("", date(2026, 4, 3), 4),
    ],
)
def test_a_public_holiday_is_like_the_day_of_rest(name: str, on: date, like: int) -> None:
    """A Sunday; where that is a working day, the last day of the weekend. Other dates are their own day of the week."""
    assert weekday(on, name) == like


@given(st.sampled_from(ZONES), st.integers(1991, 2100), st.integers(-86_400, 2 * 86_400 - 1))
def test_a_holiday_is_the_local_date(zone: str, year: int, after: int) -> None:
    """3 October begins and ends at midnight on the clock of the zone, wherever UTC is, and keeps the time of day."""
    midnight = datetime(year, 10, 3, tzinfo=ZoneInfo(zone)).timestamp()
    at = datetime.fromtimestamp(midnight + after, ZoneInfo(zone))
    local = local_seconds(midnight + after, zone, "DE")
    day = 6 if (at.month, at.day) == (10, 3) else at.weekday()
    assert local // DAY_SECONDS == day
    assert local % DAY_SECONDS == local_seconds(midnight + after, zone) % DAY_SECONDS


def test_the_same_moment_is_a_holiday_in_one_zone_and_not_in_another() -> None:
    """On 1 January at 03:00 UTC it is still the Wednesday before in New York."""
    ts = datetime(2026, 1, 1, 3, tzinfo=UTC).timestamp()
    assert local_seconds(ts, "UTC", "US") == 6 * DAY_SECONDS + 3 * HOUR
    assert local_seconds(ts, "America/New_York", "US") == 2 * DAY_SECONDS + 22 * HOUR


def test_a_holiday_is_expected_to_be_a_sunday() -> None:
    """Slots of the week that learned quiet Sundays expect a quiet 1 May, and know nothing of it without the calendar."""
    zone = "Europe/Berlin"
    starts = datetime(2026, 1, 12, tzinfo=ZoneInfo(zone)).timestamp() + HOUR * np.arange(28 * 24)
    local = local_times(starts, zone, "DE")
    (season,), _, _ = fit("slot-of-week", HOUR, local, np.where(local < 6 * DAY_SECONDS, 1.0, 0.0)[:, None])
    seasons = Seasons.empty(HOUR, (1, 1))
    seasons.set((0, 0), season)
    noon = datetime(2026, 5, 1, 12, tzinfo=ZoneInfo(zone)).timestamp()
    assert seasons.expect(local_seconds(noon, zone, "DE")) == 0.0
    assert seasons.expect(local_seconds(noon, zone)) == 1.0
    assert seasons.expect(local_seconds(noon + DAY_SECONDS, zone, "DE")) == 1.0


@pytest.mark.slow
@effort(max_examples=50)
@given(st.permutations(range(1995, 2031)), st.sampled_from(CALENDARS))
def test_a_date_has_one_answer_whatever_was_asked_before(years: list[int], name: str) -> None:
    """Years are asked for in any order, kept or forgotten, and every date is like the same day of the week."""
    there = {year: holidays._days_of_rest(name, year) for year in years}
    holidays._days_of_rest.cache_clear()
    assert there == {year: holidays._days_of_rest(name, year) for year in sorted(years)}
    assert all(on.year == year for year, found in there.items() for on in found)


_DIGEST = """
import hashlib
from detectors.reference.holidays import _days_of_rest
names = {names!r}
found = [sorted(_days_of_rest(name, year).items()) for name in names for year in range(2000, 2030)]
print(hashlib.sha256(repr(found).encode()).hexdigest())
"""


@pytest.mark.slow
def test_a_date_has_one_answer_in_every_process() -> None:
    """Neither the language of the machine nor the seed of Python's hashes moves a holiday."""
    names = CALENDARS[::40]
    found = [sorted(holidays._days_of_rest(name, year).items()) for name in names for year in range(2000, 2030)]
    environ = {**os.environ, "LANGUAGE": "th", "LANG": "ar_EG.UTF-8", "PYTHONHASHSEED": "7", "TZ": "Pacific/Apia"}
    command = [sys.executable, "-c", _DIGEST.format(names=names)]
    root = ROOT
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == hashlib.sha256(repr(found).encode()).hexdigest()
    assert done.stderr == "", "and nothing is warned of"


@given(st.sampled_from(CALENDARS), st.integers(1969, 9999))
def test_every_calendar_knows_every_year(name: str, year: int) -> None:
    """A year that the library knows nothing of has no holidays, which is no error and no warning."""
    assert set(holidays._days_of_rest(name, year).values()) <= set(range(7))


def test_years_are_forgotten() -> None:
    """Clocks that tell any year fill no memory."""
    for year in range(1970, 3000):
        weekday(date(year, 5, 1), "DE")
    assert holidays._days_of_rest.cache_info().currsize <= holidays._MOST_YEARS


# -- the configuration -----------------------------------------------------------------------------


def test_every_calendar_of_the_library_can_be_configured() -> None:
    """Each country and each subdivision is legal as it is."""
    assert len(COUNTRIES) > 200
    assert [is_calendar(name) for name in CALENDARS] == CALENDARS


def test_every_series_of_the_benchmark_has_the_calendar_of_its_place() -> None:
    """All of them can be configured, and the power supply of Italy has another one than that of Victoria."""
    used = {name: source.holidays for name, source in SOURCES.items()}
    assert [is_calendar(name) for name in used.values()] == list(used.values())
    assert "" not in used.values()
    assert (used["power main"], used["elec2 vicdemand"]) == ("IT", "AU-VIC")


@pytest.mark.skipif(not (DATA / SOURCES["taxi"].file).is_file(), reason="the data sets are not there (../shared/data)")
def test_a_series_can_be_read_without_its_calendar() -> None:
    """With --no-holidays a series differs in nothing else."""
    (on,), (off,) = (read(DATA, ["taxi"], weeks=1, holidays=flag) for flag in (True, False))
    assert (on.holidays, off.holidays) == ("US-NY", "")
    assert on.values.tolist() == off.values.tolist()


def _checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> str:
    config = tmp_path / "driftline.toml"
    config.write_text(text)
    assert run(["check", "--config", str(config)]) == 0
    return capsys.readouterr().out


def test_check_shows_the_calendar_beside_the_time_zone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model with one has both in its row, and a model without has the zone alone."""
    slots = 'window = "1h"\nreference.duration = "4w"\n'
    out = _checked(tmp_path, capsys, f'[models.a]\ntimezone = "Europe/Oslo"\nholidays = "NO"\n{slots}[models.b]\n')
    assert "Europe/Oslo, public holidays of NO " in out
    assert out.count("public holidays") == 1
    assert "note: models.a" not in out
    assert "note: models.b judges a Saturday like a working day, for a reference of 3d knows no week" in out


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('window = "10m"\nreference.duration = "13d"', True),
        ('window = "10m"\nreference.duration = "2w"', False),
        ('window = "1h"\nreference.duration = "27d"', True),
        ('window = "2d"\nreference.duration = "8w"', True),
        ('window = "1h"\nreference = { duration = "1w", min_windows = 672 }', False),
        ('window = "1m"\noutcomes.window = "1h"\nreference.duration = "4w"', False),
    ],
)
def test_check_says_when_a_calendar_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, told: bool
) -> None:
    """Where neither features nor outcomes get a season by slots of the week, no day differs from another."""
    out = _checked(tmp_path, capsys, f'[models.a]\nholidays = "NO"\n{settings}\n')
    assert ('note: models.a.holidays "NO" changes nothing: only seasons of the week' in out) == told


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            'window = "5m"\noutcomes.window = "1h"\nreference.duration = "2w"',
            "models.a.outcomes judges a Saturday like a working day, ",
        ),
        ('window = "1h"\noutcomes.window = "5m"\nreference.duration = "2w"', "models.a judges a Saturday like a working day, "),
        ('window = "5m"\nreference.duration = "2w"', ""),
        ('window = "1h"\nreference = { duration = "1d", min_windows = 240 }', "a working day, for a reference of 10d knows"),
        (
            'window = "5m"\noutcomes.window = "1h"\nholidays = "NO"\nreference.duration = "2w"',
            'models.a.holidays "NO" changes nothing for outcomes: only',
        ),
        (
            'window = "1h"\noutcomes.window = "5m"\nholidays = "NO"\nreference.duration = "2w"',
            'models.a.holidays "NO" changes nothing for features: only',
        ),
        ('window = "1h"\noutcomes.window = "5m"\nholidays = "NO"', 'models.a.holidays "NO" changes nothing: only'),
    ],
)
def test_check_looks_at_features_and_at_outcomes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, told: str
) -> None:
    """What knows no week is named, once if it is both of them, with the length that its reference will have."""
    out = _checked(tmp_path, capsys, f"[models.a]\n{settings}\n")
    assert told in out
    assert out.count("note: models.a") == bool(told)


@pytest.mark.parametrize(
    ("days", "kinds", "told"),
    [
        (10, ("features", "outcomes"), "models.m judges a Saturday like a working day, for a reference of 10d knows no week"),
        (14, ("features", "outcomes"), ""),
        (14, ("features",), "models.m.outcomes judges a Saturday like a working day, for a reference of 3d knows no week"),
    ],
)
def test_a_file_of_references_is_looked_at_too(days: int, kinds: tuple[Kind, ...], told: str) -> None:
    """What it covers counts, not the length that the configuration asks for; kinds that it has not are learned as that says."""
    spec = ModelSpec("m", window_seconds=300.0, outcomes=OutcomeSpec(window_seconds=300.0))
    segments = {kind: {"": SegmentReference(100, 0.0, days * DAY_SECONDS, {})} for kind in kinds}
    reference_set = reference_set_of(spec, segments)
    notes = list(_season_notes(replace(spec, reference=replace(spec.reference, reference_set=reference_set))))
    assert len(notes) == bool(told)
    assert "".join(notes).startswith(told)
