"""A call's recent words as finders see them, and what finders give back.

Finders speak of words (leg, index), because words carry the times; only the redactor turns hits into
`PiiSpan`s and placeholders.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from compliance.redaction.number_words import BACKCHANNEL, plain
from compliance.redaction.spoken_numbers import Sort, Token, lex
from events.identity import Role
from events.transcript import PiiKind, TranscriptSegment, Word

if TYPE_CHECKING:
    from compliance.redaction.digit_runs import Run


@dataclass(frozen=True, slots=True)
class Heard:
    """One word of a leg. `segment` counts within the conversation, `index` within the segment."""

    word: Word
    text: str
    segment: int
    index: int
    turn: bool = False
    """Another party said more than "uh huh" since the leg's word before."""


class LegWords:
    """The words of one leg in order, whatever segments they came in."""

    def __init__(self, leg: int, role: Role, heard: Sequence[Heard]) -> None:
        self.leg = leg
        self.role = role
        self.heard = heard
        self.runs: list[Run] | None = None
        """What `digit_runs.find_runs` found."""

    @cached_property
    def tokens(self) -> list[Token]:
        return lex([heard.text for heard in self.heard])

    @cached_property
    def digit_like(self) -> frozenset[int]:
        """Words that a segment may consist of which holds nothing but a piece of a number."""
        return frozenset(
            index
            for token in self.tokens
            if token.digits or token.sort in (Sort.FILLER, Sort.CORRECTION)
            for index in range(token.first, token.last + 1)
        )

    @cached_property
    def number_words(self) -> frozenset[int]:
        """Words that say a digit, or may do so."""
        return frozenset(index for token in self._digit_tokens for index in range(token.first, token.last + 1))

    @cached_property
    def texts(self) -> list[str]:
        return [heard.text for heard in self.heard]

    def number_pieces(self, first: int, last: int) -> list[tuple[int, int]]:
        """Cut words that hold a number into one piece a segment, without words at its ends that say no digit."""
        pieces: dict[int, tuple[int, int]] = {}
        for token in self._digit_tokens:
            if first <= token.first and token.last <= last:
                segment = self.heard[token.first].segment
                pieces[segment] = (pieces.get(segment, (token.first, 0))[0], token.last)
        return sorted(pieces.values())

    @cached_property
    def _digit_tokens(self) -> list[Token]:
        return [token for token in self.tokens if token.digits]

    def start_ms(self, index: int) -> int:
        return self.heard[index].word.start_ms

    def end_ms(self, index: int) -> int:
        return self.heard[index].word.end_ms


class Conversation:
    """Final segments of all legs of a call, oldest first, up to now."""

    def __init__(self, segments: Sequence[TranscriptSegment]) -> None:
        self.segments = segments
        heard: dict[int, list[Heard]] = {}
        roles: dict[int, Role] = {}
        substantial: dict[int, list[int]] = {}
        for segment in segments:
            roles[segment.leg] = segment.role
            substantial.setdefault(segment.leg, []).extend(
                word.start_ms for word in segment.words if plain(word.text) not in BACKCHANNEL
            )
        for number, segment in enumerate(segments):
            said = heard.setdefault(segment.leg, [])
            for index, word in enumerate(segment.words):
                turn = (
                    not index
                    and bool(said)
                    and _spoken_between(substantial, segment.leg, said[-1].word.start_ms, word.start_ms)
                )
                said.append(Heard(word, plain(word.text), number, index, turn))
        self.legs = {leg: LegWords(leg, roles[leg], words) for leg, words in sorted(heard.items())}


def _spoken_between(starts: dict[int, list[int]], leg: int, from_ms: int, to_ms: int) -> bool:
    """Did another leg say a word of weight between these times?"""
    return any(
        bisect_left(times, to_ms) > bisect_left(times, from_ms) for other, times in starts.items() if other != leg
    )


@dataclass(frozen=True, slots=True)
class Hit:
    """Words of one leg, `first` to `last` inclusive, that hold (a part of) a value."""

    kind: PiiKind
    leg: int
    first: int
    last: int
    score: float
    finder: str


@dataclass(slots=True)
class Findings:
    """What the finders say about a conversation."""

    hits: list[Hit] = field(default_factory=list)
    open_words: dict[int, dict[int, int]] = field(default_factory=dict)
    """leg -> word index -> call time until which everything must be heard before the word may be let go: it may
    turn out to be part of a value."""
    values: list[tuple[PiiKind, str]] = field(default_factory=list)
    """Digits that must stay hidden when somebody says them again."""
    names: set[str] = field(default_factory=set)
    """Names that must stay hidden when somebody says them again."""
    agent_names: set[str] = field(default_factory=set)
    """Names with which agents introduced themselves, and which policy keeps."""

    def hold(self, leg: int, words: Iterable[int], until_ms: int) -> None:
        """Ask that these words wait until every leg has been heard up to `until_ms`."""
        waiting = self.open_words.setdefault(leg, {})
        for word in words:
            waiting[word] = max(until_ms, waiting.get(word, 0))


_STRENGTH = {
    PiiKind.VERIFICATION_CODE: 9,
    PiiKind.CARD_NUMBER: 8,
    PiiKind.SSN: 7,
    PiiKind.CARD_EXPIRY: 6,
    PiiKind.EMAIL_ADDRESS: 5,
    PiiKind.PHONE_NUMBER: 4,
    PiiKind.PERSON_NAME: 3,
    PiiKind.NUMBER: 2,
    PiiKind.REGION: 1,
}


def kinds_by_word(hits: Iterable[Hit], leg: int) -> dict[int, Hit]:
    """Return for each hidden word of the leg the hit that names it: best score first, then the graver kind."""
    named: dict[int, Hit] = {}
    for hit in hits:
        if hit.leg != leg:
            continue
        for index in range(hit.first, hit.last + 1):
            if index not in named or is_better(hit, named[index]):
                named[index] = hit
    return named


def is_better(hit: Hit, other: Hit) -> bool:
    """Does `hit` name the hidden thing better than `other` does?"""
    return _order(hit) > _order(other)


def _order(hit: Hit) -> tuple[bool, float, int]:
    # "Some number" and "some region" give way to any finder that can name the thing.
    return (hit.kind not in (PiiKind.NUMBER, PiiKind.REGION), hit.score, _STRENGTH[hit.kind])
