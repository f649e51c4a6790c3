"""The numerator of LF-MMI: the phones that were said, each near the time at which the alignment has it.

A chunk of an utterance is a linear chain of phones; each may be entered some frames earlier or later than aligned
(Kaldi's tolerance), which is all the freedom that the network has to place its spikes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Transcript:
    """Phones of an utterance at the network's frame rate.

    Attributes
    ----------
    leaf : int32[phones]
        Leaf of each phone in its left context.
    start : int32[phones]
        Frame in which it is entered, strictly increasing from 0.
    frames : int
        Frames of the utterance.
    """

    leaf: Int32
    start: Int32
    frames: int

    @classmethod
    def of(cls, leaf: Int32, start: NDArray[np.floating | np.integer], frames: int) -> Transcript:
        """Bring aligned starts (in frames, fractions allowed) onto distinct frames; what does not fit is cut off."""
        whole = np.floor(np.asarray(start, np.float64) + 0.5).astype(np.int32)
        whole[0] = 0
        steps = np.arange(len(whole), dtype=np.int32)
        whole = np.maximum.accumulate(whole - steps).astype(np.int32) + steps
        kept = max(1, int(np.searchsorted(whole, frames)))
        return cls(leaf[:kept].astype(np.int32), whole[:kept], frames)

    def chunk(self, first: int, frames: int, early: int, late: int) -> Chunk:
        """Return the phones of the frames from `first` on, with their windows.

        Parameters
        ----------
        first, frames : int
        early, late : int
            How many frames before and after its aligned start a phone may be entered.
        """
        end = min(first + frames, self.frames)
        begin = max(0, int(np.searchsorted(self.start, first, "right")) - 1)
        stop = int(np.searchsorted(self.start, end, "left"))
        start = self.start[begin:stop] - first
        return Chunk(
            self.leaf[begin:stop],
            np.maximum(start - early, 0).astype(np.int32),
            np.minimum(start + late, frames - 1).astype(np.int32),
            bool(start[0] < 0),
        )


@dataclass(frozen=True)
class Chunk:
    """A linear chain: per phone its leaf and the first and last frame in which it may be entered.

    `inside`: the first phone was entered before the chunk begins.
    """

    leaf: Int32
    earliest: Int32
    latest: Int32
    inside: bool


def subtract_posteriors(
    likelihoods: Float32, lane: int, chunk: Chunk, self_loop: NDArray[np.float64], posteriors: Float32
) -> float:
    """Subtract the posteriors of a chunk's outputs from one lane of `posteriors`.

    Parameters
    ----------
    likelihoods, posteriors : float32[frames, pdfs, LANES]
        As for :meth:`recognizer.training.denominator.Denominator.add_posteriors`.
    lane : int
    chunk : Chunk
    self_loop : float64[leaves]

    Returns
    -------
    float
        Log probability of the chain, or NaN, with nothing subtracted, if it does not fit into the frames.
    """
    value: float = _forward_backward(
        likelihoods, lane, chunk.leaf, chunk.earliest, chunk.latest, chunk.inside, self_loop, posteriors
    )
    return value


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"}, nogil=True, boundscheck=False)
def _forward_backward(x, lane, leaf, earliest, latest, inside, stay, posteriors):  # type: ignore[no-untyped-def]
    frames = x.shape[0]
    phones = len(leaf)
    alpha = np.zeros((frames, phones))
    entered = np.zeros((frames, phones))
    scale = np.ones(frames)
    lowest = np.empty(frames, np.int64)
    highest = np.empty(frames, np.int64)
    log_probability = 0.0
    low = high = 0
    for t in range(frames):
        while high + 1 < phones and earliest[high + 1] <= t:
            high += 1
        while low + 1 < phones and latest[low + 1] < t:
            low += 1
        lowest[t] = low
        highest[t] = high
        total = 0.0
        for j in range(low, high + 1):
            entering = 0.0
            if t == 0:
                if j == 0 and not inside:
                    entering = 1.0
            elif j > 0 and earliest[j] <= t <= latest[j]:
                entering = alpha[t - 1, j - 1] * (1 - stay[leaf[j - 1]])
            entering *= x[t, 2 * leaf[j], lane]
            staying = 0.0
            if t > 0:
                staying = alpha[t - 1, j] * stay[leaf[j]]
            elif j == 0 and inside:
                staying = 1.0
            entered[t, j] = entering
            alpha[t, j] = entering + staying * x[t, 2 * leaf[j] + 1, lane]
            total += alpha[t, j]
        if not total > 0.0:
            return np.nan
        log_probability += np.log(total)
        scale[t] = 1.0 / total
        for j in range(low, high + 1):
            alpha[t, j] *= scale[t]
            entered[t, j] *= scale[t]
    ended = alpha[frames - 1, phones - 1]
    if not ended > 0.0:
        return np.nan
    log_probability += np.log(ended)
    beta = np.zeros(phones + 1)
    beta[phones - 1] = 1.0
    for t in range(frames - 1, -1, -1):
        total = 0.0
        for j in range(lowest[t], highest[t] + 1):
            total += alpha[t, j] * beta[j]
        for j in range(lowest[t], highest[t] + 1):
            first = entered[t, j] * beta[j] / total
            posteriors[t, 2 * leaf[j], lane] -= first
            posteriors[t, 2 * leaf[j] + 1, lane] -= alpha[t, j] * beta[j] / total - first
        if t > 0:
            for j in range(lowest[t - 1], highest[t] + 1):
                value = beta[j] * stay[leaf[j]] * x[t, 2 * leaf[j] + 1, lane]
                if j + 1 < phones and earliest[j + 1] <= t <= latest[j + 1]:
                    value += beta[j + 1] * (1 - stay[leaf[j]]) * x[t, 2 * leaf[j + 1], lane]
                beta[j] = value * scale[t]
    return log_probability
