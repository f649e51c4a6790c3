"""Datagrams from many sockets, by recvmmsg straight into preallocated arrays, and each to its leg's placement.

The system call is made from inside the kernel (numba resolves the C library's symbol), so a thousand sockets
cost neither the interpreter nor its lock. Each datagram comes with the time at which the system received it
(SO_TIMESTAMPNS): legs are aligned by arrival, not by when this process got round to reading.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
from numba import types

from telephony.jitter import SECOND_NS, SPARE_CUTS, Cuts, Limits, move_start, place, samples_between
from telephony.leg import RATE
from telephony.rtp import read_header

BATCH: Final = 32
SLOT_BYTES: Final = 2048
ROUNDS: Final = 64
"""Batches read from one socket before the others get their turn."""
_DONTWAIT: Final = 0x40
_TRUNCATED: Final = 0x20
_CONTROL_WORDS: Final = 8
_TIMESTAMP: Final = 1 | (35 << 32)
"""cmsg level SOL_SOCKET and type SCM_TIMESTAMPNS, as one little-endian word."""

# struct iovec and struct mmsghdr of 64-bit Linux (recvmmsg(2)).
_IOVEC: Final = np.dtype([("base", "u8"), ("length", "u8")])
_MMSGHDR: Final = np.dtype(
    [
        ("name", "u8"),
        ("name_length", "u4"),
        ("_pad1", "u4"),
        ("iov", "u8"),
        ("iov_length", "u8"),
        ("control", "u8"),
        ("control_length", "u8"),
        ("flags", "i4"),
        ("_pad2", "i4"),
        ("length", "u4"),
        ("_pad3", "u4"),
    ]
)
_recvmmsg: Final = types.ExternalFunction(
    "recvmmsg", types.int32(types.int32, types.intp, types.uint32, types.int32, types.intp)
)


class Datagrams(NamedTuple):
    """One batch of datagrams, and the place in it where reading stopped for want of room.

    `at` is (index into the ready list, datagrams in the batch, next datagram, rounds on this socket).
    """

    at: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]
    names: npt.NDArray[np.uint8]
    control: npt.NDArray[np.int64]
    iovec: npt.NDArray[Any]
    headers: npt.NDArray[Any]
    fields: npt.NDArray[np.int64]
    refused: npt.NDArray[np.int64]
    """Datagrams refused so far, by `rtp.Refusal`."""
    placed: npt.NDArray[np.int64]
    """(RTP packets taken, bytes of RTCP and others passed over)."""


def allocate_datagrams(refusals: int) -> Datagrams:
    data = np.full((BATCH, SLOT_BYTES), 1, np.uint8)
    names = np.full((BATCH, 16), 1, np.uint8)
    control = np.full((BATCH, _CONTROL_WORDS), 1, np.int64)
    iovec = np.zeros(BATCH, _IOVEC)
    headers = np.zeros(BATCH, _MMSGHDR)
    iovec["base"] = data.ctypes.data + np.arange(BATCH) * SLOT_BYTES
    iovec["length"] = SLOT_BYTES
    headers["name"] = names.ctypes.data + np.arange(BATCH) * 16
    headers["name_length"] = 16
    headers["iov"] = iovec.ctypes.data + np.arange(BATCH) * _IOVEC.itemsize
    headers["iov_length"] = 1
    headers["control"] = control.ctypes.data + np.arange(BATCH) * _CONTROL_WORDS * 8
    headers["control_length"] = _CONTROL_WORDS * 8
    return Datagrams(
        at=np.zeros(4, np.int64),
        data=data,
        names=names,
        control=control,
        iovec=iovec,
        headers=headers,
        fields=np.zeros(6, np.int64),
        refused=np.zeros(refusals, np.int64),
        placed=np.zeros(2, np.int64),
    )


@nb.njit(cache=True, nogil=True)
def accept_source(leg: Any, source: int, arrival_ns: int) -> bool:
    """Latch the leg's source, or tell whether a packet comes from it.

    The first source is taken (NAT makes the announced address useless often enough), the announced one takes
    over from it, and after two seconds of silence another port of the same address may.
    """
    if leg.source == source:
        return True
    announced = leg.announced
    if leg.source != 0 and source != announced:
        same_host = source >> 16 == leg.source >> 16
        paused = arrival_ns - leg.last_packet_ns > 2 * SECOND_NS
        better = source >> 16 == announced >> 16 and leg.source >> 16 != announced >> 16
        if not better and not (same_host and paused):
            return False
    leg.source = source
    return True


@nb.njit(cache=True, nogil=True)
def take(
    slot: int,
    leg: Any,
    data: Any,
    length: int,
    source: int,
    arrival_ns: int,
    fields: Any,
    placed: Any,
    legs: Any,
    ring: Any,
    state: Any,
    seen: Any,
    kinds: Any,
    t0_ns: Any,
    limits: Limits,
    cuts: Cuts,
) -> int:
    """Take one datagram of one socket. Returns a `rtp.Refusal`."""
    if leg.active == 0:
        return 9
    if length >= 2 and data[0] >> 6 == 2:
        kind = data[1] & 0x7F
        if kind >= 64 and kind <= 95:
            placed[1] += 1  # RTCP on the RTP port (RFC 5761)
            return 0
    refusal = read_header(data, length, fields)
    if refusal != 0:
        leg.malformed += 1
        return int(refusal)
    kind = kinds[slot, fields[0]]
    if kind == 0:
        return 7
    if not accept_source(leg, source, arrival_ns):
        return 8
    start = t0_ns[leg.call]
    if start < 0:
        start = arrival_ns
        t0_ns[leg.call] = start
    elif arrival_ns < start and start - arrival_ns < SECOND_NS:
        # Both legs' first packets lay in their sockets; the one read second came first.
        earlier = samples_between(arrival_ns, start)
        if move_start(legs, ring, state, leg.call, earlier):
            start -= earlier * SECOND_NS // RATE
            t0_ns[leg.call] = start
    refusal = place(
        slot, leg, ring[slot], state[slot], seen[slot], fields, kind, data, arrival_ns, start, limits, cuts
    )
    if refusal == 0:
        placed[0] += 1
    return int(refusal)


@nb.njit(cache=True, nogil=True)
def drain(
    ready: Any,
    sockets: Any,
    grams: Datagrams,
    realtime_ahead_ns: int,
    now_ns: int,
    legs: Any,
    ring: Any,
    state: Any,
    seen: Any,
    kinds: Any,
    t0_ns: Any,
    limits: Limits,
    cuts: Cuts,
) -> bool:
    """Read and place all datagrams of the sockets in `ready`.

    Parameters
    ----------
    ready : int32[n]
        Slots whose sockets have something.
    sockets : int32[slots]
        File descriptors.
    realtime_ahead_ns : int
        Realtime clock (of the timestamps) minus monotonic clock (of everything else).

    Returns
    -------
    bool
        True when `cuts` is full: empty it and call again with the same `ready`.
    """
    at, headers, control, names = grams.at, grams.headers, grams.control, grams.names
    while at[0] < len(ready):
        slot = ready[at[0]]
        leg = legs[slot]
        while True:
            if at[1] == 0:
                received = _recvmmsg(
                    np.int32(sockets[slot]), headers.ctypes.data, np.uint32(BATCH), np.int32(_DONTWAIT), 0
                )
                if received <= 0:
                    break
                at[1] = received
                at[2] = 0
                at[3] += 1
            while at[2] < at[1]:
                if cuts.sizes[0] >= len(cuts.leg) - SPARE_CUTS:
                    return True
                i = at[2]
                at[2] += 1
                header = headers[i]
                arrival_ns = now_ns
                if header.control_length >= 32 and control[i, 1] == _TIMESTAMP:
                    stamp = control[i, 2] * SECOND_NS + control[i, 3] - realtime_ahead_ns
                    arrival_ns = min(now_ns, stamp)
                name = names[i]
                source = (
                    (np.int64(name[4]) << 40)
                    | (np.int64(name[5]) << 32)
                    | (np.int64(name[6]) << 24)
                    | (np.int64(name[7]) << 16)
                    | (np.int64(name[2]) << 8)
                    | np.int64(name[3])
                )
                if header.flags & _TRUNCATED:
                    refusal = 6
                else:
                    refusal = take(
                        slot,
                        leg,
                        grams.data[i],
                        np.int64(header.length),
                        source,
                        arrival_ns,
                        grams.fields,
                        grams.placed,
                        legs,
                        ring,
                        state,
                        seen,
                        kinds,
                        t0_ns,
                        limits,
                        cuts,
                    )
                if refusal != 0:
                    grams.refused[refusal] += 1
                header.name_length = 16
                header.control_length = _CONTROL_WORDS * 8
                header.flags = 0
            full = at[1] == BATCH and at[3] < ROUNDS
            at[1] = 0
            if not full:
                break
        at[0] += 1
        at[1] = 0
        at[3] = 0
    at[0] = 0
    return False
