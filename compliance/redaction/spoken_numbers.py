"""Normaliser of spoken numbers, letters and e-mail signs, keeping which words every output character came from.

Presidio finds nothing in "my card number is four two four two"; it finds all of it in "4242". The map back is
kept because the same span must be hidden in words, and by their times in sound.

Two steps: `lex` gives every word a meaning by itself; `number_groups` reads cardinals the way people say them
("forty four eleven", "four hundred and five", "nineteen eighty two", "double four", "triple oh").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.number_words import plain

_WRITTEN: Final = re.compile(r"\d[\d\-.,/]*")


class Sort(Enum):
    DIGIT = auto()
    TEEN = auto()
    TENS = auto()
    SCALE = auto()
    TIMES = auto()
    WRITTEN = auto()
    """Already in figures, as some recognisers give them."""
    HOMOPHONE = auto()
    LETTER = auto()
    SIGN = auto()
    FILLER = auto()
    CORRECTION = auto()
    WORD = auto()


NUMBER_SORTS: Final = frozenset({Sort.DIGIT, Sort.TEEN, Sort.TENS, Sort.WRITTEN})


@dataclass(frozen=True, slots=True)
class Token:
    """One or several words with one meaning. Word indices are inclusive."""

    sort: Sort
    first: int
    last: int
    digits: str = ""
    letter: str = ""
    """The letter this may spell, whatever its sort is."""


_SIGNS: Final = {"at": "@", "dot": ".", "underscore": "_", "dash": "-", "hyphen": "-", "plus": "+", "period": "."}


_CORRECTIONS: Final = {
    phrase[0]: tuple(other for other in vocabulary.CORRECTIONS if other[0] == phrase[0])
    for phrase in vocabulary.CORRECTIONS
}
"""By first word; the longer ones of a word come first in the table."""


def _one(word: str, index: int) -> Token:
    """Give a single word its meaning."""
    letter = vocabulary.LETTER_HOMOPHONES.get(word, "")
    if word in vocabulary.DIGITS:
        return Token(Sort.DIGIT, index, index, vocabulary.DIGITS[word])
    if word in vocabulary.TEENS:
        return Token(Sort.TEEN, index, index, vocabulary.TEENS[word])
    if word in vocabulary.TENS:
        return Token(Sort.TENS, index, index, vocabulary.TENS[word])
    if word in vocabulary.SCALES:
        return Token(Sort.SCALE, index, index, str(vocabulary.SCALES[word]))
    if word in vocabulary.TIMES:
        return Token(Sort.TIMES, index, index, str(vocabulary.TIMES[word]))
    if _WRITTEN.fullmatch(word):
        return Token(Sort.WRITTEN, index, index, re.sub(r"\D", "", word))
    if word in vocabulary.DIGIT_HOMOPHONES:
        return Token(Sort.HOMOPHONE, index, index, vocabulary.DIGIT_HOMOPHONES[word], letter)
    if word in vocabulary.LETTERS:
        return Token(Sort.LETTER, index, index, letter=word)
    if word in _SIGNS:
        return Token(Sort.SIGN, index, index, letter=_SIGNS[word])
    if word in vocabulary.FILLERS:
        return Token(Sort.FILLER, index, index, letter=letter)
    return Token(Sort.WORD, index, index, letter=letter or vocabulary.NATO.get(word, ""))


def lex(words: Sequence[str]) -> list[Token]:
    """Give every word its meaning; "b as in boy", "double u", "uh huh" and "i mean" become one token each."""
    texts = [plain(word) for word in words]
    tokens: list[Token] = []
    index = 0
    while index < len(texts):
        token = _several(texts, index) or _one(texts[index], index)
        tokens.append(token)
        index = token.last + 1
    return tokens


def _several(texts: Sequence[str], index: int) -> Token | None:
    word = texts[index]
    rest = texts[index + 1 : index + 4]
    if len(rest) == 3 and rest[0] == "as" and rest[1] in ("in", "and"):
        letter = word if len(word) == 1 else vocabulary.LETTER_HOMOPHONES.get(word, rest[2][:1])
        if rest[2].startswith(letter):
            return Token(Sort.LETTER, index, index + 3, letter=letter)
    if (
        len(rest) >= 2
        and rest[0] in ("for", "like")
        and len(word) == 1
        and rest[1].startswith(word)
        and word.isalpha()
    ):
        return Token(Sort.LETTER, index, index + 2, letter=word)
    if rest and word == "double" and rest[0] in ("u", "you", "yu"):
        return Token(Sort.LETTER, index, index + 1, letter="w")
    if rest and (word, rest[0]) in (("uh", "huh"), ("mm", "hmm"), ("all", "right"), ("got", "it")):
        return Token(Sort.FILLER, index, index + 1)
    for phrase in _CORRECTIONS.get(word, ()):
        if tuple(texts[index : index + len(phrase)]) == phrase:
            return Token(Sort.CORRECTION, index, index + len(phrase) - 1)
    return None


@dataclass(frozen=True, slots=True)
class Group:
    """Digits that one spoken number gives: "forty four" is "44", "double two" is "22"."""

    digits: str
    first: int
    last: int
    weak: bool = False
    """Made of a homophone alone."""


def number_groups(tokens: Sequence[Token]) -> Iterator[Group]:
    """Read tokens that all belong to one run (numbers, multipliers and accepted homophones) as spoken numbers."""
    index = 0
    while index < len(tokens):
        start = index
        token = tokens[index]
        index += 1
        if token.sort is Sort.TIMES:
            if index < len(tokens) and tokens[index].digits and tokens[index].sort is not Sort.TIMES:
                following = tokens[index]
                index += 1
                yield Group(following.digits * int(token.digits), token.first, following.last)
            continue
        digits = token.digits
        if token.sort is Sort.TENS and _units_digit(tokens, index):
            digits = digits[0] + tokens[index].digits
            index += 1
        if token.sort is Sort.SCALE:
            yield Group(digits.lstrip("1") or "00", token.first, token.last)
            continue
        if index < len(tokens) and tokens[index].sort is Sort.SCALE and len(digits) <= 2 and digits != "0":
            digits, index = _scaled(int(digits), tokens, index)
        yield Group(digits, tokens[start].first, tokens[index - 1].last, token.sort is Sort.HOMOPHONE)


def _units_digit(tokens: Sequence[Token], index: int) -> bool:
    """Is this token the "four" of "forty four"? Not when it starts a pair of its own: "forty four hundred"."""
    return index < len(tokens) and tokens[index].sort is Sort.DIGIT and tokens[index].digits != "0"


def _reads_on(tokens: Sequence[Token], index: int) -> bool:
    """Do more figures follow, as in "eight hundred five five five"? Then "five" is not part of the cardinal."""
    return index < len(tokens) and tokens[index].sort is not Sort.SCALE


def _scaled(value: int, tokens: Sequence[Token], index: int) -> tuple[str, int]:
    """Read on behind "four" of "four hundred [and] five" or "two thousand [and] twelve"."""
    scale = int(tokens[index].digits)
    total = value * scale
    index += 1
    room = scale
    while index < len(tokens) and room > 1:
        token = tokens[index]
        if token.sort is Sort.DIGIT and index + 1 < len(tokens) and tokens[index + 1].sort is Sort.SCALE:
            inner = int(tokens[index + 1].digits)
            if inner >= room:
                break
            total += int(token.digits) * inner
            room = inner
            index += 2
        elif token.sort is Sort.TENS and room > 10:
            total += int(token.digits)
            room = 10
            index += 1
        elif (token.sort is Sort.TEEN and room > 10) or (
            token.sort is Sort.DIGIT and room >= 10 and token.digits != "0" and not _reads_on(tokens, index + 1)
        ):
            total += int(token.digits)
            room = 1
            index += 1
        else:
            break
    return str(total), index


def luhn_valid(digits: str) -> bool:
    """Check the mod-10 digit of a card number (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character)
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0
