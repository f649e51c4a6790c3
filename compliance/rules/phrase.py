"""The small language of phrases.

    risk free            two words next to each other; case does not count, a hyphen is a space
    guarantee*           a word that begins so: guarantee, guarantees, guaranteed
    you * lose           an asterisk alone is any one word
    (can't|cannot) lose  one of them; alternatives may have several words, or be part of one: guarantee(d|s)
    (very)? safe         a question mark behind parentheses: with or without
    {CARD_NUMBER}        hidden personal data of that kind, see events.transcript.PiiKind

A phrase stands for the finite list of word sequences that it expands to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final

from events.transcript import PiiKind

MOST_EXPANSIONS: Final = 512
MOST_WORDS: Final = 24
ANY_WORD: Final = "*"
_APOSTROPHES: Final = {0x2019: "'", 0x2018: "'", 0x2010: "-", 0x2011: "-"}
_WORD: Final = re.compile(r"[^\W_]+(?:['.&][^\W_]+)*[.']?\*?")
_ENTITIES: Final = {kind.value.upper(): kind.placeholder.lower() for kind in PiiKind}


class PhraseError(ValueError):
    """The phrase cannot be read. The text is the rest of a sentence that begins with the field's name."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase as its author wrote it, and every sequence of patterns that it stands for.

    A pattern is a word, a beginning with an asterisk behind it, an asterisk, or a placeholder in lower case.
    """

    text: str
    sequences: tuple[tuple[str, ...], ...]


@lru_cache(maxsize=4096)
def read_phrase(text: str) -> Phrase:
    """Read a phrase.

    Raises
    ------
    PhraseError
    """
    normal = " ".join(text.translate(_APOSTROPHES).lower().split())
    if not normal:
        raise PhraseError("must hold at least one word")
    expanded, rest = _alternatives(normal, 0, depth=0)
    if rest != len(normal):
        raise PhraseError("closes a parenthesis that it did not open")
    sequences = dict.fromkeys(_sequence(one) for one in expanded)
    return Phrase(" ".join(text.split()), tuple(sequences))


def words_of(text: str) -> tuple[str, ...]:
    """Return the words that a recognised word counts as: itself, or its parts if it has a hyphen."""
    normal = text.lower()
    if normal.startswith("["):
        return (normal,)
    return tuple(part for part in normal.translate(_APOSTROPHES).split("-") if part)


def shown(sequence: tuple[str, ...]) -> str:
    """Return a sequence as a person reads it."""
    return " ".join(f"{{{word[1:-1].upper()}}}" if word.startswith("[") else word for word in sequence)


def _alternatives(text: str, place: int, depth: int) -> tuple[list[str], int]:
    """Expand up to a closing parenthesis or the end; return the strings and the place behind them."""
    if depth > 5:
        raise PhraseError("has more than five parentheses within each other")
    branches: list[str] = []
    current = [""]
    while place < len(text):
        char = text[place]
        if char == "(":
            inner, place = _alternatives(text, place + 1, depth + 1)
            if place >= len(text):
                raise PhraseError("opens a parenthesis that it does not close")
            place += 1
            if text.startswith("?", place):
                inner.append("")
                place += 1
            if len(current) * len(inner) > MOST_EXPANSIONS:
                raise PhraseError(f"stands for more than {MOST_EXPANSIONS} sequences of words")
            current = ["".join(pair) for pair in product(current, inner)]
        elif char == ")":
            break
        elif char == "|":
            if depth == 0:
                raise PhraseError("has a | outside of parentheses")
            branches += current
            current = [""]
            place += 1
        elif char == "?":
            raise PhraseError("has a question mark that does not stand behind a closing parenthesis")
        else:
            current = [one + char for one in current]
            place += 1
    branches += current
    return branches, place


def _sequence(text: str) -> tuple[str, ...]:
    # A hyphen at the edge of an entity or asterisk has no meaning; between letters it is a space.
    words = tuple(_pattern(word) for word in re.sub(r"(?<=\w)-(?=\w)", " ", text).split())
    if not words:
        raise PhraseError("can be empty, because everything in it may be left out")
    if all(word == ANY_WORD for word in words):
        raise PhraseError("must hold a word beside the asterisks")
    if len(words) > MOST_WORDS:
        raise PhraseError(f"must have at most {MOST_WORDS} words")
    return words


def _pattern(word: str) -> str:
    if word == ANY_WORD:
        return word
    if word.startswith("{"):
        name = word.strip("{}").upper()
        if not word.endswith("}") or name not in _ENTITIES:
            known = ", ".join(f"{{{entity}}}" for entity in _ENTITIES)
            raise PhraseError(f"names an entity that does not exist; there are {known}")
        return _ENTITIES[name]
    if not _WORD.fullmatch(word):
        raise PhraseError(
            f"has {word!r}, which is not a word, a beginning with * behind it, or an entity like {{SSN}}"
        )
    return word
