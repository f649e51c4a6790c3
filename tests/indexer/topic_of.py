"""Records of calls on their way into the indexer: the topic of each, and a call's worth of them."""

from __future__ import annotations

from events.codec import Record
from events.finding import Alert, AlertAnswered, AlertDelivered, Finding, Severity
from events.recording import RecordingKept
from events.topics import ALERT, CALL_LIFECYCLE, CALL_RECORDING, FINDING, TRANSCRIPT_REDACTED, Topic
from events.transcript import CallTranscriptEnded, LegProgress, LegTranscriptEnded, RedactedSegment
from tests.indexer.call_records import call_id, call_records
from tests.indexer.stage_rig import StageRig


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


def append_all(rig: StageRig, records: list[Record]) -> None:
    for record in records:
        rig.append(topic_of(record), [record])


def whole_call(number: int) -> list[Record]:
    said = [(turn % 2, f"turn {turn} of call{number}") for turn in range(6)]
    return call_records(call_id(number), said, findings=[("R-1", 900, Severity.HIGH)])
