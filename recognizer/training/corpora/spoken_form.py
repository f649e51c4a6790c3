"""A transcript as people write it, in the words that a lexicon has: lower case, numbers spelled out, no punctuation.

What has no single spoken form (dates with slashes, ranges, addresses of the web) is refused rather than guessed: a
wrong transcript costs a network more than a missing one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from typing import Final


class NoSpokenForm(ValueError):
    """The text cannot be turned into words without guessing. The sentence does not quote it."""


DROPPED_TAGS: Final[Mapping[str, str]] = {}
"""What to write for a tag such as ``[noise]``: nothing, unless a mapping says otherwise."""
_UNINTELLIGIBLE: Final = frozenset({"<unk>", "[unk]", "[unintelligible]", "[inaudible]", "((", "xxx"})

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TAG: Final = re.compile(r"\[[^\]\s]{1,30}\]|<[^>\s]{1,30}>")
_FOLDED: Final = str.maketrans(
    {"’": "'", "‘": "'", "`": "'", "´": "'", "“": " ", "”": " ", '"': " ", "–": "-", "—": " ", "…": " "}
)
_CURRENCIES: Final = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_IRREGULAR: Final = {"penny": "pence"}
_ABBREVIATIONS: Final = {"mr": "mister", "mrs": "missus", "dr": "doctor", "vs": "versus", "etc": "et cetera"}
_WITHOUT_DOT_TOO: Final = frozenset({"mr", "mrs"})
_APOSTROPHE_FIRST: Final = frozenset({"'em", "'til", "'cause", "'bout", "'n", "'s"})

_AMBIGUOUS: Final = re.compile(r"\d\s*[-/]\s*\d|\d[:.]\d+[:.]\d|https?:|www\.|\w@\w", re.IGNORECASE)
_TELEPHONE: Final = re.compile(r"(?<![\d-])(?:\+?1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\d-])")
_LONG_DIGITS: Final = re.compile(r"(?<![\d.,])\d{5,}(?![\d.,]*\d)")
_MONEY: Final = re.compile(
    r"(?P<sign>[$£€])\s?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<part>\d+))?(?![.,]?\d)"
    r"(?P<scale>\s(?:thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
_CLOCK: Final = re.compile(r"\b(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)\b")
_HALF_DAY: Final = re.compile(r"(?<=\d)\s*([ap])\.?\s?m\b\.?", re.IGNORECASE)
_ORDINAL: Final = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d{1,4})(?:st|nd|rd|th)\b", re.IGNORECASE)
_DECADE: Final = re.compile(r"\b((?:1[0-9]|20)\d0)'?s\b")
_DECIMAL: Final = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d+)\.(\d+)\b")
_INTEGER: Final = re.compile(r"\b\d{1,3}(?:,\d{3})+\b|\b\d+\b")
_LETTERS_WITH_DOTS: Final = re.compile(r"\(?((?:[A-Za-z]\.)+[A-Za-z])\.?('s)?[,;:!?)]*")
_WORD: Final = re.compile(r"[a-z']+(?:-[a-z']+)*\.?")


def spoken_words(
    text: str, known: Container[str] | None = None, tags: Mapping[str, str] = DROPPED_TAGS
) -> tuple[str, ...]:
    """Return the words of `text` as they are said.

    Parameters
    ----------
    text
        A transcript: cased or not, with or without punctuation.
    known
        The lexicon's words. It decides where spellings compete: a hyphenated word that it has stays whole, single
        letters are written as it writes spelled letters (``b.``), capitals that it lacks are spelled.
    tags
        What to write for tags in square or pointed brackets; those not named are dropped. Tags that stand for
        words nobody understood refuse the text.

    Raises
    ------
    NoSpokenForm
        The text holds something that can be said in several ways, or in none.
    """
    lowered = text.lower()
    if any(tag in lowered for tag in _UNINTELLIGIBLE):
        raise NoSpokenForm("The transcript marks words that nobody understood.")
    text = _TAG.sub(lambda match: f" {tags.get(match[0].lower(), '')} ", text.translate(_FOLDED))
    text = unicodedata.normalize("NFKD", text)
    text = "".join(character for character in text if not unicodedata.combining(character))
    if any(character.isdigit() for character in text):
        text = _numbers_spoken(text)
    text = text.replace("&", " and ").replace("%", " percent ").replace("+", " plus ")
    cased = not text.isupper()
    words: list[str] = []
    for token in text.split():
        if token in tags.values():
            words.append(token)
        else:
            words.extend(_words_of(token, known, cased))
    return tuple(words)


def _words_of(token: str, known: Container[str] | None, cased: bool) -> Iterator[str]:
    def has(word: str) -> bool:
        return known is not None and word in known

    if spelled := _LETTERS_WITH_DOTS.fullmatch(token):
        letters = [
            said for letter in spelled[1].lower().split(".") for said in _letter(letter, known, alone=False)
        ]
        ending = spelled[2] or ""
        yield from letters[:-1]
        yield letters[-1] + ending
        return
    for part in re.split(r"[\s,!?;:()*/~_#]+|-{2,}|\.(?=\S)(?!\w*\.)", token):
        bare = part.strip(".-")
        if not bare or not any(character.isalnum() for character in bare):
            continue
        lower = bare.lower()
        if lower not in _APOSTROPHE_FIRST:
            lower = lower.strip("'")
        if not lower:
            continue
        if not _WORD.fullmatch(lower):
            raise NoSpokenForm("The transcript holds a character or a mixture of characters that is not said.")
        if has(f"{lower}.") and part.endswith(".") and not has(lower):
            yield f"{lower}."
        elif lower in _ABBREVIATIONS and (part.endswith(".") or lower in _WITHOUT_DOT_TOO):
            full = _ABBREVIATIONS[lower].split()
            yield from [lower] if has(lower) and not has(full[0]) else full
        elif "-" in lower:
            yield from (
                [lower] if has(lower) else [piece for each in lower.split("-") for piece in _letter(each, known)]
            )
        elif cased and (initials := _initials(bare)) and known is not None and not has(lower):
            said = [each for letter in initials.lower() for each in _letter(letter, known, alone=False)]
            yield from said[:-1]
            yield said[-1] + lower[len(initials) :]
        else:
            yield from _letter(lower, known)


def _initials(word: str) -> str:
    """Return the capitals of ``IBM`` and of ``IBM's``; nothing for other words."""
    capitals = word[:-2] if word.endswith("'s") else word
    return capitals if len(capitals) > 1 and capitals.isalpha() and capitals.isupper() else ""


