"""Other speakers out of the same recording: speed (tempo, pitch and formants together) and formants alone (8 kHz)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.signal
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_HUNDREDTHS: Final = 100
_FRAME: Final = 256
_HOP: Final = 128
_CEPSTRA: Final = 26
"""Cepstral coefficients of the envelope: below the pitch period of voices up to 300 Hz (quefrency 3.3 ms)."""
_MOST_CHANGE: Final = 2.3
"""Natural log of the most by which a frequency is raised or lowered (20 dB)."""


@lru_cache(maxsize=64)
def _speed_filter(up: int, down: int) -> NDArray[np.float32]:
    """Low-pass of a polyphase resampler by up/down, sixteen zero crossings on each side."""
    most = max(up, down)
    taps = scipy.signal.firwin(32 * most + 1, 1 / most, window=("kaiser", 6.0))
    return np.asarray(taps, np.float32)


def change_speed(samples: Float32, speed: float) -> Float32:
    """Play `samples` `speed` times as fast: durations are divided by it, pitch and formants multiplied.

    `speed` counts in hundredths. What comes to lie above 4 kHz is filtered away. Kaldi's ``speed_perturb``.
    """
    down = round(speed * _HUNDREDTHS)
    if down < 1:
        raise ValueError("A speed is at least one hundredth.")
    divisor = int(np.gcd(_HUNDREDTHS, down))
    up, down = _HUNDREDTHS // divisor, down // divisor
    if up == down or not samples.size:
        return samples
    return np.asarray(scipy.signal.resample_poly(samples, up, down, window=_speed_filter(up, down)), np.float32)


def warp_formants(samples: Float32, factor: float) -> Float32:
    """Move formants to `factor` times their frequency, pitch and tempo kept: a longer or shorter vocal tract.

    Each 32 ms frame's spectrum is multiplied by the ratio of its warped to its own envelope; the envelope is the
    cepstrally smoothed magnitude, the warp piecewise linear (Lee and Rose, 1998: linear up to 3 kHz and then bent
    so that 4 kHz stays). Square-root Hann windows before and behind, half overlapped.
    """
    if factor == 1 or samples.size < _FRAME:
        return samples
    hops = -(-samples.size // _HOP) + 1
    padded = np.zeros((hops + 1) * _HOP, np.float32)
    padded[_HOP : _HOP + samples.size] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * _WINDOW
    spectra = scipy.fft.rfft(frames, axis=1)
    power = spectra.real**2 + spectra.imag**2
    cepstra = scipy.fft.irfft(np.log(power + np.float32(1e-9)), axis=1)
    # The real cepstrum is even, so its smoothed spectrum and that of the warped axis are both short cosine sums.
    change = cepstra[:, 1:_CEPSTRA] @ _warped_difference(round(factor, 3))
    np.clip(change, -_MOST_CHANGE, _MOST_CHANGE, out=change)
    spectra *= np.exp(change)
    out = np.zeros(padded.size, np.float32)
    _overlap_add(scipy.fft.irfft(spectra, axis=1) * _WINDOW, _HOP, out)
    return out[_HOP : _HOP + samples.size]


_WINDOW: Final = np.sqrt(np.hanning(_FRAME + 1)[:_FRAME]).astype(np.float32)


@lru_cache(maxsize=512)
def _warped_difference(factor: float) -> Float32:
    """float32[_CEPSTRA - 1, bins]: cepstra times this is half the log power of the warped less the own envelope."""
    bins = np.arange(_FRAME // 2 + 1) / (_FRAME / 2)
    knee = 0.75 / max(factor, 1.0)
    # What is heard at `bins` was at `source` before the warp.
    source = np.interp(bins, [0.0, knee * factor, 1.0], [0.0, knee, 1.0])
    order = np.arange(1, _CEPSTRA)[:, None]
    return np.asarray(np.cos(np.pi * order * source) - np.cos(np.pi * order * bins), np.float32)


@njit(cache=True)
def _overlap_add(frames: Any, hop: int, out: Any) -> None:
    for f in range(frames.shape[0]):
        begin = f * hop
        for k in range(frames.shape[1]):
            out[begin + k] += frames[f, k]
