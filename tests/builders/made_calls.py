"""Made calls as documents and sound: the same every time, realistic enough to look at."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from events.call_document import CallDocument, CallState, DocumentLeg
from events.finding import Alert, AlertAnswered, Finding, FindingKind, FindingSpan, Severity
from events.identity import CallId, Role, record_id
from events.lifecycle import CallSourceKind, EndReason, LegStatistics
from events.recording import Peaks, RecordingKept
from events.transcript import PiiKind, PiiSpan, RedactedSegment, SegmentStatus, Word

RATE = 8_000
BUCKET_MS = 50
START_MS = 1_795_000_000_000
"""2026-11-18 06:26:40 UTC; later calls start later."""

AGENT, CUSTOMER = 0, 1


@dataclass(frozen=True)
class Flag:
    """A finding on words that are said (or, with `said` empty, on what was not)."""

    said: str
    rule: str
    title: str
    severity: Severity
    why: str
    book: str = "promissory"
    alert: bool = False
    deadline_ms: int = 0


PROMISE = Flag(
    "guaranteed return",
    "FIN-GUARANTEE",
    "Promise of a certain gain",
    Severity.HIGH,
    'The agent said "guaranteed return"; FINRA Rule 2150(b) allows no guarantee against loss.',
    alert=True,
)
NO_RISK = Flag(
    "no risk at all",
    "FIN-RISKFREE",
    "Investment called free of risk",
    Severity.HIGH,
    'The agent said "no risk", within a sentence about an investment.',
    alert=True,
)
LIMITED = Flag(
    "today only",
    "PRESSURE",
    "Pressure to decide at once",
    Severity.MEDIUM,
    'The agent said "today only" when asked for time to think.',
)
COMPLAINT = Flag(
    "not happy",
    "COMPLAINT",
    "Expression of dissatisfaction",
    Severity.LOW,
    'The customer said "not happy": under FCA DISP this is a complaint, whatever it is called.',
    book="complaints",
)
NOTICE = Flag(
    "",
    "REC-CONSENT",
    "Recording was not announced in time",
    Severity.HIGH,
    'None of "this call is recorded", "this call may be recorded" was said by the agent in the first 30 seconds.',
    book="recording-consent",
    alert=True,
    deadline_ms=30_000,
)
ANNOUNCED = Flag(
    "this call may be recorded",
    "REC-NOTICE",
    "Recording was announced",
    Severity.INFO,
    'The agent said "this call may be recorded" 4 seconds after the call began.',
    book="recording-consent",
)

Line = tuple[int, str]
_CARD: list[Line] = [
    (AGENT, "good morning thank you for calling harbor mutual this call may be recorded for quality and training"),
    (AGENT, "my name is laura how can i help you today"),
    (
        CUSTOMER,
        "hi yes this is [PERSON_NAME] i would like to put some money into that bond fund you wrote to me about",
    ),
    (AGENT, "of course i can set that up right away and may i say it is a very good moment to do it"),
    (CUSTOMER, "well i wanted to ask how safe it is really my brother lost quite a lot two years ago"),
    (
        AGENT,
        "this one is different it has a guaranteed return of six percent every year so there is no risk at all",
    ),
    (CUSTOMER, "okay and what do i need to do"),
    (AGENT, "we can take the first payment by card if you have it at hand the offer is today only at this rate"),
    (CUSTOMER, "alright one moment please"),
    (AGENT, "take your time could you read me the long number on the front"),
    (CUSTOMER, "it is [CARD_NUMBER]"),
    (AGENT, "thank you and the expiry date and the three digits on the back"),
    (CUSTOMER, "[CARD_EXPIRY] and the code is [VERIFICATION_CODE]"),
    (AGENT, "perfect and which phone number should we send the confirmation to"),
    (CUSTOMER, "that would be [PHONE_NUMBER]"),
    (AGENT, "thank you that is all done you will get the papers by post within five working days"),
    (CUSTOMER, "great thanks for your help"),
    (AGENT, "you are very welcome have a nice day"),
]
_COMPLAINT: list[Line] = [
    (AGENT, "welcome back to harbor mutual this call may be recorded how can i help"),
    (CUSTOMER, "yes hello i am calling about a fee on my statement that nobody told me about"),
    (AGENT, "i am sorry to hear that may i have your e mail address to find the account"),
    (CUSTOMER, "it is [EMAIL_ADDRESS]"),
    (AGENT, "thank you i see it now it is the yearly custody fee"),
    (CUSTOMER, "honestly i am not happy about this at all i was told there were no fees when i signed"),
    (AGENT, "i understand i will pass this on and somebody will call you within two days"),
    (CUSTOMER, "i would rather have the refund but fine i will wait"),
]
_PLAIN: list[Line] = [
    (AGENT, "harbor mutual good afternoon this call may be recorded"),
    (CUSTOMER, "good afternoon i just want to change my address"),
    (AGENT, "certainly what is the new one"),
    (CUSTOMER, "it is still the same town only another street i will send it in writing is that okay"),
    (AGENT, "that is perfectly fine is there anything else"),
    (CUSTOMER, "no that was it thank you"),
]
_UNANNOUNCED: list[Line] = [
    (AGENT, "hello harbor mutual laura speaking"),
    (CUSTOMER, "hi i have got your letter about the savings plan and i have some questions"),
    (AGENT, "sure go ahead"),
    (CUSTOMER, "the letter says the rate can change is that every month or every year"),
    (AGENT, "every quarter and we always write to you four weeks before"),
    (CUSTOMER, "and if i want to leave before the end"),
    (AGENT, "then there is a small charge of one percent in the first three years and nothing after that"),
    (CUSTOMER, "good that is clear then my social is [SSN] so you can look me up"),
    (AGENT, "thank you i have found you"),
]

_AGENTS = ("Laura Bennett", "Samir Haddad", "Chloe Martin", "")
_CUSTOMERS = ("", "Customer 4471", "", "Household account")
_KINDS: tuple[tuple[list[Line], tuple[Flag, ...]], ...] = (
    (_CARD, (PROMISE, NO_RISK, LIMITED, ANNOUNCED)),
    (_COMPLAINT, (COMPLAINT, ANNOUNCED)),
    (_PLAIN, (ANNOUNCED,)),
    (_UNANNOUNCED, (NOTICE,)),
)


def made_call_id(number: int) -> CallId:
    return CallId(f"{random.Random(number).getrandbits(128):032x}")


def made_call(number: int, *, recorded: bool = True, answered: bool = False) -> CallDocument:
    """Return call `number`; every fourth is of the same kind."""
    rng = random.Random(1_000 + number)
    call, (lines, flags) = made_call_id(number), _KINDS[number % 4]
    started = START_MS + number * 3_777_000
    segments = _segments(call, lines, rng)
    duration = segments[-1].end_ms + 1_500
    findings = tuple(_finding(call, flag, segments) for flag in flags)
    alerts = tuple(
        Alert(
            record_id(call, "alert", finding.rule),
            call,
            finding.id,
            finding.rule,
            finding.rule_title,
            finding.severity,
            finding.at_ms,
            started + finding.at_ms + 900,
            finding.why,
        )
        for finding in findings
        if finding.alert
    )
    document = CallDocument(
        call,
        revision=len(segments),
        state=CallState.COMPLETE if recorded else CallState.ENDED,
        started_at_ms=started,
        ended_at_ms=started + duration,
        duration_ms=duration,
        end_reason=EndReason.HUNG_UP,
        source=CallSourceKind.SIPREC if number % 3 else CallSourceKind.IMPORT,
        from_uri=f"sip:+1415555{2000 + number}@sbc.example.org",
        to_uri="sip:advice@harbor.example.org",
        external_id=f"{rng.getrandbits(64):016x}@sbc.example.org",
        metadata=(("queue", ("investments", "service")[number % 2]), ("direction", "inbound")),
        legs=(
            _leg(AGENT, Role.AGENT, _AGENTS[number % 4], duration),
            replace(
                _leg(CUSTOMER, Role.CUSTOMER, _CUSTOMERS[number % 4], duration),
                holds=((duration // 2, duration // 2 + 4_000),) if number % 5 == 2 else (),
            ),
        ),
        segments=tuple(segments),
        transcript_ended=True,
        findings=findings,
        alerts=alerts,
        answers=tuple(
            AlertAnswered(
                record_id(call, "alert_answered", alert.rule), alert.id, call, "sonja", alert.raised_at_ms + 40_000
            )
            for alert in alerts
        )
        if answered
        else (),
    )
    return replace(document, recording=kept_recording(document)) if recorded else document


def _leg(leg: int, role: Role, name: str, duration: int) -> DocumentLeg:
    packets = duration // 20
    return DocumentLeg(
        leg,
        role,
        bool(name),
        label=str(96 + leg),
        speaker_name=name,
        encoding="PCMU",
        statistics=LegStatistics(leg, packets=packets, lost=packets // 400, samples=packets * 160),
        transcribed_to_ms=duration,
        transcript_ended=True,
    )


_KIND_OF = {kind.placeholder: kind for kind in PiiKind}
_SPOKEN_MS = {
    PiiKind.CARD_NUMBER: 7_200,
    PiiKind.PHONE_NUMBER: 4_600,
    PiiKind.SSN: 4_200,
    PiiKind.EMAIL_ADDRESS: 3_800,
}


def _segments(call: CallId, lines: list[Line], rng: random.Random) -> list[RedactedSegment]:
    at, segments = 1_200, []
    for leg, text in lines:
        words, spans = [], []
        start = at
        for token in text.split():
            kind = _KIND_OF.get(token)
            length = _SPOKEN_MS.get(kind, 1_700) if kind else 120 + 48 * len(token) + rng.randrange(60)
            words.append(Word(token, at, at + length, 1.0 if kind else round(min(0.99, 0.45 + rng.random()), 2)))
            if kind:
                spans.append(PiiSpan(kind, leg, at - 80, at + length + 80, 0.97, "made"))
            at += length + rng.choice((20, 40, 60, 180))
        segments.append(
            RedactedSegment(
                record_id(call, "segment", leg, start * 8),
                call,
                leg,
                (Role.AGENT, Role.CUSTOMER)[leg],
                SegmentStatus.FINAL,
                start * 8,
                start,
                words[-1].end_ms,
                tuple(words),
                tuple(spans),
            )
        )
        at += rng.randrange(300, 1_300)
    return segments


def _finding(call: CallId, flag: Flag, segments: list[RedactedSegment]) -> Finding:
    spans: tuple[FindingSpan, ...] = ()
    role, at_ms = Role.AGENT, flag.deadline_ms
    if flag.said:
        wanted = flag.said.split()
        for segment in segments:
            texts = [word.text for word in segment.words]
            places = [n for n in range(len(texts)) if texts[n : n + len(wanted)] == wanted]
            if places:
                first, last = segment.words[places[0]], segment.words[places[0] + len(wanted) - 1]
                spans = (FindingSpan(segment.leg, segment.id, first.start_ms, last.end_ms),)
                role, at_ms = segment.role, first.start_ms
                break
        assert spans, flag.said
    return Finding(
        record_id(call, "finding", flag.rule, at_ms),
        call,
        flag.rule,
        flag.title,
        flag.book,
        "2026.1",
        FindingKind.SAID if flag.said else FindingKind.MISSING,
        flag.severity,
        role,
        at_ms,
        spans,
        flag.why,
        flag.alert,
    )


def made_sound(document: CallDocument) -> NDArray[np.int16]:
    """Return int16[legs, samples] at 8 kHz: a hum that rises and falls with each word, a tone where it is hidden."""
    rng = np.random.default_rng(document.started_at_ms)
    samples = document.duration_ms * RATE // 1000
    sound = rng.normal(0, 60, (2, samples))
    for segment in document.segments:
        for word in segment.words:
            first, last = word.start_ms * 8, min(word.end_ms * 8, samples)
            t = np.arange(last - first) / RATE
            if word.text.startswith("["):
                sound[segment.leg, first:last] = 6_000 * np.sin(2 * np.pi * 1_000 * t)
                continue
            pitch = (115, 205)[segment.leg] * (1 + 0.1 * rng.random())
            shape = np.sin(np.pi * np.linspace(0, 1, last - first)) ** 0.6
            voice = sum(np.sin(2 * np.pi * pitch * n * t) / n for n in range(1, 9))
            sound[segment.leg, first:last] += voice * shape * (2_500 + 6_500 * rng.random())
    return np.clip(sound, -32_000, 32_000).astype(np.int16)


def kept_recording(document: CallDocument) -> RecordingKept:
    sound, width = made_sound(document), BUCKET_MS * RATE // 1000
    peaks = []
    for leg in range(2):
        padded = np.abs(np.pad(sound[leg], (0, -sound.shape[1] % width)).astype(np.int32))
        peaks.append(
            Peaks(
                leg, BUCKET_MS, (padded.reshape(-1, width).max(1) // 129).clip(0, 255).astype(np.uint8).tobytes()
            )
        )
    hidden = sum(span.end_ms - span.start_ms for segment in document.segments for span in segment.spans)
    return RecordingKept(
        record_id(document.call, "recording_kept"),
        document.call,
        document.duration_ms,
        RATE,
        (0, 1),
        hidden,
        "0" * 64,
        tuple(peaks),
    )
