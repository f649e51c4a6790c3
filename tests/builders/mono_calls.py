"""Made calls as if both parties had been recorded in one channel, their voices told apart."""

from __future__ import annotations

from dataclasses import replace

from events.call_document import CallDocument, DocumentLeg
from events.identity import Role
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.transcript import PiiSpan, RedactedSegment
from tests.builders.made_calls import made_call


def mono_call(number: int, *, told_apart: bool = True) -> CallDocument:
    """Return made call `number` with one leg; two lines are one segment, but for the first. No recording."""
    call = made_call(number, recorded=False)
    lines = call.segments
    turns = [SpeakerTurn(line.leg, line.start_ms, line.end_ms) for line in lines]
    first = turns[0].speaker
    voices = tuple(replace(turn, speaker=abs(turn.speaker - first)) for turn in turns)
    return replace(
        call,
        legs=(
            DocumentLeg(0, Role.MIXED, encoding="L16", transcribed_to_ms=call.duration_ms, transcript_ended=True),
        ),
        segments=tuple(_together(lines[max(0, n) : n + 2]) for n in range(-1, len(lines), 2)),
        findings=(),
        alerts=(),
        answers=(),
        speaker_turns=(SpeakerTurns(call.call, 0, voices),) if told_apart else (),
    )


def _together(lines: tuple[RedactedSegment, ...]) -> RedactedSegment:
    spans: tuple[PiiSpan, ...] = tuple(replace(span, leg=0) for line in lines for span in line.spans)
    return replace(
        lines[0],
        leg=0,
        role=Role.MIXED,
        end_ms=lines[-1].end_ms,
        words=tuple(word for line in lines for word in line.words),
        spans=spans,
    )
