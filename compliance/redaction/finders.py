"""The protocol of finders, and the finder of spoken numbers."""

from __future__ import annotations

from typing import Final, Protocol

from compliance.redaction.digit_runs import Run
from compliance.redaction.memory import Memory
from compliance.redaction.number_sessions import Session, read_sessions
from compliance.redaction.settings import RedactionSettings, Strength
from compliance.redaction.spans import Conversation, Findings, Hit
from events.transcript import PiiKind

_JUNK_BETWEEN: Final = 3


class PiiFinder(Protocol):
    """Looks for personal data in what all legs said lately. Keeps no state between calls of `find`."""

    def find(self, conversation: Conversation, memory: Memory) -> Findings:
        """Return hidden words, and words that must wait because they may become part of a value."""
        ...


class NumberFinder:
    """Card numbers, codes and other numbers in runs of spoken digits."""

    name: Final = "spoken_number"

    def __init__(self, settings: RedactionSettings) -> None:
        self._settings = settings

    def find(self, conversation: Conversation, memory: Memory) -> Findings:
        findings = Findings()
        sessions = read_sessions(conversation, self._settings, memory.values)
        for session in sessions:
            if session.kind is not None and self._settings.hides(session.kind):
                findings.hits.extend(self._hits(conversation, session, session.kind))
                if session.kind not in (PiiKind.NUMBER, PiiKind.CARD_EXPIRY):
                    findings.values.extend((session.kind, value) for value in session.values() if len(value) >= 3)
            if not session.decided:
                self._hold(conversation, session, findings)
        if self._settings.strength == Strength.REGION:
            for session in sessions:
                findings.hits.extend(_region(conversation, session))
        return findings

    def _hits(self, conversation: Conversation, session: Session, kind: PiiKind) -> list[Hit]:
        sensitive = session.decided or session.digits() >= 8
        score = 0.95 if session.decided else 0.85 if session.digits(plain_only=True) >= 10 else 0.6
        hits: list[Hit] = []
        by_leg: dict[int, list[Run]] = {}
        for run in _counting(session):
            by_leg.setdefault(run.leg, []).append(run)
        for leg, runs in by_leg.items():
            heard = conversation.legs[leg].heard
            for run in runs:
                edges = (*run.edges, *run.zeros) if sensitive else run.outer
                reach = min((run.first, *edges)), max((run.last, *edges))
                for first, last in conversation.legs[leg].number_pieces(*reach):
                    if (
                        hits
                        and hits[-1].leg == leg
                        and first - hits[-1].last - 1 <= _JUNK_BETWEEN
                        and heard[first].segment == heard[hits[-1].last].segment
                    ):
                        first = hits.pop().first
                    hits.append(Hit(kind, leg, first, last, score, self.name))
        return hits

    def _hold(self, conversation: Conversation, session: Session, findings: Findings) -> None:
        """Let runs wait that may be the beginning, or a part, of something longer."""
        until_ms = session.last_ms + self._settings.hold_back_ms
        asked = session.context is not None and session.context.strong
        if not asked and all(not (run.plain or run.tail or run.alone or run.short) for run in session.runs):
            return
        if len(session.runs) == 1 and session.runs[0].quantity and not session.runs[0].alone:
            return
        for run in session.runs:
            findings.hold(run.leg, range(run.first, run.last + 1), until_ms)


def _counting(session: Session) -> list[Run]:
    """Return the session's runs without amounts that came before the number began ("two minutes ... four two")."""
    runs = session.runs
    start = next((place for place, run in enumerate(runs) if not run.quantity and not run.weak), 0)
    while start > 0 and (runs[start - 1].alone or (session.decided and _is_close(runs[start - 1], runs[start]))):
        start -= 1
    return runs[start:]


def _is_close(one: Run, other: Run) -> bool:
    """Do the runs stand so near each other that the unit between ("four days two four") may be misheard?"""
    return (
        one.leg == other.leg
        and one.segments[1] == other.segments[0]
        and other.first - one.last <= _JUNK_BETWEEN
        and other.start_ms - one.end_ms < 1_000
    )


def _region(conversation: Conversation, session: Session) -> list[Hit]:
    """Return the words between the segment with the session's request and the end of its answer, on all legs."""
    if session.context is None or not session.context.strong or session.kind is None:
        return []
    request = session.context.request
    asking = conversation.legs[request.leg].heard[request.last].segment
    from_ms, to_ms = conversation.segments[asking].end_ms, session.last_ms
    hits: list[Hit] = []
    for leg, words in conversation.legs.items():
        inside = [
            index
            for index, heard in enumerate(words.heard)
            if heard.word.end_ms > from_ms and heard.word.start_ms < to_ms
        ]
        if inside:
            hits.append(Hit(PiiKind.REGION, leg, inside[0], inside[-1], 0.5, "region"))
    return hits
