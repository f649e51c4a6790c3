"""The form of all rewriting rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Written:
    """Words ``[first, last)`` written as `text`."""

    text: str
    first: int
    last: int


Rule = Callable[[Sequence[str], int], tuple[Written, ...]]
"""Given lower-case words and a place, a rule returns what is written for the words from there on: adjoining pieces,
the first of which begins at that place; or nothing."""


def word_at(words: Sequence[str], at: int) -> str:
    """Return the word, or an empty one beyond either end."""
    return words[at] if 0 <= at < len(words) else ""


def words_at(words: Sequence[str], at: int, wanted: Sequence[str]) -> bool:
    """Whether the words from `at` on are the wanted ones; no word is looked at behind the first other one."""
    return all(word_at(words, at + n) == word for n, word in enumerate(wanted))


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(text.split())
