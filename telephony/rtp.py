"""RTP packets (RFC 3550, 5.1), parsed strictly, and numbers that wrap.

Two parsers read the same rules: `RtpPacket.parse` for people, tests and tools, and the kernel `read_header` for
the receive path. A test feeds both every broken packet of tests/telephony/packets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numba as nb
import numpy as np

HEADER_BYTES: Final = 12
PT_PCMU: Final = 0
PT_PCMA: Final = 8
PT_COMFORT_NOISE: Final = 13


class Refusal(IntEnum):
    """Why a datagram on a media port was no RTP of the call; the lower-case name is the metric's cause."""

    NONE = 0
    TOO_SHORT = 1
    BAD_VERSION = 2
    CSRC_TRUNCATED = 3
    EXTENSION_TRUNCATED = 4
    BAD_PADDING = 5
    TOO_LONG = 6
    UNKNOWN_PAYLOAD_TYPE = 7
    FOREIGN_SOURCE = 8
    NO_CALL = 9
    SEQUENCE_JUMP = 10


SENTENCES: Final[dict[Refusal, str]] = {
    Refusal.TOO_SHORT: "RTP packet length is less than 12 bytes.",
    Refusal.BAD_VERSION: "RTP packet has a version other than 2.",
    Refusal.CSRC_TRUNCATED: "RTP packet ends inside its list of contributing sources.",
    Refusal.EXTENSION_TRUNCATED: "RTP packet ends inside its header extension.",
    Refusal.BAD_PADDING: "RTP packet has a padding length that does not fit its payload.",
    Refusal.TOO_LONG: "RTP packet is longer than any G.711 packet may be.",
    Refusal.UNKNOWN_PAYLOAD_TYPE: "RTP packet has a payload type that the call did not agree on.",
    Refusal.FOREIGN_SOURCE: "RTP packet comes from another source than the call's.",
    Refusal.NO_CALL: "RTP packet came to a media port that no call uses.",
    Refusal.SEQUENCE_JUMP: "RTP packet has a sequence number far from its stream's.",
}


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet. `sequence` and `timestamp` wrap at 16 and 32 bits."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension_profile: int | None = None
    extension: bytes = b""
    padding: int = 0

    @classmethod
    def parse(cls, data: bytes) -> RtpPacket:
        """Parse one datagram.

        Raises
        ------
        ValueError
            The datagram is no well-formed RTP packet; the text says in one sentence why.
        """
        if len(data) < HEADER_BYTES:
            raise ValueError(SENTENCES[Refusal.TOO_SHORT])
        first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
        if first >> 6 != 2:
            raise ValueError(SENTENCES[Refusal.BAD_VERSION])
        at = HEADER_BYTES + 4 * (first & 0x0F)
        if len(data) < at:
            raise ValueError(SENTENCES[Refusal.CSRC_TRUNCATED])
        csrc = struct.unpack_from(f"!{first & 0x0F}I", data, HEADER_BYTES)
        profile: int | None = None
        extension = b""
        if first & 0x10:
            if len(data) < at + 4:
                raise ValueError(SENTENCES[Refusal.EXTENSION_TRUNCATED])
            profile, words = struct.unpack_from("!HH", data, at)
            at += 4
            if len(data) < at + 4 * words:
                raise ValueError(SENTENCES[Refusal.EXTENSION_TRUNCATED])
            extension = data[at : at + 4 * words]
            at += 4 * words
        padding = 0
        if first & 0x20:
            padding = data[-1]
            if padding == 0 or padding > len(data) - at:
                raise ValueError(SENTENCES[Refusal.BAD_PADDING])
        return cls(
            payload_type=second & 0x7F,
            sequence=sequence,
            timestamp=timestamp,
            ssrc=ssrc,
            payload=data[at : len(data) - padding],
            marker=bool(second & 0x80),
            csrc=csrc,
            extension_profile=profile,
            extension=extension,
            padding=padding,
        )

    def serialize(self) -> bytes:
        """Return the packet as it goes over the wire."""
        first = 0x80 | (0x20 if self.padding else 0) | (0x10 if self.extension_profile is not None else 0)
        parts = [
            struct.pack(
                "!BBHII",
                first | len(self.csrc),
                (0x80 if self.marker else 0) | self.payload_type,
                self.sequence & 0xFFFF,
                self.timestamp & 0xFFFFFFFF,
                self.ssrc,
            ),
            struct.pack(f"!{len(self.csrc)}I", *self.csrc),
        ]
        if self.extension_profile is not None:
            parts.append(struct.pack("!HH", self.extension_profile, len(self.extension) // 4) + self.extension)
        parts.append(self.payload)
        if self.padding:
            parts.append(bytes(self.padding - 1) + bytes([self.padding]))
        return b"".join(parts)


def is_rtcp(data: bytes) -> bool:
    """Tell RTCP on the RTP port (RFC 5761, 4: packet types 192..223 look like payload types 64..95)."""
    return len(data) >= 2 and data[0] >> 6 == 2 and 64 <= data[1] & 0x7F <= 95


@nb.njit(cache=True, nogil=True)
def unwrap(number: int, newest: int, bits: int) -> int:
    """Return the never-wrapping number nearest to `newest` whose low `bits` bits are `number`."""
    span = np.int64(1) << bits
    ahead = (np.int64(number) - newest) & (span - 1)
    if ahead >= span >> 1:
        ahead -= span
    return int(newest + ahead)


@nb.njit(cache=True, nogil=True)
def read_header(data: Any, length: int, header: Any) -> int:
    """Read one datagram's header; kernel twin of `RtpPacket.parse`.

    Parameters
    ----------
    data : uint8[n]
        The datagram; `length` bytes of it count.
    header : int64[6]
        Receives payload type, sequence, timestamp, SSRC, first payload byte, payload length.

    Returns
    -------
    int
        A `Refusal`; the header is filled when it is NONE.
    """
    if length < 12:
        return 1
    first = np.int64(data[0])
    if first >> 6 != 2:
        return 2
    at = 12 + 4 * (first & 0x0F)
    if length < at:
        return 3
    if first & 0x10:
        if length < at + 4:
            return 4
        at += 4 + 4 * ((np.int64(data[at + 2]) << 8) | np.int64(data[at + 3]))
        if length < at:
            return 4
    padding = np.int64(0)
    if first & 0x20:
        padding = np.int64(data[length - 1])
        if padding == 0 or padding > length - at:
            return 5
    header[0] = np.int64(data[1]) & 0x7F
    header[1] = (np.int64(data[2]) << 8) | np.int64(data[3])
    header[2] = (
        (np.int64(data[4]) << 24) | (np.int64(data[5]) << 16) | (np.int64(data[6]) << 8) | np.int64(data[7])
    )
    header[3] = (
        (np.int64(data[8]) << 24) | (np.int64(data[9]) << 16) | (np.int64(data[10]) << 8) | np.int64(data[11])
    )
    header[4] = at
    header[5] = length - padding - at
    return 0
