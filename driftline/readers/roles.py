"""Roles: which column of a table is the time, the label, the prediction, the segment; all others are features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectors.errors import ConfigError
from detectors.spec import ModelSpec
from detectors.windows.row import PREDICTION, VOLUME
from driftline.text.nearest import nearest
from streams.events.event import MAX_NAME_LENGTH

#: Columns named in a message at most.
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a table mean: the name of the column of each role, None without one."""

    model: ModelSpec
    time: str | None = None
    label: str | None = None
    prediction: str | None = None
    segment: str | None = None
    ignored: tuple[str, ...] = ()

    def taken(self) -> dict[str, str]:
        """Return option -> column, for the roles that have one."""
        named = {"--time": self.time, "--label": self.label, "--prediction": self.prediction, "--segment": self.segment}
        return {option: column for option, column in named.items() if column is not None}

    def features(self, columns: Sequence[str], file: str) -> list[str]:
        """Return the columns that are features, in their order; columns without a name are left out.

        Raises:
            ConfigError: a named column does not exist, two columns have one name, or the features break a limit.
        """
        shown = _shown(columns)
        if self.time is None:
            raise ConfigError(f"{file}: which column is the time? Name it with --time; there are {shown}")
        for option, column in (*self.taken().items(), *(("--ignore", column) for column in self.ignored)):
            if column not in columns:
                raise ConfigError(f'{file}: {option}: no column "{column}"; {nearest(column, columns) or f"there are {shown}"}')
        twice = next((column for column in columns if column and columns.count(column) > 1), None)
        if twice is not None:
            raise ConfigError(f'{file}: two columns are called "{twice}": rename one')
        found = [column for column in columns if column and not self.is_apart(column)]
        self.check(found, file)
        return found

    def is_apart(self, column: str) -> bool:
        """Whether a column is no feature; with a prediction column, the names that Driftline gives predictions are taken."""
        named = (self.time, self.label, self.prediction, self.segment, *self.ignored)
        return column in named or (self.prediction is not None and column in PREDICTION)

    def check(self, features: Sequence[str], file: str) -> None:
        """Return if a model can have features of these names.

        Raises:
            ConfigError: there are too many, a name is too long, or Driftline uses a name itself.
        """
        limit = self.model.max_features
        if len(features) > limit:
            raise ConfigError(
                f"{file}: {len(features)} columns are features, and max_features of models.{self.model.name} is {limit}: "
                "leave some out with --ignore, or raise it"
            )
        if VOLUME in features:
            raise ConfigError(
                f'{file}: column "{VOLUME}": that name stands for the number of rows: rename it, or leave it out with --ignore'
            )
        long = next((name for name in features if len(name) > MAX_NAME_LENGTH), None)
        if long is not None:
            raise ConfigError(
                f'{file}: column "{long[:40]}...": expected a name of at most {MAX_NAME_LENGTH} characters, '
                f"got {len(long)}: rename it, or leave it out with --ignore"
            )


def _shown(columns: Sequence[str]) -> str:
    named = ", ".join(columns[:_MOST_NAMED])
    return f"{named} and {len(columns) - _MOST_NAMED} more" if len(columns) > _MOST_NAMED else named or "none"
