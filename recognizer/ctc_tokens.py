"""The token table of a CTC model, and how words are spelled with it.

``tokens.txt`` has one ``TOKEN NUMBER`` a line, the number being the column of the model's output, as icefall writes
it; ``▁`` begins a word. A word is spelled with as few pieces as can be, longer ones first where that leaves a choice;
sentencepiece's own segmentation is nearly always the same. Where it is known, a ``lexicon.txt`` (``WORD PIECE PIECE
...``) goes before it. A model of phones needs a dictionary in its own phones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recognizer.lexicon import Lexicon

Spellings = Mapping[str, Sequence[tuple[int, ...]]]
"""Per word its ways of being spelled, as columns of the model's output."""

WORD_START: Final = "▁"
MOST_TOKENS: Final = 100_000
_MOST_BYTES: Final = 8 << 20
_LONGEST_WORD: Final = 60
_MARK: Final = re.compile(r"#\d+")
_SPECIAL: Final = re.compile(r"<.*>")


class TokenTableError(ValueError):
    """The token table cannot be read or does not fit; one sentence."""


@dataclass(frozen=True)
class TokenTable:
    """What the columns of a CTC model stand for.

    Attributes
    ----------
    tokens : tuple of str
        By column.
    blank : int
    """

    tokens: tuple[str, ...]
    blank: int

    @classmethod
    def read(cls, path: Path, blank: str) -> TokenTable:
        """Read a table whose blank has the name `blank`.

        Raises
        ------
        TokenTableError
            The file is no such table: in one sentence.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise TokenTableError("The token table is larger than 8 MiB.")
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise TokenTableError(f"The token table {path.name} cannot be read as UTF-8 text.") from None
        columns: dict[int, str] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            token, _, column = line.rstrip().rpartition(" ")
            if "\t" in column:
                token, _, column = line.rstrip().rpartition("\t")
            if not re.fullmatch(r"\d{1,6}", column) or int(column) >= MOST_TOKENS:
                raise TokenTableError(f"Line {number} of the token table is not TOKEN NUMBER.")
            if _MARK.fullmatch(token):
                continue  # a disambiguation symbol of somebody's graph, no column
            if int(column) in columns:
                raise TokenTableError(f"Line {number} of the token table names column {int(column)} once more.")
            columns[int(column)] = token
        missing = next((i for i in range(len(columns)) if i not in columns), None)
        if not columns or missing is not None:
            raise TokenTableError(f"The token table names no token for column {missing or 0}.")
        tokens = tuple(columns[i] for i in range(len(columns)))
        if tokens.count(blank) != 1:
            raise TokenTableError(f"The token table has no single blank named {blank!r}.")
        return cls(tokens, tokens.index(blank))

    def phones(self) -> dict[str, int]:
        """Return the columns of what can be a phone: everything but the blank and ``<marks>``."""
        return {
            token: column
            for column, token in enumerate(self.tokens)
            if column != self.blank and token and not _SPECIAL.fullmatch(token)
        }


class PieceSpeller:
    """Spells words with the pieces of a table.

    Raises
    ------
    TokenTableError
        No piece begins a word: the table is of phones, or of another scheme.
    """

    def __init__(self, table: TokenTable) -> None:
        self._pieces = table.phones()
        if not any(piece.startswith(WORD_START) for piece in self._pieces):
            raise TokenTableError(f"No token of the table begins a word with {WORD_START}: it holds no sub-words.")
        letters = "".join(self._pieces)
        self._upper = letters != letters.lower() and letters == letters.upper()
        self._longest = max(map(len, self._pieces))

    def spell(self, word: str) -> tuple[int, ...] | None:
        """Return the columns that spell `word`, or None if they cannot."""
        text = WORD_START + (word.upper() if self._upper else word)
        if len(text) > _LONGEST_WORD:
            return None
        # fewest[i]: the least number of pieces for the text from i on, 0 where there is no way.
        fewest = [0] * len(text) + [1]
        for i in reversed(range(len(text))):
            rests = [fewest[i + n] for n in self._fitting(text, i) if fewest[i + n]]
            fewest[i] = 1 + min(rests) if rests else 0
        if not fewest[0]:
            return None
        spelling, at = [], 0
        while at < len(text):
            length = max(n for n in self._fitting(text, at) if fewest[at + n] == fewest[at] - 1)
            spelling.append(self._pieces[text[at : at + length]])
            at += length
        return tuple(spelling)

    def _fitting(self, text: str, at: int) -> list[int]:
        most = min(self._longest, len(text) - at)
        return [n for n in range(1, most + 1) if text[at : at + n] in self._pieces]


def spell_words(
    words: Iterable[str], table: TokenTable, lexicon: Lexicon | None = None
) -> dict[str, list[tuple[int, ...]]]:
    """Return the spellings of those of `words` that can be spelled.

    Parameters
    ----------
    words : iterable of str
    table : TokenTable
        Of sub-words.
    lexicon : mapping of str to pieces, optional
        Known segmentations, in tokens of the table.
    """
    speller = PieceSpeller(table)
    columns = table.phones()
    spelled: dict[str, list[tuple[int, ...]]] = {}
    for word in words:
        known = (lexicon or {}).get(word)
        if known:
            spelled[word] = [tuple(columns[piece] for piece in pieces) for pieces in known]
        elif (pieces := speller.spell(word)) is not None:
            spelled[word] = [pieces]
    return spelled


def pronounce_words(words: Iterable[str], table: TokenTable, lexicon: Lexicon) -> dict[str, list[tuple[int, ...]]]:
    """Return the pronunciations of those of `words` that `lexicon` has, as columns of a table of phones.

    Raises
    ------
    TokenTableError
        The table lacks a phone of the lexicon.
    """
    columns = table.phones()
    spoken: dict[str, list[tuple[int, ...]]] = {}
    for word in words:
        for pronunciation in lexicon.get(word, ()):
            lacking = next((phone for phone in pronunciation if phone not in columns), None)
            if lacking is not None:
                raise TokenTableError(f"The token table lacks the phone {lacking!r}, which the dictionary has.")
            spoken.setdefault(word, []).append(tuple(columns[phone] for phone in pronunciation))
    return spoken
