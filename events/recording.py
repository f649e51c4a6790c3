"""The recording that was kept: bleeped, encrypted under the call's record key. On topic `call.recording`."""

from __future__ import annotations

from dataclasses import dataclass

from events.identity import CallId, RecordId


@dataclass(frozen=True, slots=True)
class Peaks:
    """Waveform overview of one leg: highest absolute sample per bucket, 0..255, already bleeped."""

    leg: int
    bucket_ms: int
    values: bytes


@dataclass(frozen=True, slots=True)
class RecordingKept:
    id: RecordId
    call: CallId
    duration_ms: int
    sample_rate: int
    legs: tuple[int, ...]
    """Leg of each channel, in channel order."""
    bleeped_ms: int
    """Sum over legs of hidden time."""
    sealed_sha256: str
    """Of the encrypted file as it lies in the archive."""
    peaks: tuple[Peaks, ...] = ()
    kept_unbleeped: bool = False
    """True only where policy says that the unbleeped audio is kept too."""
