"""Records to bytes and back, for every kind there is."""

from __future__ import annotations

import msgspec
import pytest

from events import codec
from events.audio import AudioBlock, CallAudioEnded, Encoding, Gap, GapCause, LegAudioEnded
from events.audit_entry import Action, AuditCheckpoint, AuditEntry, Outcome
from events.codec import Record, decode, encode, kind_of
from events.dead_letter import DeadLetter, dead_letter_event, read_dead_letter
from events.errors import NeverRetry
from events.finding import Alert, AlertAnswered, AlertDelivered, Finding, FindingKind, FindingSpan, Severity
from events.identity import RecordId, Role, new_call_id
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
    MetadataReceived,
)
from events.log import Delivery, Event, TopicPartition
from events.recording import Peaks, RecordingKept
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.topics import FINDING
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    PiiKind,
    PiiSpan,
    RedactedSegment,
    SegmentStatus,
    TranscriptSegment,
    Word,
)

CALL = new_call_id()
ID = RecordId("an id")
WORDS = (Word("hello", 120, 480, 0.75), Word("[CARD_NUMBER]", 500, 2500, 1.0))
RECORDS: list[Record] = [
    CallStarted(CALL, 1_700_000_000_000, CallSourceKind.SIPREC, "sip:a@b", "sip:c@d", "x", {"queue": "sales"}),
    LegAdded(CALL, 1, 250, Role.CUSTOMER, True, "2", "José Ñ", "sip:j@x", "PCMA"),
    LegHeld(CALL, 0, 1000),
    LegResumed(CALL, 0, 2000),
    MetadataReceived(CALL, 10, "<recording/>"),
    CaptureInterrupted(CALL, 5000, 7000),
    CallEnded(CALL, 1_700_000_060_000, 60_000, EndReason.HUNG_UP, (LegStatistics(0, packets=3000, lost=2),)),
    SpeakerTurns(CALL, 0, (SpeakerTurn(0, 250, 4000), SpeakerTurn(1, 4100, 9000))),
    AudioBlock(
        CALL, 0, Role.AGENT, Encoding.L16, 8000, 1 << 40, 4, b"\x00\xff" * 4, (Gap(1 << 40, 2, GapCause.LOST),)
    ),
    LegAudioEnded(CALL, 0, Role.AGENT, 8000, 480_000),
    CallAudioEnded(CALL, (0, 1), 60_000),
    TranscriptSegment(ID, CALL, 1, Role.MIXED, SegmentStatus.PARTIAL, 800, 120, 2500, WORDS, 3),
    RedactedSegment(
        ID, CALL, 1, Role.MIXED, SegmentStatus.FINAL, 800, 120, 2500, WORDS,
        (PiiSpan(PiiKind.CARD_NUMBER, 1, 500, 2500, 0.9, "luhn"),), 4,
    ),
    LegProgress(CALL, 0, Role.UNKNOWN, 4000),
    LegTranscriptEnded(CALL, 0, Role.AGENT, 60_000),
    CallTranscriptEnded(CALL, (0, 1), 60_000),
    Finding(
        ID, CALL, "consent", "Recording consent", "consent", "3", FindingKind.MISSING, Severity.HIGH, None,
        30_000, (FindingSpan(0, ID, 1, 2),), "Nobody asked within 30 s.", True,
    ),
    Alert(ID, CALL, ID, "consent", "Recording consent", Severity.HIGH, 30_000, 1_700_000_030_500, "Why."),
    AlertAnswered(ID, ID, CALL, "supervisor", 1_700_000_031_000),
    AlertDelivered(ID, ID, CALL, "webhook", False, 8, 1_700_000_099_000, "HTTP 503"),
    RecordingKept(ID, CALL, 60_000, 8000, (0, 1), 2000, "ab" * 32, (Peaks(0, 50, bytes(range(200))),)),
    AuditEntry("1", 1_700_000_000_000, "eve", "officer", Action.SEARCH, "index", Outcome.DENIED, "r", "cli", "", b"x"),
    AuditCheckpoint(42, "00" * 32, 1_700_000_000_000, "note"),
]  # fmt: skip


def test_every_kind_is_tried_here() -> None:
    assert {kind_of(record) for record in RECORDS} == set(codec.KINDS)


@pytest.mark.parametrize("record", RECORDS, ids=kind_of)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode(kind_of(record), encode(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=kind_of)
def test_a_truncated_record_is_refused(record: Record) -> None:
    value = encode(record)
    for length in {0, 1, len(value) // 2, len(value) - 1}:
        with pytest.raises(
            NeverRetry, match=rf"^A record of kind {kind_of(record)} does not have that kind's fields"
        ):
            decode(kind_of(record), value[:length])


def test_a_refusal_quotes_nothing_of_the_record() -> None:
    segment = next(record for record in RECORDS if isinstance(record, TranscriptSegment))
    value = encode(segment).replace(b"partial", b"private")
    with pytest.raises(NeverRetry) as refused:
        decode("segment", value)
    assert "private" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(NeverRetry, match=r"^A record has a kind that this version does not know\.$"):
        decode("seance", encode(RECORDS[0]))


def test_a_record_of_a_newer_version_with_one_more_field_is_read() -> None:
    progress = LegProgress(CALL, 0, Role.AGENT, 4000)
    value = bytearray(encode(progress))
    value[0] += 1  # a map with one more pair
    assert decode("leg_progress", bytes(value) + b"\xa3new\x2a") == progress


@pytest.mark.parametrize(("payload", "samples"), [(b"\x00" * 3, 4), (b"\x00" * 4, 0), (b"\x00" * 4, -1)])
def test_audio_that_contradicts_itself_is_no_record(payload: bytes, samples: int) -> None:
    good = encode(AudioBlock(CALL, 0, Role.AGENT, Encoding.PCMU, 8000, 0, 4, b"\x00" * 4))
    fields = {**msgspec.msgpack.decode(good), "payload": payload, "samples": samples}
    with pytest.raises(NeverRetry):
        decode("audio_block", msgspec.msgpack.encode(fields))


def test_a_dead_letter_holds_the_record_as_it_came() -> None:
    event = Event(ID, CALL, "finding", 7, b"\x00sealed")
    delivery = Delivery(FINDING, TopicPartition(FINDING.name, 3), 99, event)
    dead = dead_letter_event(delivery, "alerts", "NeverRetry: No.", 8)
    assert (dead.id, dead.key, dead.kind, dead.at_ms) == ("an id:dead:alerts", CALL, "dead:finding", 8)
    assert read_dead_letter(dead) == DeadLetter(
        "finding", 3, 99, ID, CALL, "finding", 7, "alerts", "NeverRetry: No.", b"\x00sealed"
    )
    with pytest.raises(NeverRetry, match=r"^An event of a dead-letter topic does not hold a dead letter\.$"):
        read_dead_letter(event)
