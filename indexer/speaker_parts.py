"""Who said which words on a leg that carries two speakers: segments, cut where the speaker changes.

A segment's words have times, and so have the turns; the times decide. What was hidden stays hidden: a placeholder is a
word like any other here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from events.call_document import CallDocument
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.transcript import RedactedSegment, Word


@dataclass(frozen=True, slots=True)
class SpeakerPart:
    """Words of one segment that follow each other and were said by one speaker; never none."""

    segment: RedactedSegment
    words: tuple[Word, ...]
    speaker: int | None
    """As in `SpeakerTurn`; None where the leg's speakers were not told apart."""

    @property
    def start_ms(self) -> int:
        """Where the segment starts, or the first word where it is not the segment's first part."""
        return self.segment.start_ms if self.words[0] is self.segment.words[0] else self.words[0].start_ms

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def name(self) -> str:
        """What the speaker is called, empty where the leg says it."""
        return "" if self.speaker is None else name_of(self.speaker)


def name_of(speaker: int) -> str:
    """Return "Speaker A" for who speaks first."""
    return f"Speaker {letter_of(speaker)}"


def letter_of(speaker: int) -> str:
    return chr(ord("A") + speaker % 26)


def parts_of(document: CallDocument) -> Iterator[SpeakerPart]:
    """Yield all words of a call in the order of its segments, those of a leg without turns segment by segment."""
    voices = {item.leg: _Voices(item) for item in document.speaker_turns if item.turns}
    for segment in document.segments:
        leg = voices.get(segment.leg)
        if leg is None:
            if segment.words:
                yield SpeakerPart(segment, segment.words, None)
            continue
        for speaker, words in groupby(segment.words, leg.speaker_of):
            yield SpeakerPart(segment, tuple(words), speaker)


class _Voices:
    def __init__(self, said: SpeakerTurns) -> None:
        self._turns = sorted(said.turns, key=lambda turn: turn.start_ms)
        self._starts = [turn.start_ms for turn in self._turns]

    def speaker_of(self, word: Word) -> int:
        """Return who speaks for most of the word's time; between two turns, whose turn is nearer."""
        last = bisect_right(self._starts, max(word.start_ms, word.end_ms - 1))
        first = max(0, bisect_right(self._starts, word.start_ms) - 1)
        # The turn behind is only a rival where the word lies between two.
        near = self._turns[first : last + 1]
        return max(near, key=lambda turn: _common_ms(turn, word)).speaker


def _common_ms(turn: SpeakerTurn, word: Word) -> int:
    """How long they have in common; below zero, how far apart they are."""
    return min(turn.end_ms, word.end_ms) - max(turn.start_ms, word.start_ms)
