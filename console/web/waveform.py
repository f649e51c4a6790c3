"""The picture of a call: one lane per leg, with what was hidden and found drawn on it, as numbers for an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from events.call_document import CallDocument, DocumentLeg
from events.finding import Finding
from events.identity import Role
from events.recording import Peaks
from events.speaker_turns import SpeakerTurn
from indexer.speaker_parts import letter_of, name_of
from indexer.summary import WORST_FIRST

WIDTH: Final = 1_000.0
"""Units; the page stretches them to its own width."""
LANE_HEIGHT: Final = 56.0
LANE_GAP: Final = 10.0
_COLUMNS: Final = 500
_NARROWEST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    width: float
    start_ms: int
    end_ms: int
    title: str


@dataclass(frozen=True, slots=True)
class LaneVoice:
    """Where one speaker of a mixed leg speaks."""

    name: str
    css: str
    turns: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    leg: int
    role: Role
    name: str
    y: float
    path: str
    """Outline of the sound, empty where there is no recording yet."""
    speech: tuple[Box, ...]
    """Where words were recognised; drawn where there is no sound to draw."""
    hidden: tuple[Box, ...]
    silent: tuple[Box, ...]
    """Holds."""
    voices: tuple[LaneVoice, ...] = ()
    """The speakers of a leg that carries two; empty where they were not told apart."""


@dataclass(frozen=True, slots=True)
class Marker:
    x: float
    start_ms: int
    severity: str
    title: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Picture:
    duration_ms: int
    height: float
    lanes: tuple[Lane, ...]
    markers: tuple[Marker, ...]
    down: tuple[Box, ...]
    """Where capture was interrupted; over all lanes."""
    ticks: tuple[int, ...]
    """Call times in ms for the axis, evenly spread from start to end."""


def picture_of(document: CallDocument, names: dict[int, str]) -> Picture:
    """Lay out a call.

    Parameters
    ----------
    names
        How each leg's speaker is called.
    """
    duration = _duration(document)
    peaks = {one.leg: one for one in document.recording.peaks} if document.recording else {}
    lanes = tuple(
        _lane(
            document, leg, names.get(leg.leg, ""), duration, number * (LANE_HEIGHT + LANE_GAP), peaks.get(leg.leg)
        )
        for number, leg in enumerate(document.legs)
    )
    worst_last = sorted(document.findings, key=lambda item: -WORST_FIRST.index(item.severity))
    return Picture(
        duration,
        max(len(lanes) * (LANE_HEIGHT + LANE_GAP) - LANE_GAP, LANE_HEIGHT),
        lanes,
        tuple(_marker(finding, duration) for finding in worst_last),
        tuple(_box(start, end, duration, "Capture was interrupted") for start, end in document.interruptions),
        tuple(round(duration * part / 4) for part in range(5)),
    )


def _duration(document: CallDocument) -> int:
    ends = [document.duration_ms, *(segment.end_ms for segment in document.segments)]
    if document.recording is not None:
        ends.append(document.recording.duration_ms)
    return max(*ends, 1)


def _lane(
    document: CallDocument, leg: DocumentLeg, name: str, duration: int, y: float, peaks: Peaks | None
) -> Lane:
    segments = [segment for segment in document.segments if segment.leg == leg.leg]
    spans = {
        (span.start_ms, span.end_ms, span.kind)
        for segment in document.segments
        for span in segment.spans
        if span.leg == leg.leg
    }
    return Lane(
        leg.leg,
        leg.role,
        name,
        y,
        outline(peaks, duration, y) if peaks and peaks.values else "",
        tuple(_box(segment.start_ms, segment.end_ms, duration, "") for segment in segments),
        tuple(
            _box(start, end, duration, f"Hidden: {kind.value.replace('_', ' ')}")
            for start, end, kind in sorted(spans)
        ),
        tuple(_box(start, duration if end is None else end, duration, "On hold") for start, end in leg.holds),
        _voices([turn for said in document.speaker_turns if said.leg == leg.leg for turn in said.turns], duration),
    )


def _voices(turns: list[SpeakerTurn], duration: int) -> tuple[LaneVoice, ...]:
    return tuple(
        LaneVoice(
            name_of(speaker),
            voice_class(speaker),
            tuple(_box(turn.start_ms, turn.end_ms, duration, "") for turn in turns if turn.speaker == speaker),
        )
        for speaker in sorted({turn.speaker for turn in turns})
    )


def voice_class(speaker: int) -> str:
    """Return the CSS class of a speaker who was told apart by voice."""
    return f"voice-{letter_of(speaker).lower()}"


def _box(start_ms: int, end_ms: int, duration: int, title: str) -> Box:
    start, end = max(start_ms, 0), min(max(end_ms, start_ms), duration)
    x = WIDTH * min(start, duration) / duration
    width = max(WIDTH * (end - start) / duration, _NARROWEST)
    return Box(round(min(x, WIDTH - width), 2), round(width, 2), start_ms, end_ms, title)


def _marker(finding: Finding, duration: int) -> Marker:
    x = WIDTH * min(max(finding.at_ms, 0), duration) / duration
    return Marker(
        round(min(max(x, 1.5), WIDTH - 1.5), 2),
        finding.at_ms,
        finding.severity.value,
        f"{finding.rule_title} ({finding.severity.value})",
        anchor_of(finding),
    )


def anchor_of(finding: Finding) -> str:
    """HTML id of a finding on its page."""
    return "finding-" + "".join(char if char.isalnum() else "-" for char in finding.id.removeprefix(finding.call))


def outline(peaks: Peaks, duration_ms: int, y: float) -> str:
    """Return an SVG path: the upper edge from left to right, the lower one back."""
    heights = _columns(peaks.values, peaks.bucket_ms, duration_ms)
    middle, half = y + LANE_HEIGHT / 2, LANE_HEIGHT / 2 - 2
    step = WIDTH / len(heights)
    # A hair's breadth in silence, so that the lane is seen to go on.
    edge = [(number * step + step / 2, max(height * half, 0.6)) for number, height in enumerate(heights)]
    upper = " ".join(f"L{x:.1f} {middle - height:.1f}" for x, height in edge)
    lower = " ".join(f"L{x:.1f} {middle + height:.1f}" for x, height in reversed(edge))
    return f"M0 {middle:.1f} {upper} L{WIDTH:.0f} {middle:.1f} {lower} Z"


def _columns(values: Sequence[int], bucket_ms: int, duration_ms: int) -> list[float]:
    """Highest peak of each of at most `_COLUMNS` columns, on a scale that lets quiet speech show."""
    total = max(-(-duration_ms // bucket_ms), 1)
    columns = min(_COLUMNS, total)
    heights = []
    for column in range(columns):
        part = values[
            column * total // columns : max((column + 1) * total // columns, column * total // columns + 1)
        ]
        heights.append((max(part, default=0) / 255) ** 0.65)
    return heights
