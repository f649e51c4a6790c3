"""Masking of coarse words, for display only: f***. What is kept, searched and judged stays as it was said."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

_LIST: Final = Path(__file__).parent / "profane_words.txt"


@cache
def profane_words() -> frozenset[str]:
    """Return the list in the repository."""
    lines = _LIST.read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def masked(text: str) -> str:
    """Return `text` with its first letter and asterisks if it is on the list, else unchanged."""
    core = text.strip(".,?!'\"")
    if core.lower() not in profane_words():
        return text
    return text.replace(core, core[0] + "*" * (len(core) - 1))
