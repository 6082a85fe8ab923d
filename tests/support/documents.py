"""The Markdown documents of the project, as tests read them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path


def text_of(document: Path) -> str:
    """Return the text of a document."""
    return document.read_text(encoding="utf-8")


def blocks(document: Path, *languages: str) -> list[str]:
    """Return the fenced blocks in one of the languages, without the indentation of the list that they stand in."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text_of(document), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, language, body in found if language in languages]


def prose(document: Path) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
