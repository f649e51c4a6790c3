"""Made-up transcripts and rules for the rules' tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from compliance.rules.judge import Judge, RuleSet, RulesSettings
from compliance.rules.phrase import read_phrase
from compliance.rules.rule import Condition, Rule, Rulebook, Said
from events.finding import Finding, Severity
from events.identity import CallId, Role, record_id
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
    Word,
)

CALL = CallId("c" * 32)
WORD_MS = 400


def segment(
    leg: int,
    start_ms: int,
    text: str,
    role: Role | None = None,
    revision: int = 0,
    call: CallId = CALL,
    confidence: float = 0.9,
) -> RedactedSegment:
    """Words of 400 ms each, one behind the other; leg 0 is the agent's, leg 1 the customer's."""
    words = tuple(
        Word(word, start_ms + place * WORD_MS, start_ms + (place + 1) * WORD_MS, confidence)
        for place, word in enumerate(text.split())
    )
    return RedactedSegment(
        record_id(call, "segment", leg, start_ms * 8),
        call,
        leg,
        role or (Role.AGENT, Role.CUSTOMER)[leg],
        SegmentStatus.FINAL,
        start_ms * 8,
        start_ms,
        start_ms + len(words) * WORD_MS,
        words,
        (),
        revision,
    )


def progress(leg: int, up_to_ms: int, role: Role | None = None) -> LegProgress:
    return LegProgress(CALL, leg, role or (Role.AGENT, Role.CUSTOMER)[leg], up_to_ms)


def leg_ended(leg: int, end_ms: int, role: Role | None = None) -> LegTranscriptEnded:
    return LegTranscriptEnded(CALL, leg, role or (Role.AGENT, Role.CUSTOMER)[leg], end_ms)


def call_ended(end_ms: int, legs: Sequence[int] = (0, 1)) -> CallTranscriptEnded:
    return CallTranscriptEnded(CALL, tuple(legs), end_ms)


def said(text: str) -> Said:
    return Said(read_phrase(text))


def book(*conditions: Condition, min_confidence: float = 0.0) -> Rulebook:
    rules = [
        Rule(f"R-{number}", f"Rule {number}", Severity.HIGH, condition, alert=True, min_confidence=min_confidence)
        for number, condition in enumerate(conditions, 1)
    ]
    return Rulebook("a-book", "1.0", "A book", tuple(rules), file=Path("a-book.yaml"))


def judge_of(*conditions: Condition, settings: RulesSettings | None = None, min_confidence: float = 0.0) -> Judge:
    return Judge(CALL, RuleSet([book(*conditions, min_confidence=min_confidence)]), settings)


def judged(
    condition: Condition, records: Iterable[RedactedTranscriptRecord], settings: RulesSettings | None = None
) -> list[Finding]:
    judge = judge_of(condition, settings=settings)
    return [finding for record in records for finding in judge.take(record)]


def places(findings: Iterable[Finding]) -> list[int]:
    """Where the findings begin, in words from the call's beginning."""
    return [finding.at_ms // WORD_MS for finding in findings]
