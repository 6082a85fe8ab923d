"""One line of progress on a terminal, nothing in a pipe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console

#: Shows a sentence in the line of progress.
Say = Callable[[str], None]


@contextlib.contextmanager
def progress() -> Iterator[Say]:
    """Give a function that shows what goes on, on stderr if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("") as status:
        yield status.update
