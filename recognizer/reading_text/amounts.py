"""Money, percentages, decimals, ordinals and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recognizer.reading_text.number_grammar import (
    SCALES,
    UNITS,
    ZEROS,
    cardinal,
    cardinal_text,
    ordinal,
    ordinal_text,
)
from recognizer.reading_text.rule import Written, word_at, word_set

_CURRENCIES: Final = {
    "dollar": "$",
    "dollars": "$",
    "bucks": "$",
    "euro": "€",
    "euros": "€",
}
_CENTS: Final = frozenset({"cent", "cents"})
_COUNTED: Final = word_set("percent degrees miles kilometers gigabytes megabytes gigs")
_YEAR_CUES: Final = word_set("in since year until before after by during of")
LEAST_FIGURE: Final = 10
"""Smaller counts stay words, as books write them."""


@dataclass(frozen=True, slots=True)
class _Quantity:
    text: str
    end: int
    whole: bool
    """Without decimals or a scale behind: cents may follow."""
    pointed: bool
    """With decimals."""


def money(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``twenty five dollars and fifty cents`` -> ``$25.50``; ``two point five million euros`` -> ``€2.5 million``."""
    amount = _quantity(words, at)
    if amount is None or word_at(words, amount.end) not in _CURRENCIES:
        return ()
    sign = _CURRENCIES[words[amount.end]]
    end = amount.end + 1
    cents_at = end + (word_at(words, end) == "and")
    cents = cardinal(words, cents_at)
    if amount.whole and cents is not None and cents.value < 100 and word_at(words, cents.end) in _CENTS:
        return (Written(f"{sign}{amount.text}.{cents.value:02d}", at, cents.end + 1),)
    return (Written(f"{sign}{amount.text}", at, end),)


def percentage(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``six point five percent`` -> ``6.5%``."""
    amount = _quantity(words, at)
    if amount is None:
        return ()
    if word_at(words, amount.end) == "percent":
        return (Written(f"{amount.text}%", at, amount.end + 1),)
    if word_at(words, amount.end) == "per" and word_at(words, amount.end + 1) == "cent":
        return (Written(f"{amount.text}%", at, amount.end + 2),)
    return ()


def decimal(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``three point one four`` -> ``3.14``."""
    amount = _quantity(words, at)
    return (Written(amount.text, at, amount.end),) if amount is not None and amount.pointed else ()


def count(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``two thousand five hundred`` -> ``2,500``; below ten only before a unit, ``a hundred`` not at all."""
    number = cardinal(words, at)
    if number is None or words[at] in ("a", "hundred"):
        return ()
    small = number.value < LEAST_FIGURE and word_at(words, number.end) not in _COUNTED
    if small:
        return ()
    year_like = 1900 <= number.value < 2100 and (number.value != 2000 or word_at(words, at - 1) in _YEAR_CUES)
    return (Written(str(number.value) if year_like else cardinal_text(number.value), at, number.end),)


def rank(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``twenty fifth`` -> ``25th``; ``first`` to ``ninth`` stay words."""
    number = ordinal(words, at)
    if number is None or number.value < LEAST_FIGURE:
        return ()
    return (Written(ordinal_text(number.value), at, number.end),)


def _quantity(words: Sequence[str], at: int) -> _Quantity | None:
    """A cardinal, with decimals and a scale if they follow."""
    number = cardinal(words, at)
    if number is None:
        return None
    end, digits = number.end, ""
    if word_at(words, end) == "point":
        place = end + 1
        while word_at(words, place) in UNITS or word_at(words, place) in ZEROS:
            digits += str(UNITS.get(words[place], 0))
            place += 1
        if digits:
            end = place
    if not digits:
        text = cardinal_text(number.value)
        return _Quantity(text, end, "\u00a0" not in text, False)
    scale = word_at(words, end) if word_at(words, end) in SCALES else ""
    return _Quantity(
        f"{number.value:,}.{digits}" + (f"\u00a0{scale}" if scale else ""), end + bool(scale), False, True
    )
