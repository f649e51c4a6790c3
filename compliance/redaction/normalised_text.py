"""A leg's words as text that pattern recognisers can read, with the way back from each character to its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compliance.redaction.digit_runs import find_runs, intended_digits
from compliance.redaction.spans import LegWords
from compliance.redaction.spoken_numbers import Sort


@dataclass(frozen=True, slots=True)
class SpokenText:
    """`sources[i]` are the first and the last word (indices in the leg) that character i of `text` came from."""

    text: str
    sources: Sequence[tuple[int, int]]

    @property
    def digit_count(self) -> int:
        return sum(character.isdigit() for character in self.text)

    def words(self, start: int, end: int) -> tuple[int, int]:
        """Return the words, inclusive, behind the characters from `start` up to `end`."""
        covered = self.sources[start:end]
        return min(first for first, _ in covered), max(last for _, last in covered)


def normalise(words: LegWords, first: int = 0, last: int | None = None) -> SpokenText:
    """Write numbers in figures and spelled addresses as addresses: "john at gmail dot com" -> "john@gmail.com".

    Corrections are carried out ("four two no five two" is "52"), and every character of a corrected number maps
    to the whole run, so that the wrong digits are hidden with the right ones.
    """
    last = len(words.heard) - 1 if last is None else last
    runs = {run.first: run for run in find_runs(words) if not run.weak and first <= run.first and run.last <= last}
    tokens = {token.first: token for token in words.tokens}
    letters = _letters(words) - {index for run in runs.values() for index in range(run.first, run.last + 1)}
    characters: list[str] = []
    sources: list[tuple[int, int]] = []

    def write(text: str, source: tuple[int, int]) -> None:
        characters.extend(text)
        sources.extend([source] * len(text))

    glued = True
    index = first
    while index <= last:
        run = runs.get(index)
        token = tokens.get(index)
        sign = token is not None and token.sort is Sort.SIGN and _joins(words, index)
        spelled = index in letters
        if not glued and not sign:
            write(" ", (index, index))
        if run is not None:
            if run.corrections:
                write(intended_digits(run), (run.first, run.last))
            else:
                for group in run.groups:
                    write(group.digits, (group.first, group.last))
            index = run.last
            glued = False
        elif sign and token is not None:
            write(token.letter, (index, index))
            glued = True
        elif spelled and token is not None and token.last <= last:
            write(token.letter, (token.first, token.last))
            index = token.last
            glued = index + 1 in letters
        else:
            write(words.texts[index], (index, index))
            glued = False
        index += 1
        if glued and index <= last and runs.get(index) is None and not spelled and not sign:
            glued = False
    return SpokenText("".join(characters), sources)


def _joins(words: LegWords, index: int) -> bool:
    """Is "at" or "dot" here a sign of an address? Only when "dot" and a few words make one."""
    around = words.texts[max(0, index - 6) : index + 7]
    return 0 < index < len(words.texts) - 1 and ("dot" in around or "underscore" in around)


def _letters(words: LegWords) -> set[int]:
    """Return the first words of spelled letters; "a", "i" and "o" count beside other letters."""
    tokens = words.tokens
    sure = {token.first for token in tokens if token.sort is Sort.LETTER}
    return sure | {
        token.first
        for place, token in enumerate(tokens)
        if token.letter
        and len(words.texts[token.first]) == 1
        and any(other.first in sure for other in tokens[max(0, place - 1) : place + 2])
    }
