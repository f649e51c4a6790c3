"""Diarization error rate (NIST RT, ``md-eval``): the share of speaking time that was given to the wrong speaker.

Time is counted in frames of 10 ms. Missed speech, false alarms and confusion are told apart; the speakers found are
mapped to those of the reference as fits best. Overlap counts: where two speak, two have to be found. Within `collar_s`
of each bound of the reference nothing is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognizer.diarization.turns import Turn

_FRAME_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class DiarizationError:
    """Seconds of speaker time.

    Attributes
    ----------
    speech_s : float
        Of the reference, overlap counted twice.
    missed_s, false_alarm_s, confusion_s : float
    """

    speech_s: float
    missed_s: float
    false_alarm_s: float
    confusion_s: float

    @property
    def rate(self) -> float:
        """All errors over the speaking time; 0 where nobody speaks."""
        return (self.missed_s + self.false_alarm_s + self.confusion_s) / self.speech_s if self.speech_s else 0.0

    def __add__(self, other: DiarizationError) -> DiarizationError:
        return DiarizationError(
            self.speech_s + other.speech_s,
            self.missed_s + other.missed_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confusion_s + other.confusion_s,
        )


def diarization_error(
    reference: Sequence[Turn], found: Sequence[Turn], duration_s: float, collar_s: float = 0.0
) -> DiarizationError:
    """Compare `found` with `reference`; speakers may be named differently in the two.

    Raises
    ------
    ValueError
        More than four speakers are found: the best mapping is looked for by trying all.
    """
    frames = round(duration_s / _FRAME_S)
    truth, guess = _who(reference, frames), _who(found, frames)
    if len(guess) > 4 or len(truth) > 4:
        raise ValueError("The error rate is for up to four speakers.")
    side = max(len(truth), len(guess), 1)
    truth, guess = _padded(truth, side, frames), _padded(guess, side, frames)
    scored = np.ones(frames, np.bool_)
    for turn in reference:
        for bound in (turn.start_s, turn.end_s):
            scored[max(0, round((bound - collar_s) / _FRAME_S)) : round((bound + collar_s) / _FRAME_S)] = (
                collar_s <= 0
            )
    truth, guess = truth[:, scored], guess[:, scored]
    speaking, told = truth.sum(axis=0), guess.sum(axis=0)
    together = truth.astype(np.int64) @ guess.T.astype(np.int64)
    right = max(sum(int(together[i, chosen[i]]) for i in range(side)) for chosen in permutations(range(side)))
    both = np.minimum(speaking, told).sum()
    return DiarizationError(
        float(speaking.sum() * _FRAME_S),
        float(np.maximum(speaking - told, 0).sum() * _FRAME_S),
        float(np.maximum(told - speaking, 0).sum() * _FRAME_S),
        float((both - right) * _FRAME_S),
    )


def _who(turns: Sequence[Turn], frames: int) -> NDArray[np.bool_]:
    names = sorted({turn.speaker for turn in turns})
    speaking = np.zeros((len(names), frames), np.bool_)
    for turn in turns:
        speaking[names.index(turn.speaker), round(turn.start_s / _FRAME_S) : round(turn.end_s / _FRAME_S)] = True
    return speaking


def _padded(speaking: NDArray[np.bool_], side: int, frames: int) -> NDArray[np.bool_]:
    return np.concatenate((speaking, np.zeros((side - len(speaking), frames), np.bool_)))
