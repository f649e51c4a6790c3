"""What is around the speaker and on the line: noise, voices, the room, the other leg (8 kHz)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.resample import TELEPHONE_RATE
from recognizer.training.channel_line import active_rms, convolved

Float32 = NDArray[np.float32]

_BROWN_LEAK: Final = 0.98
_HUM_HARMONICS: Final = 12


def add_noise(
    samples: Float32,
    rng: np.random.Generator,
    snr_db: float,
    babble_snr_db: float,
    noises: Sequence[Float32],
    others: Sequence[Float32],
) -> Float32:
    """Add one kind of noise, `snr_db` below the active speech (babble: `babble_snr_db`).

    The kind is drawn among white, brown, hum, and those for which there is material: recorded noises, babble.
    """
    kinds = ["white", "brown", "hum"] + 2 * ["recorded"] * bool(noises) + 2 * ["babble"] * bool(others)
    kind = kinds[int(rng.integers(len(kinds)))]
    length = samples.size
    if kind == "white":
        noise = rng.standard_normal(length, np.float32)
    elif kind == "brown":
        noise = brown_noise(rng, length)
    elif kind == "hum":
        noise = hum(rng, length)
    elif kind == "recorded":
        noise = _excerpt(noises[int(rng.integers(len(noises)))], rng, length)
    else:
        noise = babble(rng, length, others)
        snr_db = babble_snr_db
    loudness = float(np.sqrt(np.mean(np.square(noise))))
    if loudness < 1e-9:
        return samples
    return samples + noise * np.float32(active_rms(samples) * 10 ** (-snr_db / 20) / loudness)


def brown_noise(rng: np.random.Generator, length: int) -> Float32:
    """Leaky sum of white noise: traffic, wind, engines; 6 dB less per octave above 25 Hz."""
    noise = rng.standard_normal(length, np.float32)
    _leaky_sum(noise, np.float32(_BROWN_LEAK))
    return noise


def hum(rng: np.random.Generator, length: int) -> Float32:
    """Mains hum of 50 or 60 Hz with harmonics of random strength and phase, on a bed of white noise."""
    base = 50.0 if rng.random() < 0.5 else 60.0
    base *= rng.uniform(0.998, 1.002)
    # The fundamental cycle is drawn once on a fine grid and read off with steps: no sine per sample and harmonic.
    cycle = np.zeros(4096)
    grid = np.arange(cycle.size) * (2 * np.pi / cycle.size)
    for k in range(1, _HUM_HARMONICS + 1):
        cycle += rng.normal(0, 1 / np.sqrt(k)) * np.sin(k * grid + rng.uniform(0, 2 * np.pi))
    steps = np.arange(length, dtype=np.float64) * (base * cycle.size / TELEPHONE_RATE)
    wave = cycle.astype(np.float32)[steps.astype(np.int64) & (cycle.size - 1)]
    return np.asarray(wave + np.float32(0.2) * rng.standard_normal(length, np.float32), np.float32)


def babble(rng: np.random.Generator, length: int, others: Sequence[Float32]) -> Float32:
    """Between three and seven people talking at once, at levels up to 10 dB apart."""
    mixed = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(3, 8))):
        voice = _excerpt(others[int(rng.integers(len(others)))], rng, length)
        mixed += voice * np.float32(10 ** (rng.uniform(-10, 0) / 20) / active_rms(voice))
    return mixed


def reverberate(samples: Float32, rng: np.random.Generator, seconds: float, energy_db: float) -> Float32:
    """Put the speaker into a room: direct sound, then a tail of noise that falls by 60 dB in `seconds`.

    `energy_db` is the tail's energy relative to the direct sound (Polack's statistical model of late reverberation,
    begun 2 ms after the direct sound, with a random low-pass for damped walls).
    """
    length = max(2, int(seconds * TELEPHONE_RATE))
    times = np.arange(length, dtype=np.float32)
    tail = rng.standard_normal(length, np.float32) * np.exp(times * np.float32(-6.9078 / length))
    _leaky_sum(tail, np.float32(rng.uniform(0, 0.6)))
    tail[: min(16, length - 1)] = 0
    tail *= np.float32(10 ** (energy_db / 20) / max(float(np.sqrt(np.sum(np.square(tail)))), 1e-9))
    tail[0] = 1
    return convolved(samples, tail)


def add_crosstalk(
    samples: Float32, rng: np.random.Generator, level_db: float, others: Sequence[Float32]
) -> Float32:
    """Let another voice leak in at `level_db` relative to this one, delayed and through a random line echo path.

    The path is as in ITU-T G.168's models: up to 12 ms of a decaying response behind a flat delay of up to 250 ms.
    """
    voice = _excerpt(others[int(rng.integers(len(others)))], rng, samples.size)
    delay = int(rng.integers(0, TELEPHONE_RATE // 4))
    delayed = np.zeros_like(samples)
    delayed[delay:] = voice[: max(0, samples.size - delay)]
    taps = rng.standard_normal(96, np.float32) * np.exp(np.arange(96, dtype=np.float32) * np.float32(-1 / 16))
    leaked = convolved(delayed, taps)
    if float(np.abs(leaked).max()) < 1e-9:
        return samples
    return samples + leaked * np.float32(active_rms(samples) * 10 ** (level_db / 20) / active_rms(leaked))


def _excerpt(recording: Float32, rng: np.random.Generator, length: int) -> Float32:
    """A random stretch of `length` samples, the recording repeated where it is shorter."""
    if not recording.size:
        return np.zeros(length, np.float32)
    begin = int(rng.integers(recording.size))
    if begin + length <= recording.size:
        return recording[begin : begin + length]
    repeats = -(-(begin + length) // recording.size)
    return np.tile(recording, repeats)[begin : begin + length]


@njit(cache=True)
def _leaky_sum(samples: Any, leak: Any) -> None:
    total = np.float32(0)
    for i in range(samples.size):
        total = samples[i] + leak * total
        samples[i] = total
