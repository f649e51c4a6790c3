"""Records of made-up calls for the indexer's tests and benchmarks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from events.call_document import CallDocument
from events.codec import Record
from events.finding import Alert, AlertAnswered, AlertDelivered, Finding, FindingKind, FindingSpan, Severity
from events.identity import CallId, RecordId, Role, record_id
from events.lifecycle import (
    CallEnded,
    CallSourceKind,
    CallStarted,
    CaptureInterrupted,
    EndReason,
    LegAdded,
    LegHeld,
    LegResumed,
    LegStatistics,
)
from events.recording import Peaks, RecordingKept
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    PiiKind,
    PiiSpan,
    RedactedSegment,
    SegmentStatus,
    Word,
)
from indexer.fold import fold

STARTED_AT_MS = 1_750_000_000_000
ROLES = (Role.AGENT, Role.CUSTOMER)


def call_id(number: int) -> CallId:
    return CallId(f"{number:032x}")


def segment(
    call: CallId,
    leg: int,
    start_ms: int,
    text: str,
    role: Role | None = None,
    revision: int = 0,
    status: SegmentStatus = SegmentStatus.FINAL,
) -> RedactedSegment:
    """A segment whose words last 300 ms each; placeholders in `text` get their spans."""
    texts = text.split()
    words = tuple(
        Word(item, start_ms + 300 * place, start_ms + 300 * place + 280, 0.9) for place, item in enumerate(texts)
    )
    spans = tuple(
        PiiSpan(PiiKind(word.text.strip("[]").lower()), leg, word.start_ms, word.end_ms, 0.9, "test")
        for word in words
        if word.text.startswith("[")
    )
    return RedactedSegment(
        record_id(call, "segment", leg, start_ms * 8),
        call,
        leg,
        ROLES[leg % 2] if role is None else role,
        status,
        start_ms * 8,
        start_ms,
        start_ms + 300 * len(texts),
        words,
        spans,
        revision,
    )


def finding(
    call: CallId, rule: str, at_ms: int, severity: Severity = Severity.HIGH, why: str = "Said so."
) -> Finding:
    return Finding(
        record_id(call, "finding", rule, 0, at_ms),
        call,
        rule,
        f"Title of {rule}",
        "a-rulebook",
        "1.0",
        FindingKind.SAID,
        severity,
        Role.AGENT,
        at_ms,
        (FindingSpan(0, record_id(call, "segment", 0, at_ms * 8), at_ms, at_ms + 300),),
        why,
        True,
    )


def alert(found: Finding, raised_at_ms: int = STARTED_AT_MS + 60_000) -> Alert:
    return Alert(
        RecordId(f"{found.id}:alert"),
        found.call,
        found.id,
        found.rule,
        found.rule_title,
        found.severity,
        found.at_ms,
        raised_at_ms,
        found.why,
    )


def call_records(
    call: CallId,
    said: Sequence[tuple[int, str]],
    started_at_ms: int = STARTED_AT_MS,
    findings: Sequence[tuple[str, int, Severity]] = (),
    source: CallSourceKind = CallSourceKind.SIPREC,
    ended: bool = True,
    speakers: Sequence[str] = ("Ann Archer", ""),
) -> list[Record]:
    """All records of a two-leg call; `said` holds (leg, text), one after the other."""
    records: list[Record] = [
        CallStarted(
            call, started_at_ms, source, "sip:a@pbx.example", "sip:b@pbx.example", "x1", {"queue": "sales"}
        ),
        LegAdded(call, 0, 0, Role.AGENT, True, "1", speakers[0], "sip:ann@pbx.example"),
        LegAdded(call, 1, 20, Role.CUSTOMER, False, "2", speakers[1]),
    ]
    now_ms = 500
    for leg, text in said:
        spoken = segment(call, leg, now_ms, text)
        now_ms = spoken.end_ms + 400
        records += [spoken, LegProgress(call, leg, spoken.role, now_ms)]
    for rule, at_ms, severity in findings:
        found = finding(call, rule, at_ms, severity)
        records += [found, alert(found)]
    if ended:
        records += [
            LegTranscriptEnded(call, 0, Role.AGENT, now_ms),
            LegTranscriptEnded(call, 1, Role.CUSTOMER, now_ms),
            CallTranscriptEnded(call, (0, 1), now_ms),
            CallEnded(
                call,
                started_at_ms + now_ms,
                now_ms,
                EndReason.HUNG_UP,
                (LegStatistics(0, packets=10), LegStatistics(1, packets=9, lost=1)),
            ),
            RecordingKept(
                record_id(call, "recording_kept"),
                call,
                now_ms,
                8000,
                (0, 1),
                0,
                "00" * 32,
                (Peaks(0, 100, b"\1\2"),),
            ),
        ]
    return records


def awkward_records(call: CallId) -> list[Record]:
    """Records that claim the same places, to be folded in any order."""
    found = finding(call, "R-1", 900)
    raised = alert(found)
    first = segment(call, 0, 500, "good morning")
    return [
        *call_records(call, [(0, "hello there"), (1, "my card is [CARD_NUMBER] thanks")]),
        LegAdded(call, 1, 900, Role.CUSTOMER, True, "2", "Bob"),
        LegAdded(call, 1, 900, Role.AGENT, False, "2", "Bo"),
        LegHeld(call, 0, 1000),
        LegHeld(call, 0, 3000),
        LegHeld(call, 0, 9000),
        LegResumed(call, 0, 2000),
        LegResumed(call, 0, 5000),
        LegResumed(call, 1, 700),
        LegHeld(call, 1, 700),
        CaptureInterrupted(call, 4000, 4500),
        CaptureInterrupted(call, 100, 200),
        CallEnded(call, STARTED_AT_MS + 9_000, 9_000, EndReason.LOST),
        first,
        segment(call, 0, 500, "hello their", revision=2),
        segment(call, 0, 500, "hello hello", revision=2),
        segment(call, 1, 400, "um", role=Role.UNKNOWN, status=SegmentStatus.PARTIAL),
        segment(call, 2, 200, "a third voice", role=Role.MIXED),
        LegProgress(call, 2, Role.UNKNOWN, 8_000),
        SpeakerTurns(call, 2, (SpeakerTurn(0, 200, 900), SpeakerTurn(1, 900, 1_400))),
        SpeakerTurns(call, 2, (SpeakerTurn(0, 200, 930), SpeakerTurn(1, 930, 1_400))),
        SpeakerTurns(call, 0, (SpeakerTurn(0, 500, 700), SpeakerTurn(1, 700, 800))),
        found,
        finding(call, "R-1", 900, why="Said otherwise."),
        raised,
        alert(found, raised.raised_at_ms + 5),
        AlertAnswered(record_id(call, "alert_answered", 1), raised.id, call, "sue", STARTED_AT_MS + 80_000),
        AlertAnswered(record_id(call, "alert_answered", 2), raised.id, call, "tim", STARTED_AT_MS + 81_000),
        AlertDelivered(record_id(call, "d", 1), raised.id, call, "webhook", False, 3, STARTED_AT_MS, "refused"),
        AlertDelivered(record_id(call, "d", 2), raised.id, call, "webhook", True, 1, STARTED_AT_MS + 1),
    ]


def document_of(records: Sequence[Record]) -> CallDocument:
    document: CallDocument | None = None
    for record in records:
        document = fold(document, record)
    assert document is not None
    return document


_COMMON_TEXT = (
    "the and you to i it of a that in is for we have on can your are will my account number please thank okay yes "
    "just going get do be this with so what know if me not was order call back let see right want would time "
    "refund cancel guaranteed invoice premium mortgage deposit complaint ombudsman lawyer penalty router"
)
_COMMON = _COMMON_TEXT.split()
_VOCABULARY = 30_000


def _word(dice: random.Random) -> str:
    """A word with about the skew of speech: the n-th most frequent one is n times rarer than the first."""
    rank = int(math.exp(dice.uniform(0, math.log(_VOCABULARY))))
    return _COMMON[rank - 1] if rank <= len(_COMMON) else f"word{rank}"


def generated_call(number: int, words: int = 700) -> list[Record]:
    """A call of about `words` words with a natural skew between common and rare words."""
    dice = random.Random(number)
    said: list[tuple[int, str]] = []
    left = words
    while left > 0:
        length = dice.randint(3, 20)
        text = [_word(dice) for _ in range(length)]
        if dice.random() < 0.01:
            text.append("[CARD_NUMBER]")
        said.append((dice.randint(0, 1), " ".join(text)))
        left -= length
    rules = [("FIN-GUARANTEE", 1_000, Severity.HIGH)] if number % 7 == 0 else []
    rules += [("REC-CONSENT", 30_000, Severity.MEDIUM)] if number % 5 == 0 else []
    return call_records(call_id(number), said, STARTED_AT_MS + number * 60_000, rules)
