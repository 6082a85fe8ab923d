"""What a user says of a file, and asks of a replay, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

__all__ = ["FORMS", "Form", "Options"]

Form = Literal["csv", "jsonl", "parquet"]

#: Suffix of a file's name -> form of the file, and the delimiter of its cells.
FORMS: dict[str, tuple[Form, str]] = {
    ".csv": ("csv", ","),
    ".tsv": ("csv", "\t"),
    ".jsonl": ("jsonl", ""),
    ".ndjson": ("jsonl", ""),
    ".json": ("jsonl", ""),
    ".parquet": ("parquet", ""),
    ".pq": ("parquet", ""),
}


@dataclass(frozen=True, slots=True)
class Options:
    """One replay.

    Args:
        file: name, `-` for stdin; None for the windows topic.
        form: form of the file; None for windows.
        delimiter: between the cells of a CSV file.
        model: name of the one model; None for all models of the file or topic.
        time: name of the column, None without one; so are `label`, `prediction` and `segment`.
        ignore: names of columns that are no features.
        write_windows: file to write the windows to, or None.
        requests: whether requests to retrain are printed as well.
    """

    file: str | None
    form: Form | None
    delimiter: str = ","
    model: str | None = None
    time: str | None = None
    label: str | None = None
    prediction: str | None = None
    segment: str | None = None
    ignore: tuple[str, ...] = ()
    write_windows: str | None = None
    requests: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], *, form: Form | None, delimiter: str, model: str | None) -> Self:
        """Return the options of a command line, by name; what is not among `given` has its default."""
        names = {field.name for field in fields(cls)} & given.keys() - {"form", "delimiter", "model"}
        return cls(form=form, delimiter=delimiter, model=model, **{name: given[name] for name in names})
