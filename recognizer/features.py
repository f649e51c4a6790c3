"""Audio to normalised features, streaming: a ``FeatureBlock`` is float32[frames, 40], one frame every 10 ms.

Each frame's log-mel energies (:mod:`recognizer.log_mel`) have the leg's recent mean taken off: the mean over the
last 6 s heard so far, with the training data's mean as 0.6 s of prior, so that level and line are forgotten and a
leg's first word is not scored against nothing. Kaldi's ``OnlineCmvn`` is of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.log_mel import BINS, FLOOR, FRAME_SAMPLES, SHIFT_SAMPLES, frames_in, log_mel

FeatureBlock = NDArray[np.float32]

WINDOW_FRAMES: Final = 600
"""Frames that a mean reaches back, its own included: what a stream started in mid-call has to hear before."""
PRIOR_FRAMES: Final = 60
_UNHEARD: Final = np.float32(FLOOR + 0.1)


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and deviation of the training data's log-mel energies, float32[40] each."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.mean.shape != (BINS,) or self.deviation.shape != (BINS,):
            raise ValueError(f"Feature statistics hold {BINS} means and {BINS} deviations.")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all() and self.deviation.min() > 0):
            raise ValueError("Feature statistics are finite, with deviations above zero.")


@njit(cache=True)
def _normalise(raw, out, ring, sums, place, counted, prior, deviation, prior_frames, unheard):  # type: ignore[no-untyped-def]
    """Fill `out`; `ring` holds the window's frames, NaN in column 0 where a frame does not count.

    The float64 sums of float32 energies are exact (values below 32 with 2^-21 steps, 600 of them: 36 of 53 bits),
    so adding and taking off frames leaves no rounding behind, and the result does not depend on when it began.
    """
    frames, bins = raw.shape
    for f in range(frames):
        old = ring[place]
        if not np.isnan(old[0]):
            counted -= 1
            for b in range(bins):
                sums[b] -= old[b]
        heard = False
        for b in range(bins):
            if raw[f, b] > unheard:
                heard = True
            old[b] = raw[f, b]
        if heard:
            counted += 1
            for b in range(bins):
                sums[b] += raw[f, b]
        else:
            old[0] = np.nan
        place = place + 1 if place + 1 < len(ring) else 0
        weight = counted + prior_frames
        for b in range(bins):
            out[f, b] = (raw[f, b] - (sums[b] + prior_frames * prior[b]) / weight) / deviation[b]
    return place, counted


class MeanNormaliser:
    """Takes the mean of the last 6 s off, frame by frame; nothing of the future, nothing older.

    Frames of digital silence (gaps, muted lines) tell nothing about the line: they take their place in the window
    but do not count. Without this a leg that was muted for some seconds would be normalised by the mean of
    nothing, and its next words would come out far too loud.
    """

    def __init__(self, statistics: FeatureStatistics) -> None:
        self._prior = statistics.mean.astype(np.float64)
        self._deviation = statistics.deviation.astype(np.float64)
        self._ring = np.full((WINDOW_FRAMES, BINS), np.nan, np.float32)
        self._sums = np.zeros(BINS)
        self._place = 0
        self._counted = 0

    def accept(self, raw: FeatureBlock) -> FeatureBlock:
        """Return `raw` (float32[frames, 40], following what came before) normalised."""
        out = np.empty_like(raw)
        self._place, self._counted = _normalise(
            raw,
            out,
            self._ring,
            self._sums,
            self._place,
            self._counted,
            self._prior,
            self._deviation,
            PRIOR_FRAMES,
            _UNHEARD,
        )
        return out


class FeatureStream:
    """Features of one leg; equal to those of the whole audio at once, bit for bit, under any split."""

    def __init__(self, statistics: FeatureStatistics) -> None:
        self._normaliser = MeanNormaliser(statistics)
        self._tail = np.empty(0, np.float32)
        self.frames = 0
        """Frames given back so far."""

    def accept(self, samples: NDArray[np.float32]) -> FeatureBlock:
        """Return the frames that `samples` (float32[n] in [-1, 1), 8 kHz) complete; there may be none.

        Raises
        ------
        ValueError
            `samples` is not a one-dimensional float32 array.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError("Samples for the features must be a one-dimensional float32 array.")
        heard = np.concatenate((self._tail, samples))
        frames = frames_in(len(heard))
        block = self._normaliser.accept(
            log_mel(heard[: frames and frames * SHIFT_SAMPLES + FRAME_SAMPLES - SHIFT_SAMPLES])
        )
        self._tail = heard[frames * SHIFT_SAMPLES :].copy()
        self.frames += frames
        return block
