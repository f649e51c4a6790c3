"""What has been heard of a call so far, in call time.

Rules never look at a clock: "until now nothing was said" is how far the legs' transcripts have come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from events.identity import RecordId, Role
from events.transcript import RedactedSegment


@dataclass(frozen=True, slots=True)
class Span:
    """Words of one leg that a phrase fits."""

    leg: int
    role: Role
    first: int
    last: int
    """Places among the leg's words, fillers not counted."""
    run: int
    """Which stretch of the leg without a long pause."""
    start_ms: int
    end_ms: int
    confidence: float
    """Mean over the words."""
    segments: tuple[tuple[RecordId, int, int], ...]
    """(segment, start_ms, end_ms) of the words in each segment that the phrase touches."""
    pattern: str
    """Which of the phrase's sequences it was, as the rule has it: `guarant*`, not the word that was said."""


@dataclass(slots=True)
class LegHeard:
    leg: int
    role: Role
    segments: dict[RecordId, RedactedSegment] = field(default_factory=dict)
    """In order of their first samples."""
    up_to_ms: int = 0
    ended: bool = False
    places: int = 0
    """Words so far, fillers not counted."""
    run: int = 0
    last_word_end_ms: int = 0

    def passed(self, ms: int) -> bool:
        """Whether nothing more is to be heard of this leg before `ms`."""
        return self.ended or self.up_to_ms >= ms


@dataclass(slots=True)
class CallHeard:
    legs: dict[int, LegHeard] = field(default_factory=dict)
    ended: bool = False
    end_ms: int = 0

    def leg(self, number: int, role: Role) -> LegHeard:
        found = self.legs.get(number)
        if found is None:
            found = self.legs[number] = LegHeard(number, role)
        # Who speaks may become known during the call; what is unknown again was known better before.
        if role is not Role.UNKNOWN:
            found.role = role
        return found

    def passed(self, ms: int, legs: Iterable[LegHeard] | None = None) -> bool:
        """Whether nothing more is to be heard before `ms`, of `legs` or of all.

        A leg that ended early is not enough: another may still join (a transfer) before the call gets there.
        """
        asked = list(self.legs.values() if legs is None else legs)
        there = bool(asked) and self.heard_to_ms >= ms
        return self.ended or (there and all(leg.passed(ms) for leg in asked))

    @property
    def heard_to_ms(self) -> int:
        return max([self.end_ms, *(leg.up_to_ms for leg in self.legs.values())])
