"""Words as they are spoken -> as they are written; every piece knows its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.addresses import address
from recognizer.reading_text.amounts import count, decimal, money, percentage, rank
from recognizer.reading_text.dates import date, time_of_day, year
from recognizer.reading_text.digit_strings import digits, fixed
from recognizer.reading_text.letters import spelled, title
from recognizer.reading_text.rule import Rule, Written

_RULES: Final[tuple[Rule, ...]] = (
    fixed, money, percentage, time_of_day, date, year, digits, spelled, decimal, rank, count, title,
)  # fmt: skip
"""The first that applies wins: from the most telling to the least."""


def written_form(words: Sequence[str]) -> list[Written]:
    """Write numbers, dates, times, money, letters and addresses; all other words stay.

    Parameters
    ----------
    words : sequence of str
        Lower case, as recognised; placeholders and words that hold a figure already are never changed.

    Returns
    -------
    list of Written
        They tile `words`.
    """
    found: list[Written] = []
    at = 0
    # Where figures stand already somebody has written them: what is spelled out there was meant to be.
    rules = () if any(sign.isdigit() for word in words for sign in word) else _RULES
    if rules and "dot" in words:
        rules = (address, *rules)
    while at < len(words):
        pieces: tuple[Written, ...] = ()
        for rule in rules:
            pieces = rule(words, at)
            if pieces:
                break
        found += pieces or (Written(words[at], at, at + 1),)
        at = found[-1].last
    return found
