"""Log-mel energies of 8 kHz speech, one frame every 10 ms, in a numba kernel.

The kernel computes every frame from its own 200 samples alone and in a fixed order of operations, so a frame has
the same bits however the audio was cut into pieces.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

SAMPLE_RATE: Final = 8000
FRAME_SAMPLES: Final = 200
SHIFT_SAMPLES: Final = 80
BINS: Final = 40
FLOOR: Final = math.log(100.0)
"""Value of every bin when nothing at all is heard: energies are taken plus 100, in 16-bit sample units."""

_FFT: Final = 256
_HALF: Final = _FFT // 2
_PREEMPHASIS: Final = 0.97
_LOW_HZ: Final = 100.0
_HIGH_HZ: Final = 3700.0


def _mel(hertz: Any) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0))


def mel_filters() -> NDArray[np.float64]:
    """Return the triangular filters, float64[40, 129], over the power spectrum from 0 Hz to 4 kHz."""
    edges = np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BINS + 2)
    places = _mel(np.arange(_HALF + 1) * (SAMPLE_RATE / _FFT))
    rising = (places - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - places) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def window() -> NDArray[np.float64]:
    """Return the analysis window, float64[200]: Hann to the power 0.85 (Kaldi's "Povey" window)."""
    return np.asarray(np.hanning(FRAME_SAMPLES + 1)[:FRAME_SAMPLES] ** 0.85)


def _bit_reversed(size: int) -> NDArray[np.int64]:
    bits = size.bit_length() - 1
    return np.array([int(format(i, f"0{bits}b")[::-1], 2) for i in range(size)])


_FILTERS: Final = mel_filters()
_FIRST: Final = np.array([np.flatnonzero(row)[0] for row in _FILTERS])
_LAST: Final = np.array([np.flatnonzero(row)[-1] + 1 for row in _FILTERS])
_WINDOW: Final = window()
_ORDER: Final = _bit_reversed(_HALF)
_COS: Final = np.cos(2 * np.pi * np.arange(_HALF) / _FFT)
_SIN: Final = np.sin(2 * np.pi * np.arange(_HALF) / _FFT)


@njit(cache=True)
def _log_mel(  # type: ignore[no-untyped-def]
    samples, out, window_, filters, first, last, order, cosine, sine, preemphasis
):
    """Fill `out` (frames, bins). The real FFT of 256 points is a complex one of 128, radix 2."""
    half = len(order)
    frame = np.zeros(2 * half)
    real = np.empty(half)
    imag = np.empty(half)
    power = np.empty(half + 1)
    for f in range(out.shape[0]):
        start = f * SHIFT_SAMPLES
        mean = 0.0
        for i in range(FRAME_SAMPLES):
            frame[i] = samples[start + i] * 32768.0
            mean += frame[i]
        mean /= FRAME_SAMPLES
        previous = frame[0] - mean
        for i in range(FRAME_SAMPLES):
            centred = frame[i] - mean
            frame[i] = (centred - preemphasis * previous) * window_[i]
            previous = centred
        for i in range(half):
            real[i] = frame[2 * order[i]]
            imag[i] = frame[2 * order[i] + 1]
        span = 1
        while span < half:
            step = half // span
            for k in range(span):
                c = cosine[k * step]
                s = -sine[k * step]
                for i in range(k, half, 2 * span):
                    j = i + span
                    r = real[j] * c - imag[j] * s
                    m = real[j] * s + imag[j] * c
                    real[j] = real[i] - r
                    imag[j] = imag[i] - m
                    real[i] += r
                    imag[i] += m
            span *= 2
        # Unpack the spectra of even and odd samples: X[k] = E[k] + exp(-2 pi i k / 256) O[k].
        power[0] = (real[0] + imag[0]) ** 2
        power[half] = (real[0] - imag[0]) ** 2
        for k in range(1, half):
            n = half - k
            even_r = 0.5 * (real[k] + real[n])
            even_i = 0.5 * (imag[k] - imag[n])
            odd_r = 0.5 * (imag[k] + imag[n])
            odd_i = -0.5 * (real[k] - real[n])
            xr = even_r + odd_r * cosine[k] + odd_i * sine[k]
            xi = even_i + odd_i * cosine[k] - odd_r * sine[k]
            power[k] = xr * xr + xi * xi
        for b in range(out.shape[1]):
            energy = 100.0
            for k in range(first[b], last[b]):
                energy += power[k] * filters[b, k]
            out[f, b] = math.log(energy)


def frames_in(samples: int) -> int:
    """Return how many whole frames `samples` samples hold."""
    return max(0, (samples - FRAME_SAMPLES) // SHIFT_SAMPLES + 1)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log-mel energies, float32[frames, 40], of every whole frame in `samples`.

    Parameters
    ----------
    samples : float32[n]
        In [-1, 1) at 8 kHz.

    Raises
    ------
    ValueError
        `samples` is not a one-dimensional float32 array.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError("Samples for the features must be a one-dimensional float32 array.")
    out = np.empty((frames_in(len(samples)), BINS), np.float32)
    if len(out):
        contiguous = np.ascontiguousarray(samples)
        _log_mel(contiguous, out, _WINDOW, _FILTERS, _FIRST, _LAST, _ORDER, _COS, _SIN, _PREEMPHASIS)
    return out
