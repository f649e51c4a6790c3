"""WAV files as recorders write them: the header, strictly, and samples in slices.

Formats: PCM of 8, 16, 24 and 32 bits, float of 32 and 64 bits, G.711 mu-law and A-law of 8 bits, each also in
WAVE_FORMAT_EXTENSIBLE; RIFF and RF64 (EBU Tech 3306). Multimedia Programming Interface and Data Specifications
1.0 (IBM and Microsoft, 1991) has the chunks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from events.audio import Encoding
from events.errors import CallwardenError
from events.metrics import IMPORT_REFUSED, count

RATES: Final = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
"""What the DSP front end can bring to 8 kHz."""

_UNKNOWN_LENGTH: Final = 0x7FFF_F000
"""Programs that write into a pipe leave a length at or above this, because they could not go back."""
_MOST_CHUNKS: Final = 1000
_EXTENSIBLE: Final = 0xFFFE


class WavFormat(IntEnum):
    PCM = 1
    FLOAT = 3
    A_LAW = 6
    MU_LAW = 7


_BITS: Final = {
    WavFormat.PCM: (8, 16, 24, 32),
    WavFormat.FLOAT: (32, 64),
    WavFormat.A_LAW: (8,),
    WavFormat.MU_LAW: (8,),
}


class RecordingRefused(CallwardenError):
    """A recorded file cannot be taken; the text says why, in one sentence without the file's name or path."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause
        count(IMPORT_REFUSED, cause=cause)


class OtherCodec(Exception):
    """The file is a WAV file, but its samples are coded in a way that needs another program."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    format: WavFormat
    channels: int
    sample_rate: int
    bits: int
    data_offset: int
    frames: int
    """One frame is one sample of each channel."""

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8

    @property
    def encoding(self) -> Encoding:
        """How the samples go into the event log: G.711 as it is, all others as 16-bit."""
        if self.format is WavFormat.MU_LAW:
            return Encoding.PCMU
        return Encoding.PCMA if self.format is WavFormat.A_LAW else Encoding.L16


def parse_wav_header(file: BinaryIO, file_bytes: int) -> WavHeader:
    """Read the header of a WAV file.

    Raises
    ------
    RecordingRefused
        The file is damaged, empty of samples, or has a rate or channel count that no telephone call has.
    OtherCodec
        The file is sound, but compressed (GSM, ADPCM and the like).
    """
    file.seek(0)
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] not in (b"RIFF", b"RF64") or riff[8:] != b"WAVE":
        raise RecordingRefused("not_wav", "The file does not begin with a WAV header.")
    fmt: bytes | None = None
    long_data: int | None = None
    offset = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:
            raise RecordingRefused("no_data", "The WAV file ends before any samples.")
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            if fmt is None:
                raise RecordingRefused("bad_header", "The WAV file's samples come before their format.")
            if size == 0xFFFF_FFFF and long_data is not None:
                size = long_data
            elif size >= _UNKNOWN_LENGTH:
                size = min(size, file_bytes - offset - 8)
            return _header(fmt, offset + 8, size, file_bytes)
        if name == b"fmt " and fmt is None:
            fmt = file.read(min(size, 64))
        elif name == b"ds64":
            body = file.read(min(size, 24))
            long_data = struct.unpack("<Q", body[8:16])[0] if len(body) >= 16 else None
        offset += 8 + size + size % 2
    raise RecordingRefused("bad_header", "The WAV file has more than a thousand chunks before its samples.")


def _header(fmt: bytes, data_offset: int, data_bytes: int, file_bytes: int) -> WavHeader:
    if len(fmt) < 16:
        raise RecordingRefused("bad_header", "The WAV file's format chunk is too short.")
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE:
        if len(fmt) < 40:
            raise RecordingRefused("bad_header", "The WAV file's extended format chunk is too short.")
        tag = struct.unpack("<H", fmt[24:26])[0]
    if tag not in _BITS:
        raise OtherCodec
    check_rate_and_channels(rate, channels)
    form = WavFormat(tag)
    if bits not in _BITS[form]:
        raise RecordingRefused("bits", f"The WAV file has {form.name} samples of {bits} bits, which do not exist.")
    if align != channels * bits // 8:
        raise RecordingRefused("bad_header", "The WAV file's sample size contradicts its number of channels.")
    missing = data_offset + data_bytes - file_bytes
    if missing > 0:
        raise RecordingRefused("truncated", f"The recording is cut off; {missing:,} bytes of it are missing.")
    frames = data_bytes // align
    if frames == 0:
        raise RecordingRefused("no_samples", "The recording has no samples.")
    return WavHeader(form, channels, rate, bits, data_offset, frames)


def check_rate_and_channels(rate: int, channels: int) -> None:
    """Raise RecordingRefused for a rate or a number of channels that no recorded call has."""
    if not 1 <= channels <= 2:
        raise RecordingRefused(
            "channels", f"The recording has {channels} channels; a call is recorded in one or two."
        )
    if rate not in RATES:
        known = ", ".join(f"{known:,}" for known in RATES)
        raise RecordingRefused("rate", f"The recording has {rate:,} samples a second; known rates are {known}.")


def leg_payloads(header: WavHeader, data: bytes) -> list[bytes]:
    """Return one payload a channel of whole frames, in `header.encoding`."""
    if header.encoding is not Encoding.L16:
        codes = np.frombuffer(data, np.uint8).reshape(-1, header.channels)
        return [codes[:, channel].tobytes() for channel in range(header.channels)]
    samples = _sixteen_bit(header, data).reshape(-1, header.channels)
    return [samples[:, channel].astype("<i2").tobytes() for channel in range(header.channels)]


def _sixteen_bit(header: WavHeader, data: bytes) -> NDArray[np.int16]:
    """Bring PCM and float to 16 bits, rounding, never wrapping."""
    if header.format is WavFormat.FLOAT:
        values = np.nan_to_num(np.frombuffer(data, f"<f{header.bits // 8}"), posinf=1, neginf=-1)
        rounded = np.rint(np.clip(values.astype(np.float64), -1, 1) * 32768)
    elif header.bits == 8:
        rounded = (np.frombuffer(data, np.uint8).astype(np.int64) - 128) << 8
    elif header.bits == 16:
        return np.frombuffer(data, "<i2").astype(np.int16)
    elif header.bits == 24:
        thirds = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int64)
        wide = (thirds[:, 2].astype(np.int8).astype(np.int64) << 16) | (thirds[:, 1] << 8) | thirds[:, 0]
        rounded = (wide + 128) >> 8
    else:
        rounded = (np.frombuffer(data, "<i4").astype(np.int64) + 32768) >> 16
    whole: NDArray[np.int16] = np.minimum(rounded, 32767).astype(np.int16)
    return whole
