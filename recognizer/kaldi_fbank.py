"""Log mel filter bank energies as Kaldi, lhotse and icefall compute them, streaming, for models from elsewhere.

25 ms windows every 10 ms, centred on their step (Kaldi's ``snip_edges=false``: before the leg's first sample lies its
mirror image), mean taken off, pre-emphasis 0.97, "Povey" window, power spectrum, triangular mel filters without the
bin at half the rate, natural logarithm of at least 2^-23; no dither, no mean normalisation. Each frame is computed
from its own samples in a fixed order, so it has the same bits however the audio was cut.

Audio at 16 kHz is the leg's 8 kHz resampled: what lies above 4 kHz is empty, which a wide-band model has not seen
much of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.resample import Resampler
from recognizer.decodable import TELEPHONE_HZ

Float32 = NDArray[np.float32]

HISTORY_FRAMES: Final = 3
"""Frames behind the start of a stream that are not yet those of the whole leg: 6 ms of resampler, 7.5 of window."""
SILENCE: Final = np.float32(np.log(np.finfo(np.float32).eps))
"""Every bin of digital silence."""
_PREEMPHASIS: Final = 0.97


def _mel(hertz: Any) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


@dataclass(frozen=True)
class FbankSettings:
    """Which energies.

    Attributes
    ----------
    sample_rate_hz : int
        8000 or 16000.
    bins : int
    low_hz, high_hz : float
        Edges of the filters; `high_hz` of zero or less counts down from half the rate (lhotse: -400).
    amplitude : float
        Samples are multiplied by it: 1 as lhotse has them, 32768 as Kaldi has them.
    """

    sample_rate_hz: int = 16000
    bins: int = 80
    low_hz: float = 20.0
    high_hz: float = -400.0
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        if self.sample_rate_hz not in (8000, 16000):
            raise ValueError("Features are computed at 8000 or 16000 samples a second.")
        if not 0 <= self.low_hz < self.top_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"The mel filters would span {self.low_hz:g} to {self.top_hz:g} Hz, "
                f"which {self.sample_rate_hz} samples a second do not hold."
            )
        if not self.filters().any(axis=1).all():
            raise ValueError(f"{self.bins} mel filters are too many: some would be empty.")

    @property
    def top_hz(self) -> float:
        """Upper edge of the last filter."""
        return self.high_hz if self.high_hz > 0 else self.sample_rate_hz / 2 + self.high_hz

    @property
    def window_samples(self) -> int:
        """25 ms."""
        return self.sample_rate_hz // 40

    @property
    def shift_samples(self) -> int:
        """10 ms."""
        return self.sample_rate_hz // 100

    @property
    def fft_points(self) -> int:
        """The window's length rounded up to a power of two."""
        return 1 << (self.window_samples - 1).bit_length()

    def filters(self) -> NDArray[np.float64]:
        """Return the filters, float64[bins, fft_points / 2], over the power spectrum without its last point."""
        edges = np.linspace(_mel(self.low_hz), _mel(self.top_hz), self.bins + 2)
        places = _mel(np.arange(self.fft_points // 2) * (self.sample_rate_hz / self.fft_points))
        rising = (places - edges[:-2, None]) / np.diff(edges)[:-1, None]
        falling = (edges[2:, None] - places) / np.diff(edges)[1:, None]
        return np.maximum(0.0, np.minimum(rising, falling))


@njit(cache=True)
def _energies(samples, out, window, shift, filters, first, last, order, cosine, sine, amplitude):  # type: ignore[no-untyped-def]
    """Fill `out` (frames, bins); frame f is made of the samples from f * shift on."""
    points = len(order)
    length = len(window)
    real = np.empty(points)
    imag = np.empty(points)
    frame = np.zeros(points)
    power = np.empty(points // 2)
    floor = 1.1920928955078125e-07
    for f in range(out.shape[0]):
        start = f * shift
        mean = 0.0
        for i in range(length):
            frame[i] = samples[start + i] * amplitude
            mean += frame[i]
        mean /= length
        previous = frame[0] - mean
        for i in range(length):
            centred = frame[i] - mean
            frame[i] = (centred - _PREEMPHASIS * previous) * window[i]
            previous = centred
        for i in range(points):
            real[i] = frame[order[i]]
            imag[i] = 0.0
        span = 1
        while span < points:
            step = points // (2 * span)
            for k in range(span):
                c = cosine[k * step]
                s = -sine[k * step]
                for i in range(k, points, 2 * span):
                    j = i + span
                    r = real[j] * c - imag[j] * s
                    m = real[j] * s + imag[j] * c
                    real[j] = real[i] - r
                    imag[j] = imag[i] - m
                    real[i] += r
                    imag[i] += m
            span *= 2
        for k in range(points // 2):
            power[k] = real[k] * real[k] + imag[k] * imag[k]
        for b in range(out.shape[1]):
            energy = 0.0
            for k in range(first[b], last[b]):
                energy += power[k] * filters[b, k]
            out[f, b] = np.log(max(energy, floor))


class FbankKernel:
    """The tables of one setting; streams of all legs share it."""

    def __init__(self, settings: FbankSettings) -> None:
        self.settings = settings
        points = settings.fft_points
        self._filters = settings.filters()
        self._first = np.array([np.flatnonzero(row)[0] for row in self._filters])
        self._last = np.array([np.flatnonzero(row)[-1] + 1 for row in self._filters])
        steps = np.arange(settings.window_samples)
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * steps / (settings.window_samples - 1))) ** 0.85
        bits = points.bit_length() - 1
        self._order = np.array([int(format(i, f"0{bits}b")[::-1], 2) for i in range(points)])
        angle = 2 * np.pi * np.arange(points // 2) / points
        self._cosine, self._sine = np.cos(angle), np.sin(angle)

    def frames(self, samples: Float32) -> Float32:
        """Return the energies, float32[frames, bins], of every whole window in `samples` (float32[n])."""
        settings = self.settings
        count = max(0, (len(samples) - settings.window_samples) // settings.shift_samples + 1)
        out = np.empty((count, settings.bins), np.float32)
        if count:
            _energies(
                np.ascontiguousarray(samples),
                out,
                self._window,
                settings.shift_samples,
                self._filters,
                self._first,
                self._last,
                self._order,
                self._cosine,
                self._sine,
                settings.amplitude,
            )
        return out


class FbankStream:
    """Features of one leg from its samples at 8 kHz, the same bits under any split.

    Parameters
    ----------
    kernel : FbankKernel
    """

    def __init__(self, kernel: FbankKernel) -> None:
        self._kernel = kernel
        rate = kernel.settings.sample_rate_hz
        self._resampler: Any = Resampler(TELEPHONE_HZ, rate) if rate != TELEPHONE_HZ else None
        self._tail: Float32 = np.empty(0, np.float32)
        self._begun = False

    def accept(self, samples: Float32) -> Float32:
        """Return the frames, float32[frames, bins], that `samples` (float32[n] in [-1, 1), 8 kHz) complete.

        Raises
        ------
        ValueError
            `samples` is not a one-dimensional float32 array.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError("Samples for the features must be a one-dimensional float32 array.")
        settings = self._kernel.settings
        heard = samples if self._resampler is None else self._resampler.push(samples)
        self._tail = np.concatenate((self._tail, heard))
        before = (settings.window_samples - settings.shift_samples) // 2
        if not self._begun:
            if len(self._tail) < before:
                return np.empty((0, settings.bins), np.float32)
            self._tail = np.concatenate((self._tail[:before][::-1], self._tail))
            self._begun = True
        frames = self._kernel.frames(self._tail)
        self._tail = self._tail[len(frames) * settings.shift_samples :].copy()
        return frames
