"""Whether a recording can be trusted as one: decoded to its end, with a sound in it, as long as its words need."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 35.0
MOST_LETTERS_PER_S: Final = 32
"""More than anybody says: the file is cut off, or the text is another's."""
_WHOLE: Final = 0.98
_HIGHEST_HZ: Final = 192_000
_MOST_CHANNELS: Final = 8
_LFS_POINTER: Final = b"version https://git-lfs"


class UnfitSound(ValueError):
    """A recording is left out; the message is a noun phrase that says why, to be counted."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What decoding told: seconds, hertz, and the ending that fits the container."""

    seconds: float
    sample_rate: int
    suffix: str


def check_sound(contents: bytes, channels: int = 1) -> Sound:
    """Decode a file of audio to its end.

    Raises
    ------
    UnfitSound
        It cannot be decoded, ends early, has another number of channels, is silent, too short or too long.
    """
    samples, rate, container = _decoded(contents)
    if samples.shape[1] != channels:
        raise UnfitSound("another number of channels")
    if not samples.any():
        raise UnfitSound("digital silence")
    seconds = len(samples) / rate
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UnfitSound("too short or too long a recording")
    return Sound(seconds, rate, ".wav" if container.startswith("WAV") else f".{container.lower()}")


def _decoded(contents: bytes) -> tuple[NDArray[np.float32], int, str]:
    """Return float32[n, channels] in [-1, 1), hertz and container; raise UnfitSound where a file lacks them."""
    import soundfile

    _refuse_pointer(contents)
    try:
        with soundfile.SoundFile(io.BytesIO(contents)) as file:
            promised, rate, container = int(file.frames), int(file.samplerate), str(file.format)
            # A header may promise more than there is memory for.
            if file.channels > _MOST_CHANNELS:
                raise UnfitSound("another number of channels")
            if not 0 < rate <= _HIGHEST_HZ:
                raise UnfitSound("unreadable audio")
            if promised > LONGEST_S * rate:
                raise UnfitSound("too short or too long a recording")
            # Whole, not in parts: libsndfile seeks after each part, which disturbs MP3.
            samples = file.read(dtype="float32", always_2d=True)
    except UnfitSound:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise UnfitSound("unreadable audio") from error
    if not len(samples) or len(samples) < _WHOLE * promised or not np.isfinite(samples).all():
        raise UnfitSound("unreadable audio")
    return samples, rate, container


def _refuse_pointer(contents: bytes) -> None:
    if contents.startswith(_LFS_POINTER):
        raise UnfitSound("a pointer to Git LFS instead of audio")


def check_pace(text: str, seconds: float) -> None:
    """Raise UnfitSound when nobody could have said `text` in the time."""
    if len(text) > MOST_LETTERS_PER_S * seconds:
        raise UnfitSound("more words than can be said in the time")


def big_endian_16k(contents: bytes) -> bytes:
    """Return headerless big-endian 16-bit samples at 16 kHz (AN4's ``.raw``) as a WAV file."""
    _refuse_pointer(contents)
    samples = np.frombuffer(contents, ">i2", count=len(contents) // 2)
    return wav_16_bit(samples.astype(np.int16), 16000)


def mu_law_8k(contents: bytes) -> bytes:
    """Return headerless mu-law samples at 8 kHz (a telephone line's) as a WAV file."""
    import soundfile

    _refuse_pointer(contents)
    samples, rate = soundfile.read(
        io.BytesIO(contents), dtype="int16", channels=1, samplerate=8000, format="RAW", subtype="ULAW"
    )
    return wav_16_bit(samples, int(rate))


def first_channel(contents: bytes) -> bytes:
    """Return a file's first channel as a WAV file, for a corpus whose files differ in their number of channels.

    Raises
    ------
    UnfitSound
        It cannot be decoded to its end.
    """
    samples, rate, _ = _decoded(contents)
    return wav_16_bit(pcm_16_bit(samples[:, 0]), rate)


def pcm_16_bit(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Return float[n] in [-1, 1) as int16[n]; from 16-bit files to float and back is exact."""
    pcm: NDArray[np.int16] = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return pcm


def wav_16_bit(samples: NDArray[np.int16], rate: int) -> bytes:
    """Return int16[n] as a WAV file of one channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
