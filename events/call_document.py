"""One call, folded from its events, redacted: what is searched and shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from events.finding import Alert, AlertAnswered, AlertDelivered, Finding
from events.identity import CallId, Role
from events.lifecycle import CallSourceKind, EndReason, LegStatistics
from events.recording import RecordingKept
from events.speaker_turns import SpeakerTurns
from events.transcript import RedactedSegment


class CallState(StrEnum):
    IN_PROGRESS = "in_progress"
    ENDED = "ended"
    """Signalling has ended; stages may still be at work."""
    COMPLETE = "complete"
    """Transcript ended and recording kept: nothing more comes but answers to alerts."""


@dataclass(frozen=True, slots=True)
class DocumentLeg:
    leg: int
    role: Role = Role.UNKNOWN
    role_verified: bool = False
    label: str = ""
    speaker_name: str = ""
    speaker_uri: str = ""
    encoding: str = ""
    joined_ms: int = 0
    holds: tuple[tuple[int, int | None], ...] = ()
    """(from, to) in ms of call time; `to` is None while held."""
    statistics: LegStatistics | None = None
    transcribed_to_ms: int = 0
    transcript_ended: bool = False


@dataclass(frozen=True, slots=True)
class CallDocument:
    """Upserted by `call` and `revision`; an older revision never replaces a newer one."""

    call: CallId
    revision: int = 0
    state: CallState = CallState.IN_PROGRESS
    started_at_ms: int = 0
    """UTC epoch milliseconds; 0 until `CallStarted` was seen."""
    ended_at_ms: int | None = None
    duration_ms: int = 0
    end_reason: EndReason | None = None
    source: CallSourceKind | None = None
    from_uri: str = ""
    to_uri: str = ""
    external_id: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    interruptions: tuple[tuple[int, int], ...] = ()
    """(from, to) in ms of call time in which capture was down."""
    legs: tuple[DocumentLeg, ...] = ()
    segments: tuple[RedactedSegment, ...] = ()
    """Final segments, ordered by start, then leg."""
    transcript_ended: bool = False
    findings: tuple[Finding, ...] = ()
    alerts: tuple[Alert, ...] = ()
    answers: tuple[AlertAnswered, ...] = ()
    deliveries: tuple[AlertDelivered, ...] = ()
    recording: RecordingKept | None = None
    speaker_turns: tuple[SpeakerTurns, ...] = ()
    """Of legs that carry two speakers who could be told apart, by leg."""
