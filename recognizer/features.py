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
QUIET_BELOW_PEAK: Final = 5.0
"""A frame is quiet when its mean log energy lies so far below the window's loudest frame (and the prior's mean)."""
QUIET_PER_LOUD: Final = 1.5
"""Most weight of all quiet frames of the window together, relative to the loud ones.

Chosen on the development speakers, sentences of theirs 3-9 s apart: with noise at -65 dB between them 45.3 % of the
words were wrong with the plain mean and 39.0 % so (adults), 31.1 and 29.7 % at -60 dB (LibriSpeech); with digital
silence or on single sentences there is no difference beyond chance.
"""
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
def _normalise(raw, out, ring, loudness, sums, counts, place, peak, prior, deviation):  # type: ignore[no-untyped-def]
    """Fill `out`; `ring` holds the window's frames, `loudness` their mean energies, -inf where nothing was heard.

    Row 0 of `sums` and `counts` is for loud frames, row 1 for quiet ones. The float64 sums of float32 energies are
    exact (values below 32 with 2^-21 steps, 600 of them: 36 of 53 bits), so adding and taking off frames leaves no
    rounding behind, and the result does not depend on when the stream began.
    """
    frames, bins = raw.shape
    lowest_peak = np.mean(prior)
    for f in range(frames):
        old = loudness[place]
        if old > -np.inf:
            row = 0 if old > peak - QUIET_BELOW_PEAK else 1
            counts[row] -= 1
            for b in range(bins):
                sums[row, b] -= ring[place, b]
        heard = False
        total = 0.0
        for b in range(bins):
            ring[place, b] = raw[f, b]
            total += raw[f, b]
            heard = heard or raw[f, b] > _UNHEARD
        new = total / bins if heard else -np.inf
        loudness[place] = new
        now = max(peak, new)
        if old == peak and new < peak:
            now = lowest_peak
            for i in range(len(loudness)):
                now = max(now, loudness[i])
        if now != peak:
            # The line between loud and quiet has moved: sort the whole window again.
            peak = now
            counts[:] = 0
            sums[:] = 0
            for i in range(len(loudness)):
                if loudness[i] > -np.inf:
                    row = 0 if loudness[i] > peak - QUIET_BELOW_PEAK else 1
                    counts[row] += 1
                    for b in range(bins):
                        sums[row, b] += ring[i, b]
        elif heard:
            row = 0 if new > peak - QUIET_BELOW_PEAK else 1
            counts[row] += 1
            for b in range(bins):
                sums[row, b] += raw[f, b]
        place = place + 1 if place + 1 < len(ring) else 0
        most_quiet = QUIET_PER_LOUD * counts[0]
        share = 1.0 if counts[1] <= most_quiet else most_quiet / counts[1]
        weight = counts[0] + share * counts[1] + PRIOR_FRAMES
        for b in range(bins):
            mean = (sums[0, b] + share * sums[1, b] + PRIOR_FRAMES * prior[b]) / weight
            out[f, b] = (raw[f, b] - mean) / deviation[b]
    return place, peak


class MeanNormaliser:
    """Takes the mean of the last 6 s off, frame by frame; nothing of the future, nothing older.

    The network was trained on read sentences, in which pauses are short; on a call each party is silent for more
    than half of the time. So that a long silence does not become the mean (the words after it would come out far too
    loud), quiet frames together weigh at most `QUIET_PER_LOUD` times as much as the loud ones, and frames of digital
    silence (gaps, muted lines) nothing. On speech with short pauses this is the plain mean of the window.
    """

    def __init__(self, statistics: FeatureStatistics) -> None:
        self._prior = statistics.mean.astype(np.float64)
        self._deviation = statistics.deviation.astype(np.float64)
        self._ring = np.zeros((WINDOW_FRAMES, BINS), np.float32)
        self._loudness = np.full(WINDOW_FRAMES, -np.inf)
        self._sums = np.zeros((2, BINS))
        self._counts = np.zeros(2, np.int64)
        self._place = 0
        self._peak = float(self._prior.mean())

    def accept(self, raw: FeatureBlock) -> FeatureBlock:
        """Return `raw` (float32[frames, 40], following what came before) normalised."""
        out = np.empty_like(raw)
        self._place, self._peak = _normalise(
            raw,
            out,
            self._ring,
            self._loudness,
            self._sums,
            self._counts,
            self._place,
            self._peak,
            self._prior,
            self._deviation,
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
