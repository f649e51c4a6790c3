"""A second recogniser, of another make, that hears again what the first was not sure of.

Two recognisers that were trained on other speech err elsewhere, so one may be right where the other guesses. Nothing
of the other is known here but :class:`SecondRecogniser`; which one it is, a site chooses. It gets an utterance's
samples whole, from one endpoint to the next, and nothing of what was before, so that it says the same to a successor.

Its confidences are its own and not calibrated against ours: the margin by which they must be higher is to be tried
out on a site's speech (``python -m recognizer.evaluation --variant second_recogniser.margin=0.2``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from events import metrics
from events.transcript import Word

_log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]


class SecondRecogniserError(ValueError):
    """The second recogniser cannot be used; one sentence says why."""


class SecondRecogniser(Protocol):
    """What is asked of a second recogniser."""

    def words(self, samples: Float32, first_sample: int) -> tuple[Word, ...]:
        """Return the words of one utterance: the same for the same samples, whatever was asked before.

        Parameters
        ----------
        samples : float32[n]
            In [-1, 1) at 8 kHz.
        first_sample : int
            Call time of the first, at 8 kHz.

        Returns
        -------
        tuple of Word
            In order, with call times in ms and confidences in 0 to 1.
        """


@dataclass(frozen=True)
class SecondRecogniserSettings:
    """Whether there is a second recogniser, and when it is asked and believed.

    Attributes
    ----------
    kind : str
        ``none``, or ``vosk`` (extra ``vosk``).
    model : Path, optional
        The folder of its model. It is trusted as a program is.
    below_confidence : float
        Utterances whose words' mean confidence is below it are heard again; 1: all.
    margin : float
        How much higher the mean confidence of its words must be for them to be taken.
    """

    kind: Literal["none", "vosk"] = "none"
    model: Path | None = None
    below_confidence: float = 0.6
    margin: float = 0.1

    def __post_init__(self) -> None:
        if self.kind != "none" and self.model is None:
            raise ValueError("A second recogniser needs the folder of its model, the setting model.")
        if not (0 <= self.below_confidence <= 1 and 0 <= self.margin <= 1):
            raise ValueError("The second recogniser's confidence and margin must lie in 0 to 1.")

    def wanted(self, words: Sequence[Word]) -> bool:
        """Whether an utterance of these words, with confidences, is heard again."""
        return bool(words) and (_mean(words) < self.below_confidence or self.below_confidence == 1)


def open_second_recogniser(settings: SecondRecogniserSettings) -> SecondRecogniser | None:
    """Return the recogniser that `settings` want, if any.

    Raises
    ------
    SecondRecogniserError
        It is not installed, or its model cannot be used.
    """
    if settings.kind == "none" or settings.model is None:
        return None
    from recognizer.vosk_recogniser import VoskRecogniser

    return VoskRecogniser(settings.model)


def second_opinion(
    words: tuple[Word, ...],
    other: SecondRecogniser,
    settings: SecondRecogniserSettings,
    samples: Float32,
    first_sample: int,
    earliest_ms: int,
) -> tuple[Word, ...]:
    """Return the second recogniser's words if it is surer of them by the margin; else `words`.

    Parameters
    ----------
    words : tuple of Word
        The first recogniser's, with confidences.
    other : SecondRecogniser
        Whatever it does wrong costs nothing but its opinion.
    settings : SecondRecogniserSettings
    samples : float32[n]
        The utterance, 8 kHz.
    first_sample : int
    earliest_ms : int
        No word begins before this call time, of which all was told.
    """
    latest_ms = (first_sample + len(samples)) // 8
    try:
        heard = _placed(other.words(samples, first_sample), earliest_ms, latest_ms)
    except Exception as error:
        # Only the type: its text may quote what was said.
        _log.warning("The second recogniser failed on an utterance (%s).", type(error).__name__)
        metrics.count(metrics.SECOND_OPINIONS, outcome="failed")
        return words
    taken = bool(heard) and _mean(heard) >= _mean(words) + settings.margin
    metrics.count(metrics.SECOND_OPINIONS, outcome="taken" if taken else "kept")
    return heard if taken else words


def _mean(words: Sequence[Word]) -> float:
    return sum(word.confidence for word in words) / len(words)


def _placed(words: Sequence[Word], earliest_ms: int, latest_ms: int) -> tuple[Word, ...]:
    """Return the words within the utterance and in order, whatever their times were."""
    placed, before = [], min(earliest_ms, latest_ms)
    for word in words:
        text = word.text.strip().lower()  # as ours are
        if not text or not math.isfinite(word.confidence):
            continue
        start = min(max(before, word.start_ms), latest_ms)
        before = min(max(start, word.end_ms), latest_ms)
        confidence = round(min(max(word.confidence, 0.0), 1.0), 4)
        placed.append(Word(text, start, before, confidence))
    return tuple(placed)
