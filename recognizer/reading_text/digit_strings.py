"""Numbers that are read digit by digit: telephone numbers, cards, codes, and a few fixed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.number_grammar import DigitRun, cardinal, digit_run
from recognizer.reading_text.rule import Written, word_at, word_set, words_at

_CUES: Final = word_set(
    "number code extension room flight zip apartment unit suite account pin ending digits order "
    "confirmation id reference invoice ticket case gate"
)
_CUE_REACH: Final = 4
_FIXED: Final = {
    ("twenty", "four", "seven"): "24/7",
    ("four", "oh", "one", "k"): "401(k)",
    ("four", "o", "one", "k"): "401(k)",
    ("w", "two"): "W-2",
    ("w", "four"): "W-4",
    ("w", "nine"): "W-9",
    ("wi", "fi"): "Wi-Fi",
    ("e", "mail"): "e-mail",
    ("e", "mails"): "e-mails",
}


def fixed(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``twenty four seven`` -> ``24/7``."""
    for said, text in _FIXED.items():
        if words_at(words, at, said):
            behind = at + len(said)
            # "twenty four seven five" is a number of another kind.
            return () if text[0].isdigit() and digit_run(words, behind) else (Written(text, at, behind),)
    return ()


def digits(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``four one five five five five oh one two three`` -> ``415-555-0123``."""
    run = digit_run(words, at)
    if run is None or len(run.digits) < 3:
        return ()
    number = cardinal(words, at)
    if number is not None and number.end >= run.end:
        return ()
    cued = any(word_at(words, at - back) in _CUES for back in range(1, _CUE_REACH + 1))
    return (Written(grouped(run.digits), at, run.end),) if _is_one_string(run, cued) else ()


def _is_one_string(run: DigitRun, cued: bool) -> bool:
    """Whether the groups belong together; "fifty sixty people" and "five ten fifteen" are several numbers."""
    groups = len(run.groups)
    if cued or run.repeated:
        return groups >= 2
    if groups == 2:
        return len(run.groups[0]) == 1 and len(run.groups[1]) == 2 and run.groups[0] != "0"
    return run.singles >= (3 if groups == 3 else 2)


def grouped(text: str) -> str:
    """Return digits in the groups people read them in."""
    if len(text) == 10 and text[0] not in "01":
        return f"{text[:3]}-{text[3:6]}-{text[6:]}"
    if len(text) == 11 and text[0] == "1":
        return f"1-{text[1:4]}-{text[4:7]}-{text[7:]}"
    if len(text) in (15, 16):
        cuts = (0, 4, 10, 15) if len(text) == 15 else (0, 4, 8, 12, 16)
        return "\u00a0".join(text[cuts[i] : cuts[i + 1]] for i in range(len(cuts) - 1))
    return text
