"""Where anybody speaks: the recogniser's silence states against all others, in steps of 30 ms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.decodable import AcousticScorer

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class ActivitySettings:
    """When a frame counts as speech.

    Attributes
    ----------
    bias : float
        Log odds that are added for speech.
    change_cost : float
        What a change between speech and silence costs, in log likelihood.
    pad_frames : int
        Frames that speech goes on before and behind.
    """

    bias: float = 0.0
    change_cost: float = 2.0
    pad_frames: int = 3


def speech_frames(
    model: AcousticScorer, silence_pdfs: tuple[int, ...], blocks: Iterable[Float32], settings: ActivitySettings
) -> NDArray[np.bool_]:
    """Return bool[frames]: where anybody speaks in the samples of `blocks` (float32[n] each, 8 kHz).

    The log likelihood of speech is that of the best state of all phones, of silence that of silence's best state;
    a two-state HMM keeps the decision from flickering. Noise that the network takes for silence is none of it.
    """
    features, stream = model.features(), model.stream()
    silent = np.array(silence_pdfs)
    odds: list[NDArray[np.float32]] = []

    def told(scores: Float32) -> None:
        if len(scores):
            quiet = scores[:, silent].max(axis=1)
            scores = scores.copy()
            scores[:, silent] = -np.inf
            odds.append(scores.max(axis=1) - quiet)

    for block in blocks:
        told(stream.accept(features.accept(block)))
    told(stream.finish())
    if not odds:
        return np.zeros(0, np.bool_)
    found = _smoothed(np.concatenate(odds).astype(np.float64) + settings.bias, settings.change_cost)
    return _padded(found, settings.pad_frames)


def _padded(speech: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    wider = speech.copy()
    for by in range(1, frames + 1):
        wider[by:] |= speech[:-by]
        wider[:-by] |= speech[by:]
    return wider


@njit(cache=True)
def _smoothed(odds: Any, cost: float) -> Any:
    frames = odds.size
    came = np.zeros((frames, 2), np.bool_)
    silence, speech = 0.0, 0.0
    for t in range(frames):
        from_silence, from_speech = silence, speech
        came[t, 0] = from_speech - cost > from_silence
        came[t, 1] = from_speech >= from_silence - cost
        silence = max(from_silence, from_speech - cost)
        speech = max(from_speech, from_silence - cost) + odds[t]
    found = np.zeros(frames, np.bool_)
    speaking = speech > silence
    for t in range(frames - 1, -1, -1):
        found[t] = speaking
        speaking = came[t, 1] if speaking else came[t, 0]
    return found
