"""Printed text as the words that a reader says: lower case, no punctuation, numbers and abbreviations spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_LARGEST = 999_999
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_TRANSLATION = str.maketrans(
    {
        "’": "'", "‘": "'", "`": "'", "´": "'", "ʼ": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "\u00a0": " ",
        "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "…": ". ", "\ufeff": "", "_": "", "*": " ",
    }
)  # fmt: skip
_ABBREVIATIONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\b[Mm]rs\.?(?=[\s,])", "missus"),
        (r"\b[Mm]r\.?(?=[\s,])", "mister"),
        (r"\bMessrs\.?(?=\s)", "messieurs"),
        (r"\bDr\.?(?=\s)", "doctor"),
        (r"\bSt\.(?= ?[A-Z])", "saint"),
        (r"\bCapt\.(?=\s)", "captain"),
        (r"\bCol\.(?=\s)", "colonel"),
        (r"\bGen\.(?=\s)", "general"),
        (r"\bLieut\.(?=\s)", "lieutenant"),
        (r"\bProf\.(?=\s)", "professor"),
        (r"\bRev\.(?=\s)", "reverend"),
        (r"\bHon\.(?=\s)", "honorable"),
        (r"\bEsq\.?", "esquire"),
        (r"\bJr\.", "junior"),
        (r"\bNo\.(?= ?\d)", "number"),
        (r"\b&c\.?|\betc\b\.?", "et cetera"),
        (r"\bi\. ?e\.", "that is"),
        (r"\be\. ?g\.", "for example"),
        (r"(?i)(?:(?<=\d)|\b)([ap])\.? ?m\.(?=\W|$)|(?i:(?<=\d) ?([ap])m\b)", r" \1\2 m"),
        (r"&", " and "),
        (r"%", " percent"),
    )
)
_CHAPTER = re.compile(
    r"\b((?i:chapter|book|part|volume|canto|act|scene)) ([IVXLC]{2,8}|[VXLC]|I(?=[.:\n]|\s*$))\b\.?"
)
_MONEY = re.compile(r"([$£])(\d{1,3},\d{3}|\d{1,6})(?:\.(\d\d))?(?![\d.,]*\d)")
_CLOCK = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b")
_ORDINAL = re.compile(r"\b(\d{1,4})(?:st|nd|rd|th)\b")
_DECIMAL = re.compile(r"\b(\d{1,6})\.(\d{1,3})\b(?!\.?\d)")
_NUMBER = re.compile(r"\b(?<![,.]\d\d\d)(\d{1,3},\d{3}|\d{1,6})\b(?!,\d\d\d)")
_DIGIT_RUN = re.compile(r"(?<![\d.,])\b\d{5,}\b(?![.,]\d)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n\s*\n|[;:]\s+(?=[\"'(\[]*[A-Z])")
_NOISE = re.compile(r"\[[^\]]{0,80}\]|\{[^}]{0,40}\}|<[^>]{0,80}>")
_SEPARATORS = re.compile(r"[^a-z']+")
_PLAIN = re.compile(r"[a-z '\-.,!?;:\"()\[\]/~]*")
_LEADING = frozenset({"'em", "'til", "'cause", "'tis", "'twas", "'bout", "'twere", "'twill"})


@lru_cache(maxsize=50_000)
def number_words(number: int) -> str:
    """Spell a whole number from 0 to 999,999 as US English says it: without "and".

    Raises
    ------
    ValueError
        If the number is outside that range.
    """
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"The number {number} is not spelled out; only 0 to {_LARGEST} are.")
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (" " + _ONES[number % 10] if number % 10 else "")
    if number < 1000:
        rest = " " + number_words(number % 100) if number % 100 else ""
        return f"{_ONES[number // 100]} hundred{rest}"
    rest = " " + number_words(number % 1000) if number % 1000 else ""
    return f"{number_words(number // 1000)} thousand{rest}"


def year_words(number: int) -> str:
    """Spell a number of four digits as a year: 1850 eighteen fifty, 1905 nineteen oh five, 2003 two thousand three."""
    century, rest = divmod(number, 100)
    if number % 1000 < 10 or not 1000 <= number <= 9999:
        return number_words(number)
    if rest == 0:
        return number_words(century) + " hundred"
    return number_words(century) + (" oh " if rest < 10 else " ") + number_words(rest)


def ordinal_words(number: int) -> str:
    """Spell 1 first, 22 twenty second, 30 thirtieth."""
    head, _, last = number_words(number).rpartition(" ")
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = (last[:-1] + "ie" if last.endswith("y") else last) + "th"
    return f"{head} {last}".strip()


def roman_number(letters: str) -> int:
    """Value of a Roman numeral of the letters i, v, x, l, c; no check of its form."""
    values = [_ROMAN[letter] for letter in letters.lower()]
    return sum(-v if v < w else v for v, w in zip(values, [*values[1:], 0], strict=True))


def _chapter(match: re.Match[str]) -> str:
    return f"{match[1]} {number_words(roman_number(match[2]))}. "


def _money(match: re.Match[str]) -> str:
    unit, part = ("dollar", "cent") if match[1] == "$" else ("pound", "penny")
    whole, cents = int(match[2].replace(",", "")), int(match[3] or 0)
    said = f"{number_words(whole)} {unit}{'' if whole == 1 else 's'}"
    if cents:
        plural = part if cents == 1 else "pence" if part == "penny" else "cents"
        said += f" and {number_words(cents)} {plural}"
    return said


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if minute == 0:
        return number_words(hour) + " o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


def _whole(match: re.Match[str]) -> str:
    number = int(match[1].replace(",", ""))
    return year_words(number) if len(match[1]) == 4 and number > 1000 else number_words(number)


def _decimal(match: re.Match[str]) -> str:
    return f"{number_words(int(match[1]))} point {' '.join(_ONES[int(digit)] for digit in match[2])}"


def _digits(match: re.Match[str]) -> str:
    return " ".join(_ONES[int(digit)] for digit in match[0])


def spoken_words(sentence: str) -> str | None:
    """Return the words of one sentence, or None if it holds something that has no simple spoken form."""
    text = sentence
    if any(character.isdigit() for character in text):
        text = _MONEY.sub(_money, text)
        text = _CLOCK.sub(_clock, text)
        text = _ORDINAL.sub(lambda match: ordinal_words(int(match[1])), text)
        text = _DIGIT_RUN.sub(_digits, text)
        text = _DECIMAL.sub(_decimal, text)
        text = _NUMBER.sub(_whole, text)
    text = text.lower()
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if not _PLAIN.fullmatch(text):
        return None
    words = []
    for word in _SEPARATORS.sub(" ", text).split():
        if word not in _LEADING:
            word = word.strip("'")
        if word:
            words.append(word)
    return " ".join(words)


def sentences(text: str) -> Iterator[str | None]:
    """Split printed text into sentences and yield the words of each, None for one that has no spoken form."""
    text = _NOISE.sub(" ", text.translate(_TRANSLATION))
    for pattern, words in _ABBREVIATIONS:
        text = pattern.sub(words, text)
    text = _CHAPTER.sub(_chapter, text)
    for sentence in _SENTENCE_END.split(text):
        if sentence and not sentence.isspace():
            spoken = spoken_words(" ".join(sentence.split()))
            if spoken is None or spoken:
                yield spoken
