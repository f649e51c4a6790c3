"""A recording of any rate and format as mono samples at 8 kHz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsp.resample import RATES, TELEPHONE_RATE, resample

Float32 = NDArray[np.float32]


class AudioFileError(ValueError):
    """The file cannot be used; the message is one sentence."""


def read_audio(path: Path) -> Float32:
    """Return the recording at 8 kHz, float32[n] in [-1, 1); several channels are averaged.

    Raises
    ------
    AudioFileError
        If the file is missing, empty or damaged.
    """
    try:
        import soundfile
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise AudioFileError("Reading recordings needs the Python package soundfile.") from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError) as error:  # soundfile's errors are RuntimeErrors
        reason = "it does not exist" if not path.exists() else "it is damaged or of an unknown format"
        raise AudioFileError(f"The recording {path} cannot be read: {reason}.") from error
    if not len(samples):
        raise AudioFileError(f"The recording {path} is empty.")
    mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    if not np.isfinite(mono).all():
        raise AudioFileError(f"The recording {path} holds values that are no numbers.")
    return to_telephone_rate(np.clip(mono, -1.0, 1.0), int(rate))


def to_telephone_rate(samples: Float32, rate: int) -> Float32:
    """Resample a whole recording to 8 kHz: by the product's resampler where it knows the rate."""
    if rate == TELEPHONE_RATE:
        return samples
    if rate in RATES:
        return resample(samples, rate)
    return _resample_spectrum(samples, rate)


def _resample_spectrum(samples: Float32, rate: int) -> Float32:
    """Resample by cutting or padding the spectrum of the whole recording; a second of zeros keeps its ends apart."""
    # A multiple of the rate, so that the output grid is exact whatever the rate is.
    seconds = -(-len(samples) // rate) + 1
    spectrum = np.fft.rfft(samples.astype(np.float64), seconds * rate)
    wanted = np.zeros(seconds * TELEPHONE_RATE // 2 + 1, np.complex128)
    kept = min(len(wanted), len(spectrum))
    wanted[:kept] = spectrum[:kept]
    wide = np.fft.irfft(wanted, seconds * TELEPHONE_RATE) * (TELEPHONE_RATE / rate)
    return np.clip(wide[: len(samples) * TELEPHONE_RATE // rate], -1.0, 1.0).astype(np.float32)
