"""Streaming resampler between 8 kHz and the rates of recordings and wide-band codecs.

A polyphase filter with a Kaiser-windowed sinc prototype (Crochiere and Rabiner, 1983; Kaiser 1974), linear
phase. One of the two rates is always 8 kHz, so one band plan serves all: flat up to 3.4 kHz, the edge of the
telephone band, and stopped from 4 kHz, so that nothing folds back into the band or is mirrored out of it.

Delay: none on the timeline, at most 6 ms in waiting. Output sample m lies at the moment m / rate_out exactly,
because the filter's group delay is taken out; for that the resampler has to have heard 6 ms beyond the moment.
"""

from __future__ import annotations

from math import ceil, gcd
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

TELEPHONE_RATE: Final = 8000
RATES: Final = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)

_PASS_HZ: Final = 3400
_STOP_HZ: Final = 4000
_STOP_DB: Final = 106.0
_LANES: Final = 16


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _four_outputs_a_time(x: Any, row: Any, first: int, step: int, out: Any) -> None:
    """For one phase: four windows share each load of the taps. All outputs go this way, so that no output's sum depends
    on how many were asked for; the last windows may read the slack behind the samples, for nothing."""
    length = row.size
    for m in range(0, out.size, 4):
        # Slicing first and then counting from zero is what lets LLVM use vectors: x[first + k] is 11 times
        # slower, because numba has to ask at every access whether the index is negative.
        window_a = x[first : first + length]
        window_b = x[first + step : first + step + length]
        window_c = x[first + 2 * step : first + 2 * step + length]
        window_d = x[first + 3 * step : first + 3 * step + length]
        a = b = c = d = np.float32(0)
        for k in range(length):
            tap = row[k]
            a += tap * window_a[k]
            b += tap * window_b[k]
            c += tap * window_c[k]
            d += tap * window_d[k]
        out[m] = a
        if m + 1 < out.size:
            out[m + 1] = b
        if m + 2 < out.size:
            out[m + 2] = c
        if m + 3 < out.size:
            out[m + 3] = d
        first += 4 * step


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _one_output_a_time(x: Any, taps: Any, first: int, phase: int, step: int, phase_step: int, out: Any) -> None:
    phases, length = taps.shape
    for m in range(out.size):
        window = x[first : first + length]
        row = taps[phase]
        total = np.float32(0)
        for k in range(length):
            total += row[k] * window[k]
        out[m] = total
        first += step
        phase += phase_step
        if phase >= phases:
            phase -= phases
            first += 1


