"""Times of day, dates and years."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.number_grammar import TENS, ZEROS, below_hundred, cardinal, ordinal, ordinal_text
from recognizer.reading_text.rule import Written, word_at, word_set, words_at

MONTHS: Final = word_set("january february march april may june july august september october november december")
_HALVES: Final = {"am": "a.m.", "a.m": "a.m.", "a.m.": "a.m.", "pm": "p.m.", "p.m": "p.m.", "p.m.": "p.m."}
_TIME_CUES: Final = word_set("at around by until till before after from to about for between")
_NUMBER_CUES: Final = word_set("number code extension room flight zip apartment unit suite channel gate ending")
_DAY_PARTS: Final = word_set("morning afternoon evening")
_CENTURIES: Final = {"seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20"}


def time_of_day(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``eight thirty p m`` -> ``8:30`` ``p.m.``; ``at eight thirty`` -> ``8:30``; ``nine o'clock``."""
    hour = below_hundred(words, at)
    if hour is None or hour.value > 12:
        return ()
    minute_text, end = _minutes(words, hour.end)
    text = f"{hour.value}{minute_text}"
    half, half_end = _half_of_day(words, end)
    if half:
        return Written(text, at, end), Written(half, end, half_end)
    if not minute_text:
        oclock = word_at(words, end) in ("o'clock", "oclock")
        cued = word_at(words, at - 1) in _TIME_CUES
        day_part = cued and words_at(words, end, ("in", "the")) and word_at(words, end + 2) in _DAY_PARTS
        return (Written(text, at, end),) if oclock or day_part else ()
    if word_at(words, at - 1) in _NUMBER_CUES or _number_goes_on(words, end):
        return ()
    return (
        (Written(text, at, end),) if minute_text[-1] in "05" or word_at(words, at - 1) in ("at", "until") else ()
    )


def _minutes(words: Sequence[str], at: int) -> tuple[str, int]:
    """``thirty five``, ``fifteen``, ``oh five``."""
    if word_at(words, at) in ZEROS:
        unit = below_hundred(words, at + 1)
        if unit is not None and unit.value < 10:
            return f":0{unit.value}", unit.end
        return "", at
    minutes = below_hundred(words, at)
    return (f":{minutes.value}", minutes.end) if minutes is not None and 10 <= minutes.value < 60 else ("", at)


def _half_of_day(words: Sequence[str], at: int) -> tuple[str, int]:
    if word_at(words, at) in ("a", "p") and word_at(words, at + 1) == "m":
        return f"{words[at]}.m.", at + 2
    if word_at(words, at) in ("a.", "p.") and word_at(words, at + 1) in ("m.", "m"):
        return f"{words[at]}m.", at + 2
    half = _HALVES.get(word_at(words, at), "")
    return half, at + bool(half)


def _number_goes_on(words: Sequence[str], at: int) -> bool:
    return (
        cardinal(words, at) is not None
        or word_at(words, at) in ZEROS
        or word_at(words, at) in ("hundred", "point")
    )


def date(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``march third twenty twenty four`` -> ``March`` ``3rd,`` ``2024``; ``the third of march``."""
    if word_at(words, at) in MONTHS:
        day = ordinal(words, at + 1)
        text = ordinal_text(day.value) if day is not None else ""
        if day is None:
            day = below_hundred(words, at + 1)
            text = str(day.value) if day is not None else ""
            if day is not None and _number_goes_on(words, day.end) and not _year(words, day.end):
                return ()
        if day is None or not 1 <= day.value <= 31:
            year = _year(words, at + 1)
            return (Written(words[at].capitalize(), at, at + 1), *year) if year else ()
        year = _year(words, day.end)
        pieces = Written(words[at].capitalize(), at, at + 1), Written(text + "," * bool(year), at + 1, day.end)
        return *pieces, *year
    day = ordinal(words, at)
    if (
        day is None
        or day.value > 31
        or word_at(words, day.end) != "of"
        or word_at(words, day.end + 1) not in MONTHS
    ):
        return ()
    month = day.end + 1
    return (
        Written(ordinal_text(day.value), at, day.end),
        Written("of", day.end, month),
        Written(words[month].capitalize(), month, month + 1),
        *_year(words, month + 1),
    )


def year(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``nineteen eighty two`` -> ``1982``, ``twenty oh five`` -> ``2005``."""
    found = _year(words, at)
    if not found or word_at(words, at - 1) in _NUMBER_CUES or _number_goes_on(words, found[0].last):
        return ()
    return found


def _year(words: Sequence[str], at: int) -> tuple[Written, ...]:
    century = _CENTURIES.get(word_at(words, at), "")
    if century:
        if word_at(words, at + 1) in ("oh", "o"):
            unit = below_hundred(words, at + 2)
            if unit is not None and unit.value < 10:
                return (Written(f"{century}0{unit.value}", at, unit.end),)
        rest = below_hundred(words, at + 1)
        if rest is not None and rest.value >= 10 and not (words[at] in TENS and rest.value < 10):
            return (Written(f"{century}{rest.value}", at, rest.end),)
        return ()
    whole = cardinal(words, at) if word_at(words, at) == "two" and word_at(words, at + 1) == "thousand" else None
    if whole is None or not 2000 < whole.value < 2100:
        return ()
    return (Written(str(whole.value), at, whole.end),)
