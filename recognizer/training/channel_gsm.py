"""Speech as a GSM full-rate codec leaves it: regular pulse excitation with long-term prediction (ETSI EN 300 961).

The structure of GSM 06.10 in floating point: pre-emphasis, eight reflection coefficients quantised as log area
ratios with its step sizes, long-term lags of 40-120 with four gains, every third residual sample in three bits with a
six-bit block maximum, the synthesis the reverse. It is *like* the codec, not bit-exact to it: coefficients are not
interpolated within a frame, and nothing saturates. That is what training needs, the codec's kind of noise.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_FRAME: Final = 160
_SUBFRAME: Final = 40
_ORDER: Final = 8
_LEAST_LAG: Final = 40
_MOST_LAG: Final = 120
_EMPHASIS: Final = np.float32(0.86)
# EN 300 961 table 3.1: quantised log area ratio = nint(A * LAR + B) within [least, most].
_LAR_A: Final = np.array([20.0, 20.0, 20.0, 20.0, 13.637, 15.0, 8.334, 8.824], np.float32)
_LAR_B: Final = np.array([0.0, 0.0, 4.0, -5.0, 0.184, -3.5, -0.666, -2.235], np.float32)
_LAR_LEAST: Final = np.array([-32, -32, -16, -16, -8, -8, -4, -4], np.float32)
_LAR_MOST: Final = np.array([31, 31, 15, 15, 7, 7, 3, 3], np.float32)
_GAINS: Final = np.array([0.1, 0.35, 0.65, 1.0], np.float32)
_GAIN_LIMITS: Final = np.array([0.2, 0.5, 0.8], np.float32)
# Impulse response of the weighting filter before the pulses are chosen (its table 4.4, over 2^13).
_WEIGHTING: Final = np.array(
    [-0.016357, -0.045654, 0.0, 0.250732, 0.700806, 1.0, 0.700806, 0.250732, 0.0, -0.045654, -0.016357], np.float32
)


def gsm_like(samples: Float32) -> Float32:
    """Return float32[n] (8 kHz, [-1, 1)) as after GSM full-rate coding; the last part frame is padded with zeros.

    The recursion starts at rest. No delay.
    """
    frames = -(-samples.size // _FRAME)
    coded = np.zeros(frames * _FRAME, np.float32)
    coded[: samples.size] = samples
    _code(coded, _LAR_A, _LAR_B, _LAR_LEAST, _LAR_MOST, _GAINS, _GAIN_LIMITS, _WEIGHTING)
    return coded[: samples.size]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _reflection_coefficients(frame: Any, out: Any) -> None:
    """Schur's recursion on the autocorrelation; `out` gets coefficients within (-1, 1), zero for silence."""
    correlation = np.zeros(_ORDER + 1, np.float32)
    for lag in range(_ORDER + 1):
        total = np.float32(0)
        early = frame[: frame.size - lag]
        late = frame[lag:]
        for i in range(early.size):
            total += early[i] * late[i]
        correlation[lag] = total
    out[:] = 0
    if correlation[0] < 1e-10:
        return
    forward = correlation.copy()
    backward = correlation.copy()
    for k in range(1, _ORDER + 1):
        if backward[0] <= abs(forward[k]):
            return
        r = -forward[k] / backward[0]
        out[k - 1] = r
        # forward[i] pairs with backward[i - k]; keep both in place.
        for i in range(k, _ORDER + 1):
            f = forward[i]
            b = backward[i - k]
            forward[i] = f + r * b
            backward[i - k] = b + r * f


@njit(cache=True)
def _quantise_coefficients(coefficients: Any, a: Any, b: Any, least: Any, most: Any) -> None:
    for i in range(_ORDER):
        r = min(max(coefficients[i], np.float32(-0.9999)), np.float32(0.9999))
        ratio = np.log10((1 + r) / (1 - r))
        code = min(max(np.rint(a[i] * ratio + b[i]), least[i]), most[i])
        power = np.float32(10) ** np.float32((code - b[i]) / a[i])
        coefficients[i] = (power - 1) / (power + 1)


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _long_term(residual: Any, past: Any, gains: Any, limits: Any) -> Any:
    """Lag and gain by which the past residual predicts this subframe best."""
    lag, most = _LEAST_LAG, np.float32(-1)
    end = past.size
    for candidate in range(_LEAST_LAG, _MOST_LAG + 1):
        earlier = past[end - candidate : end - candidate + _SUBFRAME]
        total = np.float32(0)
        for i in range(_SUBFRAME):
            total += residual[i] * earlier[i]
        if total > most:
            lag, most = candidate, total
    earlier = past[end - lag : end - lag + _SUBFRAME]
    energy = np.float32(0)
    for i in range(_SUBFRAME):
        energy += earlier[i] * earlier[i]
    gain = gains[0]
    for i in range(limits.size):
        if most > limits[i] * energy:
            gain = gains[i + 1]
    return lag, gain


