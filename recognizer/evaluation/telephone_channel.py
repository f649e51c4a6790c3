"""What a telephone line leaves of a recording: 300-3400 Hz, mu-law. Figures from it are labelled as simulated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.g711 import decode_mu_law_float, encode_mu_law
from dsp.resample import TELEPHONE_RATE

Float32 = NDArray[np.float32]

LABEL = "simulated telephone speech"
LOW_HZ, HIGH_HZ = 300, 3400
_TAPS = 161


def _band_pass() -> NDArray[np.float64]:
    """Hamming-windowed sinc, gain 1 at the band's centre (what ``scipy.signal.firwin`` designs)."""
    n = np.arange(_TAPS) - (_TAPS - 1) / 2
    low, high = 2 * LOW_HZ / TELEPHONE_RATE, 2 * HIGH_HZ / TELEPHONE_RATE
    taps = (high * np.sinc(high * n) - low * np.sinc(low * n)) * np.hamming(_TAPS)
    centre = np.cos(np.pi * n * (low + high) / 2)
    return np.asarray(taps / (taps * centre).sum())


def telephone_speech(samples: Float32) -> Float32:
    """Return `samples` (float32[n] at 8 kHz in [-1, 1)) band-limited, without delay, and through mu-law."""
    if not len(samples):
        return samples
    filtered = np.convolve(samples.astype(np.float64), _band_pass())[_TAPS // 2 : _TAPS // 2 + len(samples)]
    levels = np.clip(np.rint(filtered * 32768), -32768, 32767).astype(np.int16)
    return decode_mu_law_float(encode_mu_law(levels))
