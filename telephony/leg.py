"""A leg's state on the receive path: one row of arrays that kernels and Python share.

Everything a leg needs to go on after a crash is in its `LEG` row; the rings beside it hold only what has not yet
been cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from events.audio import Encoding, GapCause
from events.lifecycle import LegStatistics

RATE: Final = 8000
RING_SAMPLES: Final = 16384
"""Power of two, 2.05 s: more than jitter, reordering and one receive batch can span."""
SEEN_PACKETS: Final = 512
"""Sequence numbers remembered to tell duplicates."""

LEG: Final = np.dtype(
    [
        ("active", "u1"),
        ("anchored", "u1"),
        ("held", "u1"),
        ("restored", "u1"),  # taken up after a crash, no packet since
        ("encoding", "u1"),  # `Sample` code of the newest audio
        ("call", "i4"),  # index into the call clocks
        ("t0_ns", "i8"),  # copy of the call's sample 0, for the state store
        ("cut", "i8"),  # next sample that goes into a block
        ("frontier", "i8"),  # behind the newest sample placed
        ("switched", "i8"),  # where the encoding changed last
        ("hold_from", "i8"),
        ("hold_to", "i8"),
        ("down_until", "i8"),  # before this sample, what is missing was missed while capture was down
        ("ssrc", "i8"),
        ("anchor_ts", "i8"),  # this (unwrapped) timestamp ...
        ("anchor_pos", "i8"),  # ... is this sample of the call
        ("newest_ts", "i8"),
        ("newest_seq", "i8"),
        ("odd_seq", "i8"),  # sequence that would confirm a jump (RFC 3550, A.1)
        ("segment_seq", "i8"),  # first sequence number of the present numbering
        ("segment_received", "i8"),
        ("last_packet_ns", "i8"),
        ("last_advance_ns", "i8"),
        ("source", "i8"),  # IPv4 address << 16 | port; 0 is none yet
        ("announced", "i8"),  # the same, from the SDP
        ("packets", "i8"),
        ("lost_before", "i8"),  # of numberings that have ended
        ("late", "i8"),
        ("duplicate", "i8"),
        ("reordered", "i8"),
        ("malformed", "i8"),
        ("not_audio", "i8"),  # telephone events and comfort noise; what was dialled is never looked at
        ("anchors", "i8"),  # how often timestamps had to be anchored anew
    ],
    align=True,
)


class PayloadKind(IntEnum):
    """What a payload type means on a leg."""

    UNKNOWN = 0
    PCMU = 1
    PCMA = 2
    TELEPHONE_EVENT = 3
    COMFORT_NOISE = 4


class Sample(IntEnum):
    """State of one ring sample; PCMU and PCMA equal their `PayloadKind`."""

    EMPTY = 0
    PCMU = 1
    PCMA = 2
    LOST = 3
    SILENT = 4
    DOWN = 5
    HELD = 6


ENCODINGS: Final = {Sample.PCMU: Encoding.PCMU, Sample.PCMA: Encoding.PCMA}
SAMPLE_OF: Final = {encoding: sample for sample, encoding in ENCODINGS.items()}
GAP_CAUSES: Final = {
    Sample.LOST: GapCause.LOST,
    Sample.SILENT: GapCause.SILENT,
    Sample.DOWN: GapCause.DOWN,
    Sample.HELD: GapCause.HELD,
}


@dataclass(frozen=True, slots=True)
class LegTable:
    """All legs of the process, allocated and touched once."""

    legs: npt.NDArray[Any]
    ring: npt.NDArray[np.uint8]
    state: npt.NDArray[np.uint8]
    seen: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]
    """`PayloadKind` by leg and payload type."""
    t0_ns: npt.NDArray[np.int64]
    """Monotonic time of sample 0 by call index; -1 before the first packet."""

    @classmethod
    def allocate(cls, legs: int) -> LegTable:
        # full() writes every page now; page faults while packets wait lost 44,671 of them in a measurement.
        return cls(
            legs=np.zeros(legs, LEG),
            ring=np.full((legs, RING_SAMPLES), 0xFF, np.uint8),
            state=np.full((legs, RING_SAMPLES), Sample.EMPTY, np.uint8),
            seen=np.full((legs, SEEN_PACKETS), -1, np.int64),
            kinds=np.full((legs, 128), PayloadKind.UNKNOWN, np.uint8),
            t0_ns=np.full(legs, -1, np.int64),
        )

    def clear(self, slot: int) -> None:
        """Make `slot` a fresh, inactive leg."""
        self.legs[slot] = np.zeros((), LEG)
        self.legs[slot]["encoding"] = Sample.PCMU
        self.legs[slot]["odd_seq"] = -1
        self.state[slot] = Sample.EMPTY
        self.seen[slot] = -1
        self.kinds[slot] = PayloadKind.UNKNOWN


def statistics(leg: int, row: Any) -> LegStatistics:
    """Return what a leg's row counted; `leg` is the leg's index in its call."""
    expected = int(row["newest_seq"] - row["segment_seq"] + 1) if row["anchored"] else 0
    return LegStatistics(
        leg=leg,
        packets=int(row["packets"]),
        lost=int(row["lost_before"]) + max(0, expected - int(row["segment_received"])),
        late=int(row["late"]),
        duplicate=int(row["duplicate"]),
        reordered=int(row["reordered"]),
        malformed=int(row["malformed"]),
        samples=int(row["cut"]),
    )
