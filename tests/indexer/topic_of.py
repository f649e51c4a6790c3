"""The topic that a record of the indexer's travels in."""

from __future__ import annotations

from events.codec import Record
from events.finding import Alert, AlertAnswered, AlertDelivered, Finding
from events.recording import RecordingKept
from events.topics import ALERT, CALL_LIFECYCLE, CALL_RECORDING, FINDING, TRANSCRIPT_REDACTED, Topic
from events.transcript import CallTranscriptEnded, LegProgress, LegTranscriptEnded, RedactedSegment


def topic_of(record: Record) -> Topic:
    match record:
        case Finding():
            return FINDING
        case Alert() | AlertAnswered() | AlertDelivered():
            return ALERT
        case RecordingKept():
            return CALL_RECORDING
        case RedactedSegment() | LegProgress() | LegTranscriptEnded() | CallTranscriptEnded():
            return TRANSCRIPT_REDACTED
        case _:
            return CALL_LIFECYCLE
