"""E-mail and web addresses as they are read aloud: ``jane dot miller at gmail dot com``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.number_grammar import digit_run
from recognizer.reading_text.rule import Written, word_at, word_set, words_at

_TOP_LEVEL: Final = word_set("com org net edu gov info io biz uk us ca")
_MAIL_DOMAINS: Final = word_set("gmail yahoo hotmail outlook icloud aol msn live comcast verizon protonmail")
_JOINTS: Final = {"dot": ".", "underscore": "_", "dash": "-", "hyphen": "-"}
_PLAIN: Final = re.compile(r"[a-z][a-z']*")
_NOT_IN_NAMES: Final = word_set(
    "is it's its the my email address mail at and or to on a for of was that this be so um uh yes no"
)
_LONGEST: Final = 24


def address(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """An e-mail address whose name begins at `at`, or a web address."""
    name, place, joined = _name(words, at)
    if not name:
        return ()
    if word_at(words, place) == "at":
        domain, end = _domain(words, place + 1)
        # "look at amazon dot com" names no mailbox: something must tell that this does.
        if domain and (joined or domain.partition(".")[0] in _MAIL_DOMAINS or _asked_for(words, at)):
            return (Written(f"{name}@{domain}", at, end),)
    domain, end = _domain(words, at)
    return (Written(domain, at, end),) if domain else ()


def _asked_for(words: Sequence[str], at: int) -> bool:
    return any(word_at(words, at - back) in ("email", "mail", "e-mail") for back in range(1, 6))


def _name(words: Sequence[str], at: int) -> tuple[str, int, bool]:
    """Return the mailbox's name, the place behind it, and whether it is more than one plain word."""
    text, place, parts = "", at, 0
    joint_last = True
    while place < min(len(words), at + _LONGEST):
        word = words[place]
        if word in _JOINTS and not joint_last:
            text += _JOINTS[word]
            place += 1
            joint_last, parts = True, parts + 1
            continue
        spelled = len(word) == 1 and word.isalpha()
        run = digit_run(words, place) if text else None
        if run is not None:
            text += run.digits
            place = run.end
        elif _PLAIN.fullmatch(word) and (joint_last or spelled) and (word not in _NOT_IN_NAMES or spelled):
            text += word
            place += 1
        else:
            break
        joint_last, parts = spelled and word_at(words, place) not in _JOINTS, parts + 1
        if word_at(words, place) == "at":
            break
    if not text or text[-1] in "._-":
        return "", at, False
    return text, place, parts > 1


def _domain(words: Sequence[str], at: int) -> tuple[str, int]:
    """``gmail dot com``, ``w w w dot example dot co dot uk``."""
    parts: list[str] = []
    place = at
    if words_at(words, at, ("w", "w", "w", "dot")):
        parts, place = ["www"], at + 4
    while _PLAIN.fullmatch(word_at(words, place)):
        label = words[place]
        place += 1
        # Behind "www" a label may be several words: "harbor mutual dot com".
        while parts == ["www"] and "dot" in words[place : place + 3] and _PLAIN.fullmatch(words[place]):
            if words[place] == "dot":
                break
            label += words[place]
            place += 1
        parts.append(label.replace("'", ""))
        if word_at(words, place) != "dot":
            break
        if parts[-1] in _TOP_LEVEL and word_at(words, place + 1) not in _TOP_LEVEL:
            break
        place += 1
    return (".".join(parts), place) if len(parts) >= 2 and parts[-1] in _TOP_LEVEL else ("", at)