@njit(cache=True)
def _advance(
    buffer: Any, held: int, samples: Any, taps: Any, first: int, phase: int, step: int, keep_from: int, out: Any
) -> None:
    """Append the samples, make the outputs, move what is still needed to the front: one call a chunk."""
    for i in range(samples.size):
        buffer[held + i] = samples[i]
    phases = taps.shape[0]
    if phases == 1:
        _four_outputs_a_time(buffer, taps[0], first, step, out)
    else:
        _one_output_a_time(buffer, taps, first, phase, step // phases, step % phases, out)
    for i in range(held + samples.size - keep_from):
        buffer[i] = buffer[keep_from + i]


def design(rate_in: int, rate_out: int) -> Float32:
    """Return the polyphase filter, float32[phases, taps]; row p serves outputs p / phases behind an input sample.

    Raises
    ------
    ValueError
        Neither rate is 8 kHz, or a rate is not one of `RATES`.
    """
    if rate_in not in RATES or rate_out not in RATES or TELEPHONE_RATE not in (rate_in, rate_out):
        raise ValueError(f"Audio cannot be resampled from {rate_in} to {rate_out} samples a second.")
    phases = rate_out // gcd(rate_in, rate_out)
    transition = 2 * np.pi * (_STOP_HZ - _PASS_HZ) / rate_in
    half = ceil((_STOP_DB - 7.95) / (2.285 * transition) / 2)
    length = ceil(2 * half / _LANES) * _LANES
    half = length // 2
    behind = np.arange(phases)[:, None] / phases + half - 1 - np.arange(length)[None, :]
    bandwidth = (_PASS_HZ + _STOP_HZ) / rate_in
    inside = np.maximum(0, 1 - (behind / half) ** 2)
    window = np.i0(0.1102 * (_STOP_DB - 8.7) * np.sqrt(inside)) * (inside > 0)
    taps = np.sinc(bandwidth * behind) * window
    scaled: Float32 = (taps * (phases / taps.sum())).astype(np.float32)
    return scaled


_designs: dict[tuple[int, int], Float32] = {}


def _design_once(rate_in: int, rate_out: int) -> Float32:
    taps = _designs.get((rate_in, rate_out))
    if taps is None:
        taps = _designs[rate_in, rate_out] = design(rate_in, rate_out)
    return taps


def resample(samples: Float32, rate_in: int, rate_out: int = TELEPHONE_RATE) -> Float32:
    """Return a whole recording at another rate: float32[ceil(n * rate_out / rate_in)]; see `Resampler`."""
    resampler = Resampler(rate_in, rate_out)
    return np.concatenate((resampler.push(samples), resampler.finish()))


class Resampler:
    """One leg's resampler. What it gives back is the same, bit for bit, however the input is split.

    Parameters
    ----------
    rate_in, rate_out
        Of `RATES`; one of them is 8,000. Equal rates pass samples through.
    first_sample
        Number of the first input sample on the call's timeline (counted at `rate_in`). Output samples lie on
        the timeline's own grid, so the first one is the first at or after this moment. Before it is silence.

    Raises
    ------
    ValueError
        The rates do not serve.
    """

    def __init__(self, rate_in: int, rate_out: int = TELEPHONE_RATE, first_sample: int = 0) -> None:
        self._taps = _design_once(rate_in, rate_out)
        common = gcd(rate_in, rate_out)
        self._phases = rate_out // common
        self._step = rate_in // common
        self._half = self._taps.shape[1] // 2
        self._end = first_sample
        self._next = -(-first_sample * self._phases // self._step)
        # What is still needed of the input, `_held` samples that end where the input ends.
        first_window = self._next * self._step // self._phases - self._half + 1
        self._held = first_sample - first_window if self._step != self._phases else 0
        self._slack = 4 * self._step + self._taps.shape[1]
        self._buffer = np.zeros(max(self._held, 1) + self._slack + 4096, np.float32)

    @property
    def next_sample(self) -> int:
        """Number on the timeline (counted at `rate_out`) of the next sample to be given back."""
        return self._next

    def push(self, samples: Float32) -> Float32:
        """Take float32[n] and give back float32[m], the samples that can be told now.

        Raises
        ------
        ValueError
            `samples` is not one-dimensional float32.
        """
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise ValueError("A resampler takes one-dimensional float32 samples.")
        step, phases = self._step, self._phases
        if step == phases:
            self._end += samples.size
            self._next = self._end
            return samples.copy()
        held = self._held + samples.size
        if held + self._slack > self._buffer.size:
            grown = np.zeros(2 * (held + self._slack), np.float32)
            grown[: self._held] = self._buffer[: self._held]
            self._buffer = grown
        origin = self._end - self._held
        self._end += samples.size
        until = max(self._next, (phases * (self._end - self._half) - 1) // step + 1)
        first, phase = divmod(self._next * step, phases)
        first_kept = until * step // phases - self._half + 1 - origin
        out = np.empty(until - self._next, np.float32)
        first_window = first - self._half + 1 - origin
        _advance(self._buffer, self._held, samples, self._taps, first_window, phase, step, first_kept, out)
        self._held = held - first_kept
        self._next = until
        return out

    def finish(self) -> Float32:
        """Give back what is left, as if silence followed: every output moment before the end of the input.

        Nothing may be pushed after this.
        """
        if self._step == self._phases:
            return np.empty(0, np.float32)
        due = -(-self._end * self._phases // self._step) - self._next
        rest = self.push(np.zeros(self._half + 1, np.float32))
        return rest[:due]