@njit(cache=True)
def _quantise_pulses(error: Any, weighting: Any) -> None:
    """Replace the prediction error by its 13 pulses: the best grid of every third sample, in three bits each."""
    weighted = np.zeros(_SUBFRAME, np.float32)
    for i in range(_SUBFRAME):
        for k in range(weighting.size):
            j = i + 5 - k
            if 0 <= j < _SUBFRAME:
                weighted[i] += weighting[k] * error[j]
    grid, most = 0, np.float32(-1)
    for offset in range(4):
        energy = np.float32(0)
        for i in range(13):
            energy += weighted[offset + 3 * i] ** 2
        if energy > most:
            grid, most = offset, energy
    peak = np.float32(0)
    for i in range(13):
        peak = max(peak, abs(weighted[grid + 3 * i]))
    error[:] = 0
    if peak <= 0:
        return
    # Six bits for the block maximum: 8 steps an octave, as the codec's table has it, from 31 of 32,768 on.
    step = np.float32(31.0 / 32768.0)
    if peak > 16 * step:
        octave = np.floor(np.log2(peak / step))
        unit = step * np.float32(2.0) ** (octave - 3)
    else:
        unit = step
    peak = np.ceil(peak / unit) * unit
    for i in range(13):
        level = np.floor(weighted[grid + 3 * i] / peak * 4)
        level = min(max(level, -4.0), 3.0)
        error[grid + 3 * i] = np.float32((level + 0.5) / 4) * peak


@njit(cache=True)
def _code(samples: Any, a: Any, b: Any, least: Any, most: Any, gains: Any, limits: Any, weighting: Any) -> None:
    before = np.float32(0)
    after = np.float32(0)
    analysis = np.zeros(_ORDER, np.float32)
    synthesis = np.zeros(_ORDER + 1, np.float32)
    past = np.zeros(_MOST_LAG, np.float32)
    coefficients = np.zeros(_ORDER, np.float32)
    frame = np.empty(_FRAME, np.float32)
    error = np.empty(_SUBFRAME, np.float32)
    for begin in range(0, samples.size, _FRAME):
        for i in range(_FRAME):
            now = samples[begin + i]
            frame[i] = now - _EMPHASIS * before
            before = now
        _reflection_coefficients(frame, coefficients)
        _quantise_coefficients(coefficients, a, b, least, most)
        for i in range(_FRAME):
            # Lattice analysis: d is the forward, u the backward error.
            d = frame[i]
            u = d
            for k in range(_ORDER):
                earlier = analysis[k]
                analysis[k] = u
                u = earlier + coefficients[k] * d
                d = d + coefficients[k] * earlier
            frame[i] = d
        for sub in range(0, _FRAME, _SUBFRAME):
            lag, gain = _long_term(frame[sub : sub + _SUBFRAME], past, gains, limits)
            for i in range(_SUBFRAME):
                error[i] = frame[sub + i] - gain * past[_MOST_LAG - lag + i]
            _quantise_pulses(error, weighting)
            for i in range(_SUBFRAME):
                error[i] += gain * past[_MOST_LAG - lag + i]
            past[: _MOST_LAG - _SUBFRAME] = past[_SUBFRAME:].copy()
            past[_MOST_LAG - _SUBFRAME :] = error
            for i in range(_SUBFRAME):
                d = error[i]
                for k in range(_ORDER - 1, -1, -1):
                    d = d - coefficients[k] * synthesis[k]
                    synthesis[k + 1] = synthesis[k] + coefficients[k] * d
                synthesis[0] = d
                after = d + _EMPHASIS * after
                samples[begin + sub + i] = after
