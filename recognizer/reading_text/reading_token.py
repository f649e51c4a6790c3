"""What is shown for some words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PLACEHOLDER: Final = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
"""How redaction writes what it has hidden."""


@dataclass(frozen=True, slots=True)
class ReadingToken:
    """One or more words as they are read.

    Attributes
    ----------
    text : str
        Without the mark behind it.
    mark : str
        ``","``, ``"."``, ``"?"`` or nothing.
    first, last : int
        The raw words it stands for, ``words[first:last]``, at least one. The tokens of a segment tile its words.
    """

    text: str
    mark: str
    first: int
    last: int

    @property
    def shown(self) -> str:
        """Text and mark; a text that ends in a full stop (``p.m.``) takes no second one."""
        return self.text if self.mark == "." and self.text.endswith(".") else self.text + self.mark


def is_placeholder(word: str) -> bool:
    """Whether the word stands for personal data that was hidden."""
    return PLACEHOLDER.fullmatch(word) is not None


def as_text(tokens: Sequence[ReadingToken]) -> str:
    """Return the tokens with single spaces between."""
    return " ".join(token.shown for token in tokens)
