"""Long transcribed recordings cut into sentences to train on: at pauses, by forced alignment, the doubtful left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from recognizer.evaluation.audio_file import AudioFileError
from recognizer.forced_alignment import Alignment, AlignmentError, ForcedAligner, TimedWord
from recognizer.training.corpora.recording import LeftOut, Recording, read_samples


@dataclass(frozen=True)
class CuttingSettings:
    """Where recordings are cut.

    Attributes
    ----------
    longest_s : float
        Longer recordings are cut; pieces are cut at the longest pauses until none is longer.
    least_pause_s : float
        Never cut where the speaker pauses for less.
    least_score : float
        A piece whose mean word score (:class:`TimedWord`) is lower is left out: its text is probably wrong.
    room_s : float
        Left standing on both sides, at most half of the pause.
    """

    longest_s: float = 15.0
    least_pause_s: float = 0.15
    least_score: float = -3.0
    room_s: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.least_pause_s < self.longest_s or self.room_s < 0:
            raise ValueError("Pauses to cut at are positive and shorter than the pieces.")


def cut_recording(
    recording: Recording, aligner: ForcedAligner, left_out: LeftOut, settings: CuttingSettings | None = None
) -> Iterator[Recording]:
    """Yield `recording` itself if it is short enough, else its pieces.

    Speech that the text lacks is in no piece. A recording that cannot be read or aligned is counted in `left_out`.
    """
    chosen = settings or CuttingSettings()
    if recording.seconds <= chosen.longest_s or not recording.words:
        yield recording
        return
    try:
        samples, _ = read_samples(recording)
        found = aligner.align(recording.words, lambda: [samples])
    except AudioFileError:
        left_out.note("unreadable audio", recording.path)
        return
    except AlignmentError:
        left_out.note("a text that does not fit its recording", recording.path)
        return
    for first, last in _pieces(found, chosen):
        words = found.words[first:last]
        spoken_ms = sum(word.end_ms - word.start_ms for word in words)
        score = sum(word.score * (word.end_ms - word.start_ms) for word in words) / max(spoken_ms, 1)
        begin = words[0].start_ms / 1000 - min(chosen.room_s, _pause_before(found, first) / 2)
        end = words[-1].end_ms / 1000 + min(chosen.room_s, _pause_before(found, last) / 2)
        if end - begin > chosen.longest_s:
            left_out.note("a stretch without a pause to cut at", recording.path)
        elif score < chosen.least_score:
            left_out.note("a stretch whose text does not fit", recording.path)
        else:
            yield replace(
                recording,
                start_s=recording.start_s + begin,
                end_s=recording.start_s + end,
                words=tuple(word.text for word in words),
            )


def _pause_before(found: Alignment, place: int) -> float:
    """Seconds of silence before word `place`; unwritten speech between two words leaves no silence."""
    start_ms = found.words[place].start_ms if place < len(found.words) else found.duration_ms
    end_ms = found.words[place - 1].end_ms if place else 0
    if any(start < start_ms and end > end_ms for start, end in found.unwritten):
        return 0.0
    return max(0, start_ms - end_ms) / 1000


def _pieces(found: Alignment, settings: CuttingSettings) -> Iterator[tuple[int, int]]:
    """Ranges of words, in order: first cut at unwritten speech, then at the longest pauses until all are short."""

    def length_s(words: tuple[TimedWord, ...]) -> float:
        return (words[-1].end_ms - words[0].start_ms) / 1000 + 2 * settings.room_s

    count = len(found.words)
    bounds = [0, *(place for place in range(1, count) if _interrupted(found, place)), count]
    waiting = list(pairwise(bounds))[::-1]
    while waiting:
        first, last = waiting.pop()
        pauses = [(_pause_before(found, place), place) for place in range(first + 1, last)]
        longest = max(pauses, default=(0.0, 0))
        if length_s(found.words[first:last]) <= settings.longest_s or longest[0] < settings.least_pause_s:
            yield first, last
        else:
            waiting += [(longest[1], last), (first, longest[1])]


def _interrupted(found: Alignment, place: int) -> bool:
    before, behind = found.words[place - 1].end_ms, found.words[place].start_ms
    return any(start >= before and end <= behind for start, end in found.unwritten)
