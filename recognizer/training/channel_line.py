"""What the line does to speech: response, level, clipping, G.711, signal-correlated noise, lost packets (8 kHz)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from dsp.g711 import decode_a_law_float, decode_mu_law_float, encode_a_law, encode_mu_law
from dsp.resample import TELEPHONE_RATE

Float32 = NDArray[np.float32]

PACKET_SAMPLES: Final = TELEPHONE_RATE // 50
_TAPS: Final = 161
_BINS: Final = 256


def convolved(samples: Float32, taps: Float32, delay: int = 0) -> Float32:
    """Return the first ``len(samples)`` samples, from `delay` on, of `samples` convolved with `taps`."""
    length = samples.size + taps.size - 1
    grid = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(samples, grid)
    spectrum *= scipy.fft.rfft(taps, grid)
    return np.asarray(scipy.fft.irfft(spectrum, grid)[delay : delay + samples.size], np.float32)


def active_rms(samples: Float32) -> float:
    """Root mean square of the loud 20 ms blocks: those above a tenth of the mean power. Never zero."""
    blocks = samples[: samples.size // PACKET_SAMPLES * PACKET_SAMPLES].reshape(-1, PACKET_SAMPLES)
    if not len(blocks):
        blocks = samples[None]
    powers = np.einsum("ij,ij->i", blocks, blocks) / np.float32(blocks.shape[1])
    loud = powers[powers >= powers.mean() / 10]
    return float(np.sqrt(max(float(loud.mean()), 1e-12)))


def random_response(
    samples: Float32, rng: np.random.Generator, low_hz: float, high_hz: float, tilt_db: float, ripple_db: float
) -> Float32:
    """Filter by a line of its own: pass band from `low_hz` to `high_hz`, a tilt, and smooth ripple of a handset.

    Linear phase, the delay taken out. `tilt_db` is the gain at 3400 Hz relative to 300 Hz, `ripple_db` the standard
    deviation of the gain at ten points spread over the band.
    """
    hz = np.arange(_BINS + 1) * (TELEPHONE_RATE / 2 / _BINS)
    slope = tilt_db * (hz - 1000) / 3100
    knots = np.linspace(0, TELEPHONE_RATE / 2, 10)
    gain = 10 ** ((slope + np.interp(hz, knots, rng.normal(0, ripple_db, knots.size))) / 20)
    gain[(hz < low_hz) | (hz > high_hz)] = 0
    taps = np.fft.irfft(gain)
    taps = np.concatenate((taps[-(_TAPS // 2) :], taps[: _TAPS // 2 + 1])) * np.hamming(_TAPS)
    return convolved(samples, taps.astype(np.float32), _TAPS // 2)


def set_level(samples: Float32, dbfs: float) -> Float32:
    """Bring the active speech to `dbfs` (its root mean square over full scale); what exceeds full scale is cut."""
    louder = samples * np.float32(10 ** (dbfs / 20) / active_rms(samples))
    return np.asarray(np.clip(louder, np.float32(-1), np.float32(1)), np.float32)


def clip_peaks(samples: Float32, share: float) -> Float32:
    """Cut the wave at `share` of its peak, as an overdriven input does."""
    limit = np.float32(share * float(np.abs(samples).max()))
    return np.asarray(np.clip(samples, -limit, limit), np.float32)


def _levels(samples: Float32) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(samples * np.float32(32768)), -32768, 32767), np.int16)


def through_mu_law(samples: Float32) -> Float32:
    """Return `samples` encoded and decoded by G.711 mu-law, bit by bit as a gateway does."""
    return decode_mu_law_float(encode_mu_law(_levels(samples)))


def through_a_law(samples: Float32) -> Float32:
    """Return `samples` encoded and decoded by G.711 A-law, bit by bit as a gateway does."""
    return decode_a_law_float(encode_a_law(_levels(samples)))


def modulated_noise(samples: Float32, rng: np.random.Generator, q_db: float) -> Float32:
    """Modulated noise reference unit (ITU-T P.810): noise that follows the speech at `q_db` below it.

    ``y = x (1 + 10^(-Q/20) n)`` with white Gaussian ``n``: the distortion of waveform codecs.
    """
    noise = rng.standard_normal(samples.size, np.float32)
    return np.asarray(samples * (1 + np.float32(10 ** (-q_db / 20)) * noise), np.float32)


def lose_packets(samples: Float32, rng: np.random.Generator, rate: float, burst_packets: float) -> Float32:
    """Lose 20 ms packets in bursts and conceal them, for all holes of a line in one of three ways.

    Losses follow Gilbert's two-state model with the mean burst `burst_packets` and the overall loss `rate`. Holes
    are silent, or repeat the packet before at falling level, or (as our own capture does with late packets)
    alternate at random.
    """
    packets = samples.size // PACKET_SAMPLES
    if packets < 2 or rate <= 0:
        return samples
    leave = 1 / max(burst_packets, 1.0)
    enter = min(1.0, rate * leave / max(1 - rate, 1e-3))
    lost = _gilbert(rng.random(packets), enter, leave)
    mode = rng.integers(3)
    repeats = np.full(packets, mode == 1) if mode < 2 else rng.random(packets) < 0.5
    out = samples.copy()
    _conceal(out, lost, repeats, PACKET_SAMPLES, np.float32(rng.uniform(0.4, 0.9)))
    return out


@njit(cache=True)
def _gilbert(dice: Any, enter: float, leave: float) -> Any:
    lost = np.zeros(dice.size, np.bool_)
    bad = False
    for i in range(dice.size):
        bad = dice[i] >= leave if bad else dice[i] < enter
        lost[i] = bad
    return lost


@njit(cache=True)
def _conceal(samples: Any, lost: Any, repeats: Any, packet: int, falling: Any) -> None:
    for i in range(lost.size):
        if not lost[i]:
            continue
        here = i * packet
        for k in range(packet):
            samples[here + k] = samples[here + k - packet] * falling if repeats[i] and i else np.float32(0)
