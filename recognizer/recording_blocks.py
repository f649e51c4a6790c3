"""One channel of a recording of any rate as blocks of samples at 8 kHz, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.resample import RATES, Resampler
from recognizer.evaluation.audio_file import AudioFileError, to_telephone_rate

Float32 = NDArray[np.float32]

_BLOCK_S: Final = 10
_READ_WHOLE: Final = frozenset({".mp3"})
"""libsndfile seeks after every part of an MP3, which disturbs its decoding."""


def channels_of(path: Path) -> int:
    """Return how many channels a recording has.

    Raises
    ------
    AudioFileError
        If the file is missing or damaged.
    """
    import soundfile

    try:
        return int(soundfile.info(path).channels)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise AudioFileError(
            f"The recording {path} {'is damaged or of an unknown format' if path.exists() else 'does not exist'}."
        ) from error


def recording_blocks(path: Path, channel: int) -> Iterator[Float32]:
    """Yield `channel` (from 0) of a recording, float32[n] in [-1, 1] at 8 kHz, in blocks of some seconds.

    Raises
    ------
    AudioFileError
        If the file is missing, damaged or lacks the channel; the damage may show only in mid-file.
    """
    import soundfile

    count = channels_of(path)
    if not 0 <= channel < count:
        raise AudioFileError(f"The recording has {count} channel{'s' if count > 1 else ''}, there is no other.")
    try:
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            if rate not in RATES or path.suffix.lower() in _READ_WHOLE:
                yield to_telephone_rate(_one(file.read(dtype="float32", always_2d=True), channel), rate)
                return
            resampler = Resampler(rate)
            while len(block := file.read(_BLOCK_S * rate, dtype="float32", always_2d=True)):
                yield resampler.push(_one(block, channel))
            yield resampler.finish()
    except (OSError, RuntimeError, TypeError) as error:
        raise AudioFileError(f"The recording {path} is damaged.") from error


def _one(samples: NDArray[np.float32], channel: int) -> Float32:
    mono = np.nan_to_num(samples[:, channel], nan=0.0, posinf=1.0, neginf=-1.0)
    return np.ascontiguousarray(np.clip(mono, -1, 1), np.float32)
