"""The transcript as it is shown: turns of words, each with its time, what was hidden and what was found in it.

Every turn has two forms: as it was spoken, word by word, and for reading, with figures, sentences and capitals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from console.web.render import words as as_words
from console.web.waveform import anchor_of, voice_class
from events.call_document import CallDocument
from events.finding import Finding
from events.identity import Role
from events.transcript import Word
from indexer.speaker_parts import SpeakerPart, name_of, parts_of
from indexer.summary import WORST_FIRST
from recognizer.reading_text.profanity import masked
from recognizer.reading_text.reading import reading_tokens
from recognizer.reading_text.reading_token import ReadingToken

_PLACEHOLDER: Final = re.compile(r"\[([A-Z_]+)\]")
_DOUBTFUL: Final = 0.5


@dataclass(frozen=True, slots=True)
class ShownWord:
    """One word as it was spoken, or one token for reading, which may stand for several words."""

    text: str
    start_ms: int
    end_ms: int
    hidden: bool
    severity: str
    """Of the worst finding on this word, empty when there is none."""
    finding: str
    """Anchor of that finding."""
    doubtful: bool
    mark: str = ""
    """Comma, full stop or question mark behind it."""
    spoken: str = ""
    """The words it stands for, where they are more than its letters in lower case."""


@dataclass(frozen=True, slots=True)
class Turn:
    leg: int
    role: Role
    voice: str
    """CSS class of the speaker who was told apart by voice, empty where the role says it."""
    name: str
    start_ms: int
    words: tuple[ShownWord, ...]
    """As spoken."""
    reading: tuple[ShownWord, ...]
    """For reading."""
    again: bool
    """The same speaker as in the turn before."""


def speaker_names(legs: Iterable[tuple[int, Role, str]]) -> dict[int, str]:
    """Leg to what its speaker is called: the name where one is known, else the role, numbered where doubled.

    Parameters
    ----------
    legs
        Leg, role, and name (empty where there is none).
    """
    names: dict[int, str] = {}
    for leg, role, known in sorted(legs):
        name = known or {Role.MIXED: "Both parties", Role.UNKNOWN: "Speaker"}.get(role, role.value.capitalize())
        names[leg] = f"{name} {leg + 1}" if name in names.values() else name
    return names


def names_in(document: CallDocument) -> dict[int, str]:
    return speaker_names((leg.leg, leg.role, leg.speaker_name) for leg in document.legs)


def turns_of(document: CallDocument, names: dict[int, str], mask_profanity: bool = False) -> list[Turn]:
    """Return the call's turns in time order, coarse words masked if that is asked for."""
    found: dict[str, list[tuple[int, int, Finding]]] = {}
    for finding in document.findings:
        for span in finding.spans:
            found.setdefault(span.segment, []).append((span.start_ms, span.end_ms, finding))
    return list(_turns(parts_of(document), names, found, masked if mask_profanity else str))


def _turns(
    parts: Iterable[SpeakerPart],
    names: dict[int, str],
    found: dict[str, list[tuple[int, int, Finding]]],
    display: Callable[[str], str],
) -> Iterable[Turn]:
    last = None
    for part in parts:
        segment = part.segment
        marks = found.get(segment.id, [])
        yield Turn(
            segment.leg,
            segment.role,
            "" if part.speaker is None else voice_class(part.speaker),
            part.name or names.get(segment.leg, as_words(segment.role)),
            part.start_ms,
            tuple(_shown(word, marks, display) for word in part.words),
            tuple(_read(token, part.words, marks, display) for token in reading_tokens(part.words)),
            (segment.leg, part.speaker) == last,
        )
        last = (segment.leg, part.speaker)


@dataclass(frozen=True, slots=True)
class Voice:
    """A speaker who was told apart by voice on a leg that carries two."""

    leg: int
    name: str
    css: str
    spoken_ms: int


def voices_of(document: CallDocument) -> list[Voice]:
    """Return the speakers of mixed legs, leg by leg, who speaks first before the other."""
    spoken: dict[tuple[int, int], int] = {}
    for said in document.speaker_turns:
        for turn in said.turns:
            key = said.leg, turn.speaker
            spoken[key] = spoken.get(key, 0) + max(0, turn.end_ms - turn.start_ms)
    return [
        Voice(leg, name_of(speaker), voice_class(speaker), ms) for (leg, speaker), ms in sorted(spoken.items())
    ]


def _read(
    token: ReadingToken,
    words: tuple[Word, ...],
    marks: list[tuple[int, int, Finding]],
    display: Callable[[str], str],
) -> ShownWord:
    said = words[token.first : token.last]
    whole = Word(token.text, said[0].start_ms, said[-1].end_ms, min(word.confidence for word in said))
    shown = _shown(whole, marks, display)
    spoken = " ".join(display(word.text) for word in said)
    rewritten = not shown.hidden and spoken != token.text.lower()
    mark = token.shown[len(token.text) :]
    return replace(shown, mark=mark, spoken=spoken if rewritten else "")


def _shown(word: Word, marks: list[tuple[int, int, Finding]], display: Callable[[str], str]) -> ShownWord:
    on_it = [finding for start, end, finding in marks if word.start_ms < end and word.end_ms > start]
    worst = min(on_it, key=lambda finding: WORST_FIRST.index(finding.severity), default=None)
    text, hidden = shown_text(word.text)
    return ShownWord(
        text if hidden else display(text),
        word.start_ms,
        word.end_ms,
        hidden,
        worst.severity.value if worst else "",
        anchor_of(worst) if worst else "",
        not hidden and word.confidence < _DOUBTFUL,
    )


def shown_text(text: str) -> tuple[str, bool]:
    """Return what to show of a word, and whether it is a placeholder."""
    placeholder = _PLACEHOLDER.fullmatch(text)
    return (as_words(placeholder[1].lower()), True) if placeholder else (text, False)
