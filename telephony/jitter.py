"""Placement: packets onto the call's timeline by RTP timestamp, and the timeline into blocks.

Plain loops over the rows of `leg.LegTable`; they never raise, allocate or validate. A leg is anchored by the
arrival of its first packet; from there timestamps decide, so jitter and hold never shift a leg. It is anchored
anew, by arrival and never backwards, when its SSRC, sequence or timestamps start again elsewhere.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from telephony.leg import RATE, RING_SAMPLES, SEEN_PACKETS
from telephony.rtp import unwrap

MASK: Final = RING_SAMPLES - 1
SEEN_MASK: Final = SEEN_PACKETS - 1
GAPS_PER_BLOCK: Final = 32
"""A block with more gaps ends early."""
SPARE_CUTS: Final = 600
"""Cuts that one packet can cause at most: a whole ring in the shortest blocks."""
AHEAD_SAMPLES: Final = 2 * RATE
"""A timestamp that far ahead of its arrival has jumped."""
DROPOUT_PACKETS: Final = 3000
MISORDER_PACKETS: Final = 100
UNKNOWN_PAYLOAD_TYPE: Final = 7
SEQUENCE_JUMP: Final = 10
"""Values of `rtp.Refusal`, as kernels see them."""
SECOND_NS: Final = 1_000_000_000


class Limits(NamedTuple):
    """Lengths in samples."""

    block: int
    reorder: int
    """How long a block with a hole waits behind newer audio."""
    silent: int
    """How long nothing must come before the clock moves a leg on."""


class Cuts(NamedTuple):
    """Blocks that kernels cut, until Python takes them; `sizes` is (cuts, gaps)."""

    sizes: npt.NDArray[np.int64]
    leg: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    encoding: npt.NDArray[np.uint8]
    heard: npt.NDArray[np.uint8]
    """0 when the whole block is a gap; its payload is then not written."""
    gap_first: npt.NDArray[np.int64]
    gap_count: npt.NDArray[np.int64]
    payload: npt.NDArray[np.uint8]
    gap_start: npt.NDArray[np.int64]
    gap_samples: npt.NDArray[np.int64]
    gap_cause: npt.NDArray[np.uint8]


def allocate_cuts(capacity: int, block: int) -> Cuts:
    """Return room for `capacity` blocks of `block` samples, touched."""
    gaps = capacity * GAPS_PER_BLOCK
    return Cuts(
        sizes=np.zeros(2, np.int64),
        leg=np.full(capacity, -1, np.int32),
        start=np.full(capacity, -1, np.int64),
        samples=np.full(capacity, -1, np.int64),
        encoding=np.full(capacity, 1, np.uint8),
        heard=np.full(capacity, 1, np.uint8),
        gap_first=np.full(capacity, -1, np.int64),
        gap_count=np.full(capacity, -1, np.int64),
        payload=np.full((capacity, block), 0xFF, np.uint8),
        gap_start=np.full(gaps, -1, np.int64),
        gap_samples=np.full(gaps, -1, np.int64),
        gap_cause=np.full(gaps, 1, np.uint8),
    )


@nb.njit(cache=True, nogil=True)
def samples_between(from_ns: int, to_ns: int) -> int:
    """Return a duration in samples, rounded to the nearest."""
    elapsed = to_ns - from_ns
    whole = elapsed // SECOND_NS
    return whole * RATE + ((elapsed - whole * SECOND_NS) * RATE + SECOND_NS // 2) // SECOND_NS


@nb.njit(cache=True, nogil=True)
def _missing(leg: Any, position: int) -> int:
    """Return why nothing is known of a sample: DOWN, HELD or SILENT."""
    if position < leg.down_until:
        return 5
    if position >= leg.hold_from and (leg.held != 0 or position < leg.hold_to):
        return 6
    return 4


@nb.njit(cache=True, nogil=True)
def cut_block(slot: int, leg: Any, ring: Any, state: Any, end: int, cuts: Cuts) -> None:
    """Cut [leg.cut, end), or less where the encoding changes or gaps are too many. `end` is at most a block on."""
    at = cuts.sizes[0]
    gaps = cuts.sizes[1]
    first_gap = gaps
    start = leg.cut
    encoding = np.uint8(0)
    cause = np.uint8(0)
    position = start
    while position < end:
        code = state[position & MASK]
        if code == 1 or code == 2:
            if encoding == 0:
                encoding = code
            elif code != encoding:
                break
            cause = np.uint8(0)
        else:
            if code == 0 or code == 4:
                code = np.uint8(_missing(leg, position))
            if code != cause:
                if gaps - first_gap == GAPS_PER_BLOCK:
                    break
                cuts.gap_start[gaps] = position
                cuts.gap_samples[gaps] = 0
                cuts.gap_cause[gaps] = code
                gaps += 1
                cause = code
            cuts.gap_samples[gaps - 1] += 1
        position += 1
    heard = encoding != 0
    if not heard:
        encoding = leg.encoding
    silence = np.uint8(0xFF) if encoding == 1 else np.uint8(0xD5)
    for sample in range(start, position):
        index = sample & MASK
        if heard:
            code = state[index]
            cuts.payload[at, sample - start] = ring[index] if code == 1 or code == 2 else silence
        state[index] = 0
    cuts.leg[at] = slot
    cuts.start[at] = start
    cuts.samples[at] = position - start
    cuts.encoding[at] = encoding
    cuts.heard[at] = heard
    cuts.gap_first[at] = first_gap
    cuts.gap_count[at] = gaps - first_gap
    cuts.sizes[0] = at + 1
    cuts.sizes[1] = gaps
    leg.cut = position


@nb.njit(cache=True, nogil=True)
def cut_gap(slot: int, leg: Any, end: int, cause: int, cuts: Cuts) -> None:
    """Cut [leg.cut, end) as one gap of any length; nothing of it lies in the ring."""
    at = cuts.sizes[0]
    gaps = cuts.sizes[1]
    cuts.leg[at] = slot
    cuts.start[at] = leg.cut
    cuts.samples[at] = end - leg.cut
    cuts.encoding[at] = leg.encoding
    cuts.heard[at] = 0
    cuts.gap_first[at] = gaps
    cuts.gap_count[at] = 1
    cuts.gap_start[gaps] = leg.cut
    cuts.gap_samples[gaps] = end - leg.cut
    cuts.gap_cause[gaps] = cause
    cuts.sizes[0] = at + 1
    cuts.sizes[1] = gaps + 1
    leg.cut = end


@nb.njit(cache=True, nogil=True)
def _complete(state: Any, start: int, end: int) -> bool:
    for position in range(start, end):
        if state[position & MASK] == 0:
            return False
        if state[position & MASK] == 3:
            return False
    return True


@nb.njit(cache=True, nogil=True)
def cut_due(
    slot: int, leg: Any, ring: Any, state: Any, t0_ns: int, now_ns: int, limits: Limits, cuts: Cuts
) -> None:
    """Cut what is complete, what newer audio has passed by the reorder allowance, and what stayed silent."""
    if t0_ns < 0:
        return
    now = samples_between(t0_ns, now_ns)
    idle = samples_between(leg.last_advance_ns, now_ns) >= limits.silent
    while cuts.sizes[0] < len(cuts.leg) - SPARE_CUTS:
        end = leg.cut + limits.block
        passed = leg.frontier >= end + limits.reorder
        if not passed and leg.frontier >= end:
            passed = _complete(state, leg.cut, end)
        if not passed and not (idle and now - limits.silent >= end):
            return
        if leg.frontier <= leg.cut and now - limits.silent - leg.cut > RING_SAMPLES:
            # Long behind and nothing in the ring (a leg added late, a restart): one gap, split later.
            if leg.cut < leg.down_until:
                cut_gap(slot, leg, min(leg.down_until, now - limits.silent), 5, cuts)
            else:
                cut_gap(slot, leg, now - limits.silent, _missing(leg, leg.cut), cuts)
        else:
            cut_block(slot, leg, ring, state, end, cuts)


@nb.njit(cache=True, nogil=True)
def cut_all_due(legs: Any, ring: Any, state: Any, t0_ns: Any, now_ns: int, limits: Limits, cuts: Cuts) -> bool:
    """`cut_due` for every leg. Returns True when `cuts` is full: empty it and call again."""
    for slot in range(len(legs)):
        leg = legs[slot]
        if leg.active != 0:
            cut_due(slot, leg, ring[slot], state[slot], t0_ns[leg.call], now_ns, limits, cuts)
            if cuts.sizes[0] >= len(cuts.leg) - SPARE_CUTS:
                return True
    return False


@nb.njit(cache=True, nogil=True)
def cut_rest(slot: int, legs: Any, ring: Any, state: Any, limits: Limits, cuts: Cuts) -> bool:
    """Cut everything placed so far; the leg ends. Returns True when `cuts` is full, as above."""
    leg = legs[slot]
    while leg.cut < leg.frontier:
        if cuts.sizes[0] >= len(cuts.leg) - SPARE_CUTS:
            return True
        cut_block(slot, leg, ring[slot], state[slot], min(leg.frontier, leg.cut + limits.block), cuts)
    return False


@nb.njit(cache=True, nogil=True)
def move_start(legs: Any, ring: Any, state: Any, call: int, samples: int) -> bool:
    """Move all of a call's audio `samples` later, because its first packet came earlier than was thought.

    Returns False, and moves nothing, when a block has been cut already.
    """
    for slot in range(len(legs)):
        leg = legs[slot]
        if leg.active != 0 and leg.call == call and (leg.cut > 0 or leg.frontier + samples > RING_SAMPLES):
            return False
    for slot in range(len(legs)):
        leg = legs[slot]
        if leg.active == 0 or leg.call != call or leg.anchored == 0:
            continue
        for position in range(leg.frontier - 1, -1, -1):
            ring[slot, position + samples] = ring[slot, position]
            state[slot, position + samples] = state[slot, position]
        for position in range(samples):
            state[slot, position] = 0
        leg.anchor_pos += samples
        leg.frontier += samples
    return True


@nb.njit(cache=True, nogil=True)
def _begin_numbering(leg: Any, seen: Any, sequence: int, timestamp: int, ssrc: int) -> None:
    if leg.anchored != 0:
        expected = leg.newest_seq - leg.segment_seq + 1
        if expected > leg.segment_received:
            leg.lost_before += expected - leg.segment_received
    for index in range(SEEN_PACKETS):
        seen[index] = -1
    leg.anchored = 1
    leg.ssrc = ssrc
    # Two turns up, so that packets from before the first never count below zero.
    leg.newest_seq = sequence + 131072
    leg.segment_seq = leg.newest_seq
    leg.segment_received = 0
    leg.newest_ts = timestamp + (np.int64(1) << 33)
    leg.odd_seq = -1


@nb.njit(cache=True, nogil=True)
def _jumped(leg: Any, sequence: int, arrival_ns: int) -> bool:
    """Tell a numbering that has left its stream; a long pause widens what is believed."""
    ahead = unwrap(sequence, leg.newest_seq, 16) - leg.newest_seq
    idle_ms = max(0, arrival_ns - leg.last_packet_ns) // 1_000_000
    return bool(ahead > DROPOUT_PACKETS + idle_ms // 10 or ahead < -MISORDER_PACKETS)


@nb.njit(cache=True, nogil=True)
def place(
    slot: int,
    leg: Any,
    ring: Any,
    state: Any,
    seen: Any,
    header: Any,
    kind: int,
    payload: Any,
    arrival_ns: int,
    t0_ns: int,
    limits: Limits,
    cuts: Cuts,
) -> int:
    """Place one packet of a leg.

    Parameters
    ----------
    header : int64[6]
        As `rtp.read_header` fills it; `payload` is the whole datagram.
    kind : int
        The payload type's `leg.PayloadKind`, not UNKNOWN.
    arrival_ns, t0_ns : int
        Monotonic; `t0_ns` is the call's sample 0.

    Returns
    -------
    int
        A `rtp.Refusal`; NONE also for late and duplicate packets, which are counted.
    """
    sequence, timestamp, ssrc, length = header[1], header[2], header[3], header[5]
    audio = kind <= 2
    arrival = max(np.int64(0), np.int64(samples_between(t0_ns, arrival_ns)))
    floor = max(leg.cut, leg.frontier)
    same = leg.anchored != 0 and leg.ssrc == ssrc
    if not audio or length == 0:
        # Events and comfort noise are numbered with the audio but are none; an empty payload keeps a NAT open.
        leg.not_audio += 1
        if not same or _jumped(leg, sequence, arrival_ns):
            return 0
    if audio and kind != leg.encoding and leg.anchored != 0 and leg.frontier - leg.switched < limits.block:
        return UNKNOWN_PAYLOAD_TYPE  # an encoding that changes faster than blocks are cut is no call's
    fresh = not same
    if same and _jumped(leg, sequence, arrival_ns):
        paused = arrival_ns - leg.last_packet_ns > 2 * SECOND_NS
        if not paused and sequence != leg.odd_seq:
            leg.odd_seq = (sequence + 1) & 0xFFFF
            return SEQUENCE_JUMP
        fresh = True
    if fresh:
        first = leg.anchored == 0
        _begin_numbering(leg, seen, sequence, timestamp, ssrc)
        leg.anchor_ts = leg.newest_ts
        leg.anchor_pos = max(floor, arrival)
        if not first:
            leg.anchors += 1
    number = unwrap(sequence, leg.newest_seq, 16)
    ahead = number - leg.newest_seq
    if seen[number & SEEN_MASK] == number:
        leg.duplicate += 1
        return 0
    seen[number & SEEN_MASK] = number
    leg.odd_seq = -1
    leg.packets += 1
    leg.segment_received += 1
    leg.last_packet_ns = max(leg.last_packet_ns, arrival_ns)
    if number < leg.segment_seq:
        leg.segment_seq = number
    if ahead > 0:
        leg.newest_seq = number
    if not audio or length == 0:
        return 0

    stamp = unwrap(timestamp, leg.newest_ts, 32)
    position = leg.anchor_pos + stamp - leg.anchor_ts
    if ahead >= 0:
        leg.newest_ts = stamp
        if position < floor or position > arrival + AHEAD_SAMPLES:
            leg.anchor_ts = stamp
            leg.anchor_pos = max(floor, arrival)
            leg.anchors += 1
            position = leg.anchor_pos
    else:
        leg.reordered += 1
        if position + length <= leg.cut or position + length > floor:
            leg.late += 1
            leg.reordered -= 1
            return 0
    end = position + length

    if ahead >= 0 and position > floor:
        if leg.restored != 0:
            cause = 5
        elif ahead > 1 and position - floor <= 2 * (ahead - 1) * length:
            cause = 3
        else:
            cause = 4
        while end - leg.cut > RING_SAMPLES and leg.cut < leg.frontier:
            cut_block(slot, leg, ring, state, min(leg.frontier, leg.cut + limits.block), cuts)
        if end - leg.cut > RING_SAMPLES:
            if cause == 4:
                cause = _missing(leg, leg.cut)
            cut_gap(slot, leg, position, cause, cuts)
        for sample in range(max(leg.cut, floor), position):
            state[sample & MASK] = cause
    while end - leg.cut > RING_SAMPLES:
        cut_block(slot, leg, ring, state, leg.cut + limits.block, cuts)
    if leg.restored != 0:
        leg.restored = 0
        leg.down_until = max(leg.cut, position)

    if kind != leg.encoding:
        leg.encoding = kind
        leg.switched = position
    at = header[4]
    for offset in range(max(np.int64(0), leg.cut - position), length):
        index = (position + offset) & MASK
        if state[index] != 1 and state[index] != 2:
            ring[index] = payload[at + offset]
            state[index] = kind
    if end > leg.frontier:
        leg.frontier = end
        leg.last_advance_ns = max(leg.last_advance_ns, arrival_ns)
    return 0
