"""What the sentence model looks at: words near a place, the sentence's and the clause's first words, the pause."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.reading_token import is_placeholder

MARKS: Final = ("", ",", ".", "?")
PAUSES: Final = ("none", "short", "middle", "long", "end", "unknown")
_PAUSE_BOUNDS_MS: Final = (150, 350, 700)
_TIME: Final = re.compile(r"\d+:\d\d")
_RANK: Final = re.compile(r"\d+(st|nd|rd|th),?")
_FIRM: Final = re.compile(r"[a-z].*")


def kind_of(text: str) -> str:
    """Return the word in lower case, or the class of a figure, an address or a placeholder."""
    if text.isalpha():
        return text.lower()
    if is_placeholder(text):
        return "<hidden>"
    if "@" in text or "www." in text:
        return "<address>"
    if any(sign.isdigit() for sign in text):
        if text[0] in "$€£":
            return "<money>"
        if text.endswith("%"):
            return "<percent>"
        if _TIME.fullmatch(text):
            return "<time>"
        return "<rank>" if _RANK.fullmatch(text) else "<number>"
    return text.lower()


def pause_class(pause_ms: float | None) -> str:
    """Return the class of the silence behind a word; None where times are not known."""
    if pause_ms is None:
        return "unknown"
    return PAUSES[sum(pause_ms >= bound for bound in _PAUSE_BOUNDS_MS)]


def mark_features(kinds: Sequence[str], at: int, sentence: int, clause: int, pause: str) -> list[str]:
    """Return the names of what speaks for a mark behind token `at`.

    Parameters
    ----------
    kinds : sequence of str
        Of the segment's tokens (:func:`kind_of`).
    at : int
    sentence, clause : int
        First token of the running sentence, and behind its last comma.
    pause : str
        One of ``PAUSES``.
    """
    word = kinds[at]
    before = kinds[at - 1] if at > sentence else "<s>"
    end = at + 1 == len(kinds)
    after = "</s>" if end else kinds[at + 1]
    second = "</s>" if at + 2 >= len(kinds) else kinds[at + 2]
    first = kinds[sentence]
    opening = f"{first} {kinds[sentence + 1]}" if at > sentence else first
    start = kinds[clause]
    start_two = f"{start} {kinds[clause + 1]}" if at > clause else start
    length = min(at - sentence, 12)
    return [
        "p=" + pause,
        "w=" + word,
        "a=" + after,
        f"wa={word} {after}",
        f"bw={before} {word}",
        f"as={after} {second}",
        f"baw={before} {word} {after}",
        f"was={word} {after} {second}",
        f"pa={pause} {after}",
        f"pw={pause} {word}",
        f"l={length} {pause}",
        f"f={first} {pause}",
        f"o={opening} {end}",
        f"c={start} {pause}",
        f"d={start_two} {end}",
        f"fa={first} {after}",
        f"ca={clause == at} {word}",
    ]


def capital_features(kinds: Sequence[str], at: int, capital_before: bool) -> list[str]:
    """Return the names of what speaks for a capital at token `at`, which does not begin a sentence."""
    word = kinds[at]
    before = kinds[at - 1] if at else "<s>"
    after = kinds[at + 1] if at + 1 < len(kinds) else "</s>"
    return [
        "w=" + word,
        "b=" + before,
        "a=" + after,
        f"bw={before} {word}",
        f"wa={word} {after}",
        f"cw={capital_before} {word}",
        f"cb={capital_before} {before}",
        f"ca={capital_before} {after}",
        f"c={capital_before}",
        "e=" + word[-3:],
    ]
