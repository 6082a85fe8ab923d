"""The nouns of the lanes: a benchmark with its forms, a part of a full form, a bound of a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Room = Literal["quality", "speed", "exactness"]
#: What a benchmark needs of the machine: a Kafka with a Redis, or the data sets that are not shipped.
Need = Literal["servers", "data"]
#: The JSON object of one run.
Printed = Mapping[str, Any]
#: Any key of an object, or any element of a list.
ANY = "*"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must be; a figure that is not there is out of bounds.

    Args:
        path: keys from the top of the JSON object to the figure; `*` stands for all keys, or all elements, at that level.
        least: the smallest value that passes.
        most: the greatest value that passes.
        equal: the only value that passes.
    """

    path: tuple[str, ...]
    least: float | None = None
    most: float | None = None
    equal: Any = None

    def __str__(self) -> str:
        """Return the bound in words.

        >>> str(Bound(("missed", "*", "+1"), most=0))
        'missed.*.+1 at most 0'
        """
        return f"{'.'.join(self.path)} {'' if self._is_range else 'is '}{self._must}"

    @property
    def _is_range(self) -> bool:
        return self.least is not None or self.most is not None

    @property
    def _must(self) -> str:
        limits = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None) or str(self.equal)

    def faults(self, printed: Printed) -> list[str]:
        """Return a sentence for each figure that is out of bounds.

        >>> Bound(("missed", "*"), most=0).faults({"missed": {"a": 0, "b": 1}})
        ['missed.b is 1, must be at most 0']
        """
        figures = list(_reached(printed, self.path))
        if not figures:
            return [f"there is no figure {'.'.join(self.path)}"]
        return [f"{'.'.join(path)} is {figure}, must be {self._must}" for path, figure in figures if not self._passes(figure)]

    def _passes(self, figure: Any) -> bool:
        if not self._is_range:
            return bool(figure == self.equal)
        if not isinstance(figure, int | float):
            return False
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


def _reached(found: Any, path: Sequence[str], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (keys, figure) of every figure that a path leads to."""
    if not path:
        yield before, found
        return
    children = {str(at): one for at, one in enumerate(found)} if isinstance(found, list) else found
    if not isinstance(children, Mapping):
        return
    for key in children if path[0] == ANY else [path[0]]:
        if key in children:
            yield from _reached(children[key], path[1:], (*before, key))


@dataclass(frozen=True, slots=True)
class FullPart:
    """One run of a full form: its arguments, and how long it takes at most, in seconds, on a machine that does nothing else."""

    arguments: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Page:
    """Where the table of a full form stands: a document, between two markers that bear the benchmark's name.

    Args:
        file: the document, from the root of the project.
        table: makes the Markdown between the markers from what the parts printed, in their order.
        constants: works out constants of docs/scaling.md from the same, by their names.
    """

    file: str
    table: Callable[[Sequence[Printed]], str]
    constants: Callable[[Sequence[Printed]], Mapping[str, float]] = lambda _printed: {}


@dataclass(frozen=True, slots=True)
class BenchmarkLane:
    """One benchmark and its forms.

    Args:
        name: `python -m benchmarks.NAME` runs it.
        room: the folder that it lies in.
        what: it measures, in words.
        quick: arguments of the quick form.
        share_seconds: what the quick form may take of the 35 minutes; at twice as much it is killed.
        bounds: what the quick form checks.
        checks: the same in words, for the table.
        full: the runs of the full form.
        page: where its table goes.
        needs: what is not on every machine.
    """

    name: str
    room: Room
    what: str
    quick: tuple[str, ...]
    share_seconds: float
    bounds: tuple[Bound, ...]
    checks: str
    full: tuple[FullPart, ...]
    page: Page
    needs: frozenset[Need] = frozenset()
