"""Ranges of samples hidden under a tone or silence, in place, and the overview of a waveform.

Ranges are sample-addressed and absolute on the call's timeline, so a recording may be worked on window by window
and comes out as if it had been whole. What lies outside the ranges is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Ranges = NDArray[np.int64]


@njit(cache=True)
def _hide(samples: Any, first: int, ranges: Any, tone: Any, ramp: Any) -> None:
    for k in range(ranges.shape[0]):
        start = ranges[k, 0]
        end = ranges[k, 1]
        edge = min(ramp.size, (end - start) // 4)
        for i in range(max(start - first, 0), min(end - first, samples.size)):
            position = first + i
            inside = min(position - start, end - 1 - position)
            cover = tone[position % tone.size]
            if inside >= edge:
                samples[i] = cover
            else:
                share = ramp[inside * ramp.size // edge]
                samples[i] = np.int16(np.rint(samples[i] * (np.float32(1) - share) + cover * share))


@njit(cache=True)
def _raise_peaks(samples: Any, first: int, bucket: int, peaks: Any) -> None:
    for i in range(samples.size):
        at = (first + i) // bucket
        level = abs(np.int32(samples[i]))
        if level > peaks[at]:
            peaks[at] = level


def tone(sample_rate: int, hertz: int, rms_dbm0: float) -> Int16:
    """Return one second of a sine at a level in dBm0 (3.17 dBm0 is full scale, ITU-T G.711).

    Raises
    ------
    ValueError
        The frequency is not below half the sample rate, or the level above full scale.
    """
    if not 0 < hertz < sample_rate / 2 or rms_dbm0 > 3.17:
        raise ValueError("A bleep lies below half the sample rate and at most at full scale, 3.17 dBm0.")
    amplitude = 32767 * 10 ** ((rms_dbm0 - 3.17) / 20)
    return np.rint(amplitude * np.sin(2 * np.pi * hertz * np.arange(sample_rate) / sample_rate)).astype(np.int16)


def silence() -> Int16:
    """Return the cover that hides a range under nothing."""
    return np.zeros(1, np.int16)


def raised_cosine(samples: int) -> NDArray[np.float32]:
    """Return the rise of an edge, float32[samples], from just above 0 to just below 1."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(samples) + 0.5) / max(samples, 1))).astype(np.float32)


def merged(ranges: Iterable[tuple[int, int]], join: int = 0) -> Ranges:
    """Return ranges (start, end), end exclusive, as int64[k, 2], sorted and disjoint.

    Ranges less than `join` samples apart become one; empty ones vanish.
    """
    kept: list[list[int]] = []
    for start, end in sorted(ranges):
        if end <= start:
            continue
        if kept and start - kept[-1][1] < max(join, 1):
            kept[-1][1] = max(kept[-1][1], end)
        else:
            kept.append([start, end])
    return np.array(kept, np.int64).reshape(-1, 2)


def hide(samples: Int16, ranges: Ranges, cover: Int16, edge: NDArray[np.float32], first_sample: int = 0) -> None:
    """Hide ranges of `samples`, in place.

    Parameters
    ----------
    samples
        int16[n], the part of the timeline that starts at `first_sample`.
    ranges
        int64[k, 2] from `merged`, absolute; they may reach beyond the samples on both sides.
    cover
        int16[m] laid over the ranges, repeated, bound to absolute time: `tone` or `silence`.
    edge
        float32[e] from `raised_cosine`: a range's first and last e samples fade between sound and cover. Of a
        range shorter than 4 e, a quarter on each side does.

    Raises
    ------
    ValueError
        An array has the wrong type or shape.
    """
    if samples.dtype != np.int16 or samples.ndim != 1 or cover.dtype != np.int16 or cover.size == 0:
        raise ValueError("Samples to hide and their cover are one-dimensional int16, the cover not empty.")
    if ranges.dtype != np.int64 or ranges.ndim != 2 or ranges.shape[1] != 2 or edge.dtype != np.float32:
        raise ValueError("Ranges to hide are int64[k, 2], their edge is float32.")
    _hide(samples, first_sample, ranges, cover, edge)


def raise_peaks(samples: Int16, first_sample: int, bucket: int, peaks: NDArray[np.int32]) -> None:
    """Raise `peaks[b]` to the highest absolute sample of bucket b, `bucket` samples each, counted from sample 0.

    Raises
    ------
    ValueError
        The samples reach beyond the last bucket, or an array has the wrong type.
    """
    if samples.dtype != np.int16 or peaks.dtype != np.int32 or bucket <= 0:
        raise ValueError("Peaks are int32, of int16 samples, in buckets of at least one sample.")
    if first_sample < 0 or first_sample + samples.size > peaks.size * bucket:
        raise ValueError("The samples reach beyond the last bucket.")
    _raise_peaks(samples, first_sample, bucket, peaks)
