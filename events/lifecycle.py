"""What happened to a call. Written by capture alone, to `call.lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from events.identity import CallId, Role


class CallSourceKind(StrEnum):
    SIP = "sip"
    SIPREC = "siprec"
    IMPORT = "import"


class EndReason(StrEnum):
    HUNG_UP = "hung_up"
    IMPORTED = "imported"
    MEDIA_TIMEOUT = "media_timeout"
    """No RTP and no signalling for longer than the settings allow."""
    SHUT_DOWN = "shut_down"
    LOST = "lost"
    """Capture came back after a crash and could not take the call up again."""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """First record of a call. `started_at_ms` is UTC epoch milliseconds of call time 0."""

    call: CallId
    started_at_ms: int
    source: CallSourceKind
    from_uri: str = ""
    to_uri: str = ""
    external_id: str = ""
    """The caller's own name of the call: SIP Call-ID, SIPREC session id, or the imported file's name."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Queue, campaign, jurisdiction, direction: what the source knows beyond the above."""


@dataclass(frozen=True, slots=True)
class LegAdded:
    """A leg joined the call, or became better known (the newest record of a leg wins)."""

    call: CallId
    leg: int
    """Index in the call, from 0, in order of appearance."""
    at_ms: int
    role: Role
    role_verified: bool
    """False when role or speaker were guessed (label order, mono audio) rather than named by metadata."""
    label: str = ""
    """RFC 4574 label of the media stream, empty when there was none."""
    speaker_name: str = ""
    speaker_uri: str = ""
    encoding: str = "PCMU"


@dataclass(frozen=True, slots=True)
class LegHeld:
    call: CallId
    leg: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class LegResumed:
    call: CallId
    leg: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """SIPREC metadata as it came, kept whole because mappings are disputed later."""

    call: CallId
    at_ms: int
    xml: str


@dataclass(frozen=True, slots=True)
class CaptureInterrupted:
    """Capture was down between these call times; the hole is also marked as gaps in the audio."""

    call: CallId
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class LegStatistics:
    """Counters of one leg's RTP stream (RFC 3550, 6.4.1 in spirit)."""

    leg: int
    packets: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    reordered: int = 0
    malformed: int = 0
    samples: int = 0


@dataclass(frozen=True, slots=True)
class CallEnded:
    call: CallId
    ended_at_ms: int
    """UTC epoch milliseconds."""
    duration_ms: int
    reason: EndReason
    legs: tuple[LegStatistics, ...] = ()


LifecycleRecord = CallStarted | LegAdded | LegHeld | LegResumed | MetadataReceived | CaptureInterrupted | CallEnded
