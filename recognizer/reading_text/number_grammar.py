"""Spoken English numbers, as a grammar over lower-case words: cardinals, ordinals, runs of digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recognizer.reading_text.rule import word_at


def _numbered(text: str, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + n * step for n, word in enumerate(text.split())}


UNITS: Final = _numbered("one two three four five six seven eight nine", 1)
TEENS: Final = _numbered("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10)
TENS: Final = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
SCALES: Final = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
ORDINAL_UNITS: Final = _numbered("first second third fourth fifth sixth seventh eighth ninth", 1)
ORDINAL_TEENS: Final = _numbered(
    "tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth", 10
)
ORDINAL_TENS: Final = _numbered(
    "twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth", 20, 10
)
ZEROS: Final = frozenset({"zero", "oh", "o", "nought"})
REPEATS: Final = {"double": 2, "triple": 3}
_HUNDRED: Final = "hundred"


@dataclass(frozen=True, slots=True)
class Number:
    """A value and the place behind its last word."""

    value: int
    end: int


@dataclass(frozen=True, slots=True)
class DigitRun:
    """Words read one after another as digits.

    Attributes
    ----------
    groups : tuple of str
        Digits of each group: ``("4", "15", "00")``.
    end : int
        The place behind the last word.
    repeated : bool
        ``double`` or ``triple`` was said, which only digits are.
    """

    groups: tuple[str, ...]
    end: int
    repeated: bool = False

    @property
    def digits(self) -> str:
        return "".join(self.groups)

    @property
    def singles(self) -> int:
        """How many groups are one digit."""
        return sum(len(group) == 1 for group in self.groups)


def below_hundred(words: Sequence[str], at: int) -> Number | None:
    """``seven``, ``seventeen``, ``seventy``, ``seventy seven``."""
    word = word_at(words, at)
    if word in TENS:
        unit = UNITS.get(word_at(words, at + 1), 0)
        return Number(TENS[word] + unit, at + 1 + (unit > 0))
    value = UNITS.get(word) or TEENS.get(word)
    return Number(value, at + 1) if value else None


def _below_thousand(words: Sequence[str], at: int) -> Number | None:
    """``five hundred and two``, ``fifteen hundred``, ``a hundred``, or below a hundred."""
    head = below_hundred(words, at)
    if (
        head is None
        and word_at(words, at) in ("a", _HUNDRED)
        and _HUNDRED in (word_at(words, at), word_at(words, at + 1))
    ):
        head = Number(1, at + (word_at(words, at) == "a"))
    if head is None or word_at(words, head.end) != _HUNDRED or (head.value > 9 and head.value % 10 == 0):
        return head
    whole = Number(100 * head.value, head.end + 1)
    behind = whole.end + (word_at(words, whole.end) == "and")
    rest = below_hundred(words, behind)
    # "one hundred and two hundred" are two numbers.
    if rest is None or word_at(words, rest.end) == _HUNDRED:
        return whole
    return Number(whole.value + rest.value, rest.end)


def cardinal(words: Sequence[str], at: int) -> Number | None:
    """Return the longest well-formed cardinal that begins at `at`: ``two thousand five hundred and one``."""
    if word_at(words, at) == "zero":
        return Number(0, at + 1)
    total, place, limit, found = 0, at, 10**12, False
    while True:
        behind = place + (found and word_at(words, place) == "and")
        part = _below_thousand(words, behind)
        if part is None and not found and word_at(words, at) == "a" and word_at(words, at + 1) in SCALES:
            part = Number(1, at + 1)
        if part is None:
            break
        scale = SCALES.get(word_at(words, part.end), 1)
        if scale >= limit or (behind > place and scale > 1):
            break
        total, place, limit, found = total + part.value * scale, part.end + (scale > 1), scale, True
        if scale == 1:
            break
    return Number(total, place) if found else None


def ordinal(words: Sequence[str], at: int) -> Number | None:
    """Return the ordinal below a hundred at `at`: ``third``, ``twelfth``, ``twentieth``, ``twenty fifth``."""
    word = word_at(words, at)
    if word in TENS and word_at(words, at + 1) in ORDINAL_UNITS:
        return Number(TENS[word] + ORDINAL_UNITS[words[at + 1]], at + 2)
    value = ORDINAL_UNITS.get(word) or ORDINAL_TEENS.get(word) or ORDINAL_TENS.get(word)
    return Number(value, at + 1) if value else None


def digit_run(words: Sequence[str], at: int) -> DigitRun | None:
    """Return the longest run of digits and two-digit numbers at `at`; ``oh`` is a digit only behind another one."""
    groups: list[str] = []
    place, repeated = at, False
    while True:
        word = word_at(words, place)
        number = below_hundred(words, place)
        repeated_digit = word_at(words, place + 1) if word in REPEATS else ""
        if repeated_digit in UNITS or repeated_digit in ZEROS:
            groups.append(str(UNITS.get(repeated_digit, 0)) * REPEATS[word])
            place, repeated = place + 2, True
        elif word in ZEROS and (groups or word == "zero"):
            groups.append("0")
            place += 1
        elif number is not None:
            hundred = word_at(words, number.end) == _HUNDRED and number.value < 10
            groups.append(f"{number.value}00" if hundred else str(number.value))
            place = number.end + hundred
        else:
            break
    return DigitRun(tuple(groups), place, repeated) if groups else None


def ordinal_text(value: int) -> str:
    """``3rd``."""
    ending = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def cardinal_text(value: int) -> str:
    """``1,250``, ``3 million``, ``2.5 million``."""
    for name, scale in (("billion", 10**9), ("million", 10**6)):
        if value >= scale and value % (scale // 10) == 0:
            return f"{value / scale:g}\u00a0{name}"
    return f"{value:,}"
