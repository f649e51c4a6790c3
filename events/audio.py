"""Audio on its way from capture to recogniser and archive, on topic `call.audio`.

A call has one timeline. Sample 0 is the arrival of the call's first packet; every leg counts its samples
from there, so equal sample numbers (at equal rates) are equal moments. Blocks of a leg follow each other
without overlap or hole: where nothing was heard, a gap says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from events.identity import CallId, Role


class Encoding(StrEnum):
    """RTP payload encodings (RFC 3551 names)."""

    PCMU = "PCMU"
    PCMA = "PCMA"
    L16 = "L16"
    """Signed 16-bit, little-endian here (RFC 3551 has it big-endian on the wire)."""

    @property
    def bytes_per_sample(self) -> int:
        return 2 if self is Encoding.L16 else 1


class GapCause(StrEnum):
    LOST = "lost"
    """Packets that the sender numbered and we did not get."""
    SILENT = "silent"
    """The sender sent nothing (DTX, no media yet, or after the end)."""
    HELD = "held"
    DOWN = "down"
    """Capture was down."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples in which nothing was heard; `start_sample` is on the call's timeline."""

    start_sample: int
    samples: int
    cause: GapCause


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """About 100 ms of one leg.

    `payload` holds `samples * encoding.bytes_per_sample` bytes, gaps filled with the encoding's silence; or it
    is empty when the whole block is a gap. `start_sample` and `samples` count at `sample_rate` and never wrap.
    """

    call: CallId
    leg: int
    role: Role
    encoding: Encoding
    sample_rate: int
    start_sample: int
    samples: int
    payload: bytes
    gaps: tuple[Gap, ...] = ()

    def __post_init__(self) -> None:
        if self.samples <= 0 or self.start_sample < 0 or self.sample_rate <= 0:
            raise ValueError("An audio block has a positive length and rate and starts at sample 0 or later.")
        if self.payload and len(self.payload) != self.samples * self.encoding.bytes_per_sample:
            raise ValueError("An audio block's payload does not have the length that its sample count says.")


@dataclass(frozen=True, slots=True)
class LegAudioEnded:
    """No block of this leg comes after this. `end_sample` counts at `sample_rate`."""

    call: CallId
    leg: int
    role: Role
    sample_rate: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class CallAudioEnded:
    """No audio of this call comes after this; every leg in `legs` has had its `LegAudioEnded`."""

    call: CallId
    legs: tuple[int, ...]
    end_ms: int


AudioRecord = AudioBlock | LegAudioEnded | CallAudioEnded
