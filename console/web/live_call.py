"""What the live pages know of one call in progress."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from console.web.live_turn import LiveTurn
from events.identity import CallId, RecordId, Role
from events.lifecycle import CallStarted, LegAdded, LegHeld, LegResumed
from events.transcript import RedactedSegment

_MOST_SEGMENTS: Final = 2_000

Fact = CallStarted | LegAdded | LegHeld | LegResumed


@dataclass(slots=True)
class LiveCall:
    call: CallId
    started_at_ms: int = 0
    """UTC epoch milliseconds, 0 until it is known."""
    from_uri: str = ""
    to_uri: str = ""
    speakers: dict[int, tuple[Role, str]] = field(default_factory=dict)
    """Leg to role and name."""
    held: set[int] = field(default_factory=set)
    segments: OrderedDict[RecordId, LiveTurn] = field(default_factory=OrderedDict)
    """Final ones."""
    partials: dict[int, LiveTurn] = field(default_factory=dict)
    """Leg to the utterance that is being spoken."""
    ended_ms: int | None = None
    """By our clock."""

    def turns(self) -> list[LiveTurn]:
        """Final and partial segments in time order."""
        partials = [turn for turn in self.partials.values() if turn.segment.id not in self.segments]
        return sorted([*self.segments.values(), *partials], key=in_time_order)

    def note(self, fact: Fact) -> None:
        match fact:
            case CallStarted():
                self.started_at_ms = fact.started_at_ms
                self.from_uri, self.to_uri = fact.from_uri, fact.to_uri
            case LegAdded():
                self.speakers[fact.leg] = (fact.role, fact.speaker_name)
            case LegHeld():
                self.held.add(fact.leg)
            case LegResumed():
                self.held.discard(fact.leg)

    def hear(self, segment: RedactedSegment) -> LiveTurn | None:
        """Take a segment; return its turn if that is news."""
        turn = LiveTurn(segment)
        known = self.segments.get(segment.id)
        if turn.final:
            # What is found later to be personal data comes again, hidden.
            if known is not None and not supersedes(turn, known):
                return None
            self.segments[segment.id] = turn
            while len(self.segments) > _MOST_SEGMENTS:
                self.segments.popitem(last=False)
            partial = self.partials.get(segment.leg)
            if partial is not None and partial.segment.start_ms <= segment.start_ms:
                del self.partials[segment.leg]
        else:
            shown = self.partials.get(segment.leg)
            stale = (
                shown is not None and shown.segment.id == segment.id and shown.segment.revision >= segment.revision
            )
            if known is not None or self.ended_ms is not None or stale:
                return None
            self.partials[segment.leg] = turn
        self.speakers.setdefault(segment.leg, (segment.role, ""))
        return turn


def in_time_order(turn: LiveTurn) -> tuple[int, int]:
    return turn.segment.start_ms, turn.segment.leg


def supersedes(turn: LiveTurn, known: LiveTurn) -> bool:
    """Whether the turn is a newer revision of the same final segment than the known one."""
    return turn.segment.revision > known.segment.revision
