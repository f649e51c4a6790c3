"""Words as they are spoken -> as they are written; every piece knows its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from recognizer.reading_text.addresses import address
from recognizer.reading_text.amounts import count, decimal, money, percentage, rank
from recognizer.reading_text.dates import date, time_of_day, year
from recognizer.reading_text.digit_strings import digits, fixed
from recognizer.reading_text.letters import spelled, title
from recognizer.reading_text.open_end import NotSaidYet, OpenEnd
from recognizer.reading_text.rule import Rule, Written

_RULES: Final[tuple[Rule, ...]] = (
    fixed, money, percentage, time_of_day, date, year, digits, spelled, decimal, rank, count, title,
)  # fmt: skip
"""The first that applies wins: from the most telling to the least."""
_RULES_WITH_ADDRESS: Final[tuple[Rule, ...]] = (address, *_RULES)
_FIGURE: Final = re.compile(r"[$€£]?\d[\d.,:/-]*(%|st|nd|rd|th)?[.,?]?")


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
    # Without a "dot" there is no address, and looking for one costs more than all else.
    return list(_pieces(words, _rules(words, _RULES_WITH_ADDRESS if "dot" in words else _RULES)))


def settled_form(words: Sequence[str]) -> list[Written]:
    """Write the first words of an utterance that goes on, as far as nothing that follows can change it.

    Returns
    -------
    list of Written
        They tile the first of the `words`, and are the first pieces of :func:`written_form` of every utterance that
        begins with `words`, unless one of its later words is a figure.
    """
    settled: list[Written] = []
    with suppress(NotSaidYet):
        for piece in _pieces(OpenEnd(words), _rules(words, _RULES_WITH_ADDRESS)):
            settled.append(piece)
    return settled


def _rules(words: Sequence[str], rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    # Where figures stand already somebody has written them: what is spelled out there was meant to be.
    return () if any(_FIGURE.fullmatch(word) for word in words) else rules


def _pieces(words: Sequence[str], rules: tuple[Rule, ...]) -> Iterator[Written]:
    at = 0
    while at < len(words):
        pieces: tuple[Written, ...] = ()
        for rule in rules:
            pieces = rule(words, at)
            if pieces:
                break
        pieces = pieces or (Written(words[at], at, at + 1),)
        yield from pieces
        at = pieces[-1].last
