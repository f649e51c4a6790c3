"""Kept recordings as WAV files that exist only while they are played."""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from compliance.recordings.sealed_recording import CHUNK_SAMPLES, SealedRecording, Version
from events.errors import CallwardenError
from events.identity import CallId
from events.sealing import CallKeys
from events.topics import Key

_HEADER_BYTES: Final = 44
_CACHED_CHUNKS: Final = 8


class RecordingMissing(CallwardenError):
    """No recording of this call is kept here."""


class RecordingReader:
    """Opens the recordings under `folder` (the archive's).

    Parameters
    ----------
    keys
        Where the calls' keys are; a recording whose key was destroyed cannot be opened any more.
    """

    def __init__(self, folder: Path, keys: CallKeys) -> None:
        self._folder = folder
        self._keys = keys

    def open(self, call: CallId, version: Version = Version.BLEEPED) -> OpenedRecording:
        """Open a call's recording for playback.

        Raises
        ------
        RecordingMissing
            No recording of this call is kept.
        KeyDestroyed
            The recording was erased.
        SealBroken
            The file is damaged or was exchanged.
        """
        name = version.file_name(call)
        path = next(iter(sorted(self._folder.glob(f"[0-9][0-9][0-9][0-9]-[0-9][0-9]/{name}"))), None)
        if path is None:
            raise RecordingMissing("No recording of this call is kept.")
        key = self._keys.key(call, Key.RECORD if version is Version.BLEEPED else Key.CAPTURE)
        try:
            return OpenedRecording(SealedRecording(path, key, call, version))
        except OSError:
            raise RecordingMissing("The recording of this call cannot be read.") from None


class OpenedRecording:
    """One recording as a WAV file: PCM, 16 bits, one channel a leg, bytes to be had from anywhere in it.

    Only the chunks that a read touches are decrypted. Not safe to use from two threads at once.
    """

    def __init__(self, recording: SealedRecording) -> None:
        self._recording = recording
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        footer = recording.footer
        self.legs = footer.legs
        """Leg of each channel. A call without audio has none, and plays as one empty channel."""
        self.sample_rate = footer.sample_rate
        self.duration_ms = footer.samples * 1000 // footer.sample_rate
        self._channels = max(1, len(footer.legs))
        data_bytes = footer.samples * len(footer.legs) * 2
        self.wav_length = _HEADER_BYTES + data_bytes
        self._header = _wav_header(data_bytes, self._channels, footer.sample_rate)

    def read(self, first_byte: int, last_byte: int) -> bytes:
        """Return the bytes from `first_byte` to `last_byte`, both included as in HTTP's Range, less what lies behind
        the end.

        Raises
        ------
        SealBroken
            A chunk is damaged or was exchanged.
        """
        if first_byte < 0 or last_byte < first_byte:
            raise ValueError("A range of bytes begins at byte 0 or later and does not end before it begins.")
        end = min(last_byte + 1, self.wav_length)
        parts = [self._header[first_byte:end]]
        at = max(first_byte, _HEADER_BYTES) - _HEADER_BYTES
        chunk_bytes = CHUNK_SAMPLES * self._channels * 2
        while at < end - _HEADER_BYTES:
            number, offset = divmod(at, chunk_bytes)
            part = self._frames(number)[offset : offset + end - _HEADER_BYTES - at]
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _frames(self, number: int) -> bytes:
        """Return the interleaved samples of all legs of one chunk."""
        kept = self._chunks.get(number)
        if kept is None:
            legs = [np.frombuffer(self._recording.chunk(c, number), "<i2") for c in range(self._channels)]
            kept = np.stack(legs, axis=1).tobytes()
            self._chunks[number] = kept
            if len(self._chunks) > _CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        return kept

    def close(self) -> None:
        self._recording.close()

    def __enter__(self) -> OpenedRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wav_header(data_bytes: int, channels: int, rate: int) -> bytes:
    # A WAV file counts to 4 GiB: 37 hours of two legs. What is longer says so and plays on in lenient players.
    size = min(data_bytes, 0xFFFF_FFFF - 36)
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", size)
