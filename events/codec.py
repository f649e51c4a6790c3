"""Records to bytes and back, by msgpack. The dataclasses are the truth; schemas/ is generated from them."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, Final, cast

import msgspec

from events import audio, audit_entry, finding, lifecycle, recording, speaker_turns, transcript
from events.errors import NeverRetry

Record = (
    lifecycle.LifecycleRecord
    | speaker_turns.SpeakerTurns
    | audio.AudioRecord
    | transcript.TranscriptSegment
    | transcript.RedactedSegment
    | transcript.LegProgress
    | transcript.LegTranscriptEnded
    | transcript.CallTranscriptEnded
    | finding.Finding
    | finding.Alert
    | finding.AlertAnswered
    | finding.AlertDelivered
    | recording.RecordingKept
    | audit_entry.AuditEntry
    | audit_entry.AuditCheckpoint
)

KINDS: Final[dict[str, type[Any]]] = {
    "call_started": lifecycle.CallStarted,
    "leg_added": lifecycle.LegAdded,
    "leg_held": lifecycle.LegHeld,
    "leg_resumed": lifecycle.LegResumed,
    "metadata_received": lifecycle.MetadataReceived,
    "capture_interrupted": lifecycle.CaptureInterrupted,
    "call_ended": lifecycle.CallEnded,
    "speaker_turns": speaker_turns.SpeakerTurns,
    "audio_block": audio.AudioBlock,
    "leg_audio_ended": audio.LegAudioEnded,
    "call_audio_ended": audio.CallAudioEnded,
    "segment": transcript.TranscriptSegment,
    "redacted_segment": transcript.RedactedSegment,
    "leg_progress": transcript.LegProgress,
    "leg_transcript_ended": transcript.LegTranscriptEnded,
    "call_transcript_ended": transcript.CallTranscriptEnded,
    "finding": finding.Finding,
    "alert": finding.Alert,
    "alert_answered": finding.AlertAnswered,
    "alert_delivered": finding.AlertDelivered,
    "recording_kept": recording.RecordingKept,
    "audit_entry": audit_entry.AuditEntry,
    "audit_checkpoint": audit_entry.AuditCheckpoint,
}
_KIND_OF: Final = {record_type: kind for kind, record_type in KINDS.items()}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = {kind: msgspec.msgpack.Decoder(record_type) for kind, record_type in KINDS.items()}

assert all(is_dataclass(record_type) for record_type in KINDS.values())


def kind_of(record: Record) -> str:
    """Return the name under which `record`'s type travels."""
    return _KIND_OF[type(record)]


def encode(record: Record) -> bytes:
    return _ENCODER.encode(record)


def decode(kind: str, value: bytes) -> Record:
    """Decode and check one record.

    Raises
    ------
    NeverRetry
        The kind is unknown or the bytes do not hold a record of it. The text names kind and field only, because
        the bytes may hold what somebody said.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise NeverRetry("A record has a kind that this version does not know.")
    try:
        return cast(Record, decoder.decode(value))
    except (msgspec.DecodeError, ValueError):
        # msgspec quotes values of enums in its messages; the cause is dropped so that none reaches a log.
        raise NeverRetry(f"A record of kind {kind} does not have that kind's fields.") from None