def _letter(word: str, known: Container[str] | None, alone: bool = True) -> Iterator[str]:
    """Yield `word`; a single letter that is no word as the lexicon writes letters."""
    if not word:
        return
    if len(word) == 1 and known is not None and (word not in "ai" or not alone) and f"{word}." in known:
        yield f"{word}."
    else:
        yield word


@lru_cache(maxsize=20_000)
def _number(number: int, form: str = "cardinal") -> str:
    try:
        from num2words import num2words
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise NoSpokenForm(
            "Numbers in transcripts need the Python package num2words: pip install 'callwarden[train]'."
        ) from error
    try:
        said = num2words(number, to=form)
    except (OverflowError, ValueError) as error:
        raise NoSpokenForm("The transcript holds a number that is too large to be said.") from error
    return re.sub(r"\band\b|[-,]", " ", said)


def _digit_by_digit(digits: str) -> str:
    return " ".join(_DIGITS[int(digit)] for digit in digits if digit.isascii() and digit.isdigit())


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else _IRREGULAR.get(noun, f"{noun}s")


def _say_money(match: re.Match[str]) -> str:
    unit, part_unit = _CURRENCIES[match["sign"]]
    whole, part = int(match["whole"].replace(",", "")), int(match["part"] or 0)
    if match["scale"] or len(match["part"] or "00") != 2:
        if match["part"]:
            return f" {_number(whole)} point {_digit_by_digit(match['part'])} {match['scale'] or ''} {unit}s "
        return f" {_number(whole)} {match['scale']} {unit}s "
    said = [f"{_number(whole)} {_plural(unit, whole)}"] if whole or not part else []
    if part:
        said.append(f"{_number(part)} {_plural(part_unit, part)}")
    return f" {' and '.join(said)} "


def _say_clock(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"])
    if minute == 0:
        # "three p m" rather than "three o'clock p m".
        half = re.match(r"\s*[AP]\.M", match.string[match.end() :])
        return f" {_number(hour)} " if half else f" {_number(hour)} o'clock "
    return f" {_number(hour)} {'oh ' if minute < 10 else ''}{_number(minute)} "


def _say_integer(match: re.Match[str]) -> str:
    digits = match[0]
    if digits.startswith("0") and len(digits) > 1:
        return f" {_digit_by_digit(digits)} "
    number = int(digits.replace(",", ""))
    in_pairs = len(digits) == 4 and "," not in digits and number % 1000
    return f" {_number(number, 'year' if in_pairs else 'cardinal')} "


def _numbers_spoken(text: str) -> str:
    text = _TELEPHONE.sub(lambda match: f" {_digit_by_digit(match[0])} ", text)
    text = _LONG_DIGITS.sub(lambda match: f" {_digit_by_digit(match[0])} ", text)
    if _AMBIGUOUS.search(text):
        raise NoSpokenForm(
            "The transcript holds a date, range, fraction or address that can be said in several ways."
        )
    text = _HALF_DAY.sub(lambda match: f" {match[1].upper()}.M. ", text)
    text = _MONEY.sub(_say_money, text)
    text = _CLOCK.sub(_say_clock, text)
    text = _ORDINAL.sub(lambda match: f" {_number(int(match[1].replace(',', '')), 'ordinal')} ", text)
    text = _DECADE.sub(lambda match: f" {re.sub('y$', 'ies', _number(int(match[1]), 'year').strip())} ", text)
    text = _DECIMAL.sub(lambda m: f" {_number(int(m[1].replace(',', '')))} point {_digit_by_digit(m[2])} ", text)
    text = _INTEGER.sub(_say_integer, text)
    if any(character.isdigit() for character in text):
        raise NoSpokenForm("The transcript holds digits mixed with letters, which can be said in several ways.")
    return text
