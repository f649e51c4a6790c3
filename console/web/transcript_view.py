"""The transcript as it is shown: turns of words, each with its time, what was hidden and what was found in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from console.web.render import words as as_words
from console.web.waveform import anchor_of
from events.call_document import CallDocument
from events.finding import Finding
from events.identity import Role
from events.transcript import RedactedSegment, Word
from indexer.summary import WORST_FIRST

_PLACEHOLDER: Final = re.compile(r"\[([A-Z_]+)\]")
_DOUBTFUL: Final = 0.5


@dataclass(frozen=True, slots=True)
class ShownWord:
    text: str
    start_ms: int
    end_ms: int
    hidden: bool
    severity: str
    """Of the worst finding on this word, empty when there is none."""
    finding: str
    """Anchor of that finding."""
    doubtful: bool


@dataclass(frozen=True, slots=True)
class Turn:
    leg: int
    role: Role
    name: str
    start_ms: int
    words: tuple[ShownWord, ...]
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


def turns_of(document: CallDocument, names: dict[int, str]) -> list[Turn]:
    found: dict[str, list[tuple[int, int, Finding]]] = {}
    for finding in document.findings:
        for span in finding.spans:
            found.setdefault(span.segment, []).append((span.start_ms, span.end_ms, finding))
    return list(_turns(document.segments, names, found))


def _turns(
    segments: Iterable[RedactedSegment],
    names: dict[int, str],
    found: dict[str, list[tuple[int, int, Finding]]],
) -> Iterable[Turn]:
    last_leg = None
    for segment in segments:
        if not segment.words:
            continue
        marks = found.get(segment.id, [])
        yield Turn(
            segment.leg,
            segment.role,
            names.get(segment.leg, as_words(segment.role)),
            segment.start_ms,
            tuple(_shown(word, marks) for word in segment.words),
            segment.leg == last_leg,
        )
        last_leg = segment.leg


def _shown(word: Word, marks: list[tuple[int, int, Finding]]) -> ShownWord:
    on_it = [finding for start, end, finding in marks if word.start_ms < end and word.end_ms > start]
    worst = min(on_it, key=lambda finding: WORST_FIRST.index(finding.severity), default=None)
    text, hidden = shown_text(word.text)
    return ShownWord(
        text,
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
