"""One record onto one document, in any order, any number of times.

There is no order between topics and delivery is at least once, so every step here is a join: commutative,
associative and idempotent. Where two records claim the same place, a fixed preference decides, never arrival.
All that is needed to go on is in the document itself, so a successor folds onto what the index holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any, Final, TypeVar

import msgspec

from events import finding, lifecycle, recording, transcript
from events.call_document import CallDocument, CallState, DocumentLeg
from events.codec import Record
from events.identity import CallId, Role
from events.speaker_turns import SpeakerTurns
from events.transcript import RedactedSegment, SegmentStatus

_T = TypeVar("_T")
_ENCODER: Final = msgspec.msgpack.Encoder()
_KNOWN_BEST_FIRST: Final = (Role.AGENT, Role.CUSTOMER, Role.MIXED, Role.UNKNOWN)


def fold(document: CallDocument | None, record: Record) -> CallDocument:
    """Return `document` with `record` in it.

    Parameters
    ----------
    document
        What was folded so far; None for the call's first record.
    record
        A record of this call. Records that a document does not hold (audio, raw words, SIPREC XML) are passed
        over.

    Returns
    -------
    CallDocument
        `document` itself when nothing changed, else a new one whose revision is one higher.
    """
    call = CallId(getattr(record, "call", ""))
    assert call, "A call's document is folded from records that have a call."
    before = document if document is not None else CallDocument(call)
    assert before.call == call, "A record was folded onto another call's document."
    step = _STEPS.get(type(record))
    if step is None:
        return before
    after = _with_state(step(before, record))
    return before if after == before else replace(after, revision=before.revision + 1)


def _with_state(document: CallDocument) -> CallDocument:
    if document.ended_at_ms is None:
        state = CallState.IN_PROGRESS
    elif document.transcript_ended and document.recording is not None:
        state = CallState.COMPLETE
    else:
        state = CallState.ENDED
    return document if state is document.state else replace(document, state=state)


def _weight(value: object) -> bytes:
    """Return bytes whose order is arbitrary but fixed: the last resort between two claims."""
    return _ENCODER.encode(value)


def _upsert(items: tuple[_T, ...], new: _T, same: Callable[[_T], Any], better: Callable[[_T], Any]) -> list[_T]:
    """Put `new` among `items`; of those with the same `same`, keep the one with the greatest `better`."""
    key = same(new)
    others = [item for item in items if same(item) != key]
    rivals = [item for item in items if same(item) == key]
    others.append(max([*rivals, new], key=lambda item: (better(item), _weight(item))))
    return others


def _with_leg(
    document: CallDocument, leg: int, change: Callable[[DocumentLeg], DocumentLeg]
) -> tuple[DocumentLeg, ...]:
    legs = {item.leg: item for item in document.legs}
    legs[leg] = change(legs.get(leg, DocumentLeg(leg)))
    return tuple(legs[number] for number in sorted(legs))


def _heard_to(document: CallDocument, end_ms: int) -> int:
    """Return the duration: the signalled one once the call has ended, until then how far anything reaches."""
    return document.duration_ms if document.ended_at_ms is not None else max(document.duration_ms, end_ms)


def _call_started(document: CallDocument, record: lifecycle.CallStarted) -> CallDocument:
    claimed = replace(
        document,
        started_at_ms=record.started_at_ms,
        source=record.source,
        from_uri=record.from_uri,
        to_uri=record.to_uri,
        external_id=record.external_id,
        metadata=tuple(sorted(record.metadata.items())),
    )
    if document.started_at_ms == 0:
        return claimed

    def weight(item: CallDocument) -> tuple[int, bytes]:
        said = (item.source, item.from_uri, item.to_uri, item.external_id, item.metadata)
        return -item.started_at_ms, _weight(said)

    return max(document, claimed, key=weight)


def _leg_added(document: CallDocument, record: lifecycle.LegAdded) -> CallDocument:
    def change(leg: DocumentLeg) -> DocumentLeg:
        claimed = replace(
            leg,
            role=record.role,
            role_verified=record.role_verified,
            label=record.label,
            speaker_name=record.speaker_name,
            speaker_uri=record.speaker_uri,
            encoding=record.encoding,
            joined_ms=record.at_ms,
        )
        # The encoding is empty as long as the leg is known from its transcript only.
        return claimed if not leg.encoding else max(leg, claimed, key=_leg_weight)

    return replace(document, legs=_with_leg(document, record.leg, change))


def _leg_weight(leg: DocumentLeg) -> tuple[int, bool, bytes]:
    """The newest description of a leg stands; of two from the same moment, the verified one."""
    said = (leg.role, leg.label, leg.speaker_name, leg.speaker_uri, leg.encoding)
    return leg.joined_ms, leg.role_verified, _weight(said)


def _leg_held(document: CallDocument, record: lifecycle.LegHeld) -> CallDocument:
    return _with_hold(document, record.leg, held_ms=record.at_ms)


def _leg_resumed(document: CallDocument, record: lifecycle.LegResumed) -> CallDocument:
    return _with_hold(document, record.leg, resumed_ms=record.at_ms)


def _with_hold(
    document: CallDocument, leg: int, held_ms: int | None = None, resumed_ms: int | None = None
) -> CallDocument:
    """Pair each hold with the first resume behind it.

    Both sets can be read back from the pairs: a resume whose hold has not come yet is kept as a hold of no
    length that ends there, and two holds may share a resume until the one between them comes.
    """

    def change(found: DocumentLeg) -> DocumentLeg:
        held = {begin for begin, end in found.holds if end is None or begin < end}
        resumed = {end for _, end in found.holds if end is not None}
        held |= {held_ms} if held_ms is not None else set()
        resumed |= {resumed_ms} if resumed_ms is not None else set()
        held -= resumed  # a hold that ends where it began was none
        pairs = {(begin, min((end for end in resumed if end > begin), default=None)) for begin in held}
        ends = {end for _, end in pairs}
        pairs |= {(end, end) for end in resumed if end not in ends}
        return replace(found, holds=tuple(sorted(pairs, key=lambda pair: (pair[0], pair[1] is None, pair[1]))))

    return replace(document, legs=_with_leg(document, leg, change))


def _interrupted(document: CallDocument, record: lifecycle.CaptureInterrupted) -> CallDocument:
    interruptions = {*document.interruptions, (record.from_ms, record.to_ms)}
    return replace(document, interruptions=tuple(sorted(interruptions)))


def _call_ended(document: CallDocument, record: lifecycle.CallEnded) -> CallDocument:
    statistics = {item.leg: item for item in record.legs}
    old = tuple(leg.statistics for leg in document.legs if leg.statistics is not None)
    if document.ended_at_ms is not None:
        stands = (document.ended_at_ms, document.duration_ms, str(document.end_reason), _in_order(old))
        if stands >= (record.ended_at_ms, record.duration_ms, str(record.reason), _in_order(record.legs)):
            return document
    legs = {leg.leg: replace(leg, statistics=None) for leg in document.legs}
    for number, item in statistics.items():
        legs[number] = replace(legs.get(number, DocumentLeg(number)), statistics=item)
    return replace(
        document,
        ended_at_ms=record.ended_at_ms,
        duration_ms=record.duration_ms,
        end_reason=record.reason,
        legs=tuple(legs[number] for number in sorted(legs)),
    )


def _in_order(statistics: tuple[lifecycle.LegStatistics, ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(sorted(astuple(item) for item in statistics))


def _heard(document: CallDocument, leg: int, role: Role, to_ms: int, ended: bool) -> CallDocument:
    def change(found: DocumentLeg) -> DocumentLeg:
        known = found.role if found.encoding else min(found.role, role, key=_KNOWN_BEST_FIRST.index)
        return replace(
            found,
            role=known,
            transcribed_to_ms=max(found.transcribed_to_ms, to_ms),
            transcript_ended=found.transcript_ended or ended,
        )

    return replace(document, legs=_with_leg(document, leg, change), duration_ms=_heard_to(document, to_ms))


def _segment(document: CallDocument, record: RedactedSegment) -> CallDocument:
    if record.status is not SegmentStatus.FINAL:
        return document
    heard = _heard(document, record.leg, record.role, record.end_ms, ended=False)
    segments = _upsert(heard.segments, record, lambda item: item.id, _segment_weight)
    segments.sort(key=lambda item: (item.start_ms, item.leg, item.first_sample, item.id))
    return replace(heard, segments=tuple(segments))


def _segment_weight(segment: RedactedSegment) -> tuple[int, int]:
    """The newest revision stands; of two that claim to be it, the one that hides more."""
    return segment.revision, sum(span.end_ms - span.start_ms for span in segment.spans)


def _progress(document: CallDocument, record: transcript.LegProgress) -> CallDocument:
    return _heard(document, record.leg, record.role, record.up_to_ms, ended=False)


def _leg_transcript_ended(document: CallDocument, record: transcript.LegTranscriptEnded) -> CallDocument:
    return _heard(document, record.leg, record.role, record.end_ms, ended=True)


def _call_transcript_ended(document: CallDocument, record: transcript.CallTranscriptEnded) -> CallDocument:
    return replace(document, transcript_ended=True, duration_ms=_heard_to(document, record.end_ms))


def _finding(document: CallDocument, record: finding.Finding) -> CallDocument:
    # The same finding can come again under a newer rulebook's wording after a replay.
    findings = _upsert(document.findings, record, lambda item: item.id, lambda item: item.rulebook_version)
    return replace(document, findings=tuple(sorted(findings, key=lambda item: (item.at_ms, item.id))))


def _alert(document: CallDocument, record: finding.Alert) -> CallDocument:
    # It was raised when it was raised first.
    alerts = _upsert(document.alerts, record, lambda item: item.id, lambda item: -item.raised_at_ms)
    return replace(document, alerts=tuple(sorted(alerts, key=lambda item: (item.at_ms, item.id))))


def _answered(document: CallDocument, record: finding.AlertAnswered) -> CallDocument:
    # The first answer stands.
    answers = _upsert(document.answers, record, lambda item: item.alert, lambda item: -item.at_ms)
    return replace(document, answers=tuple(sorted(answers, key=lambda item: (item.at_ms, item.id))))


def _delivered(document: CallDocument, record: finding.AlertDelivered) -> CallDocument:
    deliveries = _upsert(
        document.deliveries,
        record,
        lambda item: (item.alert, item.channel),
        lambda item: (item.delivered, item.attempts, item.at_ms),
    )
    return replace(document, deliveries=tuple(sorted(deliveries, key=lambda item: (item.at_ms, item.id))))


def _recording(document: CallDocument, record: recording.RecordingKept) -> CallDocument:
    if document.recording is None:
        return replace(document, recording=record)
    return replace(document, recording=max(document.recording, record, key=_weight))


def _speaker_turns(document: CallDocument, record: SpeakerTurns) -> CallDocument:
    # The same audio gives the same turns, but for the last bit of a number on another machine.
    turns = _upsert(document.speaker_turns, record, lambda item: item.leg, lambda item: 0)
    return replace(document, speaker_turns=tuple(sorted(turns, key=lambda item: item.leg)))


_STEPS: Final[dict[type, Callable[[CallDocument, Any], CallDocument]]] = {
    lifecycle.CallStarted: _call_started,
    lifecycle.LegAdded: _leg_added,
    lifecycle.LegHeld: _leg_held,
    lifecycle.LegResumed: _leg_resumed,
    lifecycle.CaptureInterrupted: _interrupted,
    lifecycle.CallEnded: _call_ended,
    SpeakerTurns: _speaker_turns,
    transcript.RedactedSegment: _segment,
    transcript.LegProgress: _progress,
    transcript.LegTranscriptEnded: _leg_transcript_ended,
    transcript.CallTranscriptEnded: _call_transcript_ended,
    finding.Finding: _finding,
    finding.Alert: _alert,
    finding.AlertAnswered: _answered,
    finding.AlertDelivered: _delivered,
    recording.RecordingKept: _recording,
}
