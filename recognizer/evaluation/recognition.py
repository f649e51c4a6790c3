"""What a system made of one recording: its words, and how long people had to wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from events.transcript import Word
from recognizer.lattice import Lattice
from recognizer.session import Utterance

_SAME_TIME_MS = 500
"""A partial's word times are rough; the same word this near the final one's start is the same word."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Delays of one recording in milliseconds; audio time counts the audio that had to be heard first.

    Attributes
    ----------
    final_audio : tuple of float
        Per final utterance that an endpoint ended: from the end of its last word to its being told. The endpoint's
        silence is the greater part. Utterances that the end of the recording ended do not count.
    final_compute : tuple of float
        Processor time of the piece of audio that told the utterance.
    shown_audio : tuple of float
        Per word of all finals: from the word's end to its first appearance, right, in a partial (or in the final).
    shown_compute : tuple of float
        Processor time of the piece of audio that showed it.
    silence : tuple of float
        Per final utterance that silence ended: from the end of its last word to what the search had reached when it
        found the end. That much of `final_audio` is the endpoint's wait; the rest is what the network looks ahead
        and how the audio comes in pieces.
    """

    final_audio: tuple[float, ...] = ()
    final_compute: tuple[float, ...] = ()
    shown_audio: tuple[float, ...] = ()
    shown_compute: tuple[float, ...] = ()
    silence: tuple[float, ...] = ()

    def __add__(self, other: Waits) -> Waits:
        return Waits(*(getattr(self, name) + getattr(other, name) for name in Waits.__slots__))


@dataclass(frozen=True, slots=True)
class Recognition:
    """Words of one recording.

    Attributes
    ----------
    words : tuple of str
    confidences : tuple of float
        One per word, or empty where the system tells none.
    waits : Waits
    lattices : tuple of Lattice
        Of its utterances, where they were asked for; `lattice_words` is what their word numbers mean.
    """

    words: tuple[str, ...]
    confidences: tuple[float, ...] = ()
    waits: Waits = field(default_factory=Waits)
    lattices: tuple[Lattice, ...] = ()
    lattice_words: Sequence[str] = ()

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Telling:
    """An utterance with the moment in which it was told."""

    utterance: Utterance
    heard_ms: float
    """Audio time that had been heard."""
    compute_ms: float
    """Processor time of the piece that told it."""


def waits_of(partials: Sequence[Telling], final: Telling, at_end: bool) -> Waits:
    """Return the delays of one final utterance.

    Parameters
    ----------
    partials : sequence of Telling
        Those told before it under the same name, in order.
    final : Telling
    at_end : bool
        The end of the recording ended it.
    """
    words = final.utterance.words
    shown = [_first_shown(word, (*partials, final)) for word in words]
    waits = Waits(
        shown_audio=tuple(telling.heard_ms - word.end_ms for telling, word in zip(shown, words, strict=True)),
        shown_compute=tuple(telling.compute_ms for telling in shown),
    )
    if at_end:
        return waits
    decided_ms = final.utterance.decided_ms
    silence = () if decided_ms is None else (float(decided_ms - words[-1].end_ms),)
    return waits + Waits((final.heard_ms - words[-1].end_ms,), (final.compute_ms,), silence=silence)


def _first_shown(word: Word, tellings: Sequence[Telling]) -> Telling:
    for telling in tellings:
        for shown in telling.utterance.words:
            if shown.text == word.text and abs(shown.start_ms - word.start_ms) <= _SAME_TIME_MS:
                return telling
    return tellings[-1]
