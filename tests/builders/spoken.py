"""What was spoken into a call, and whether it was captured: sample by sample."""

from __future__ import annotations

import threading

from events.audio import AudioBlock, GapCause
from telephony.caller import Party, PlacedCall, send_paced

PARTIES = (Party("A", "sip:agent1@example.invalid"), Party("B", "sip:customer@example.invalid"))


def heard(block: AudioBlock) -> list[tuple[int, int]]:
    """Return the [start, end) ranges of a block that are no gap."""
    at, found = block.start_sample, []
    for gap in block.gaps:
        if gap.start_sample > at:
            found.append((at, gap.start_sample))
        at = gap.start_sample + gap.samples
    if at < block.start_sample + block.samples:
        found.append((at, block.start_sample + block.samples))
    return found


def check_leg(blocks: list[AudioBlock], sent: bytes) -> tuple[int, dict[GapCause, int]]:
    """Check every heard sample against what was sent; return how many were heard, and the gaps by cause."""
    first = next(block for block in blocks if block.payload)
    start = heard(first)[0][0]
    probe = first.payload[start - first.start_sample :][:160]
    shift = start - sent.index(probe)
    total = 0
    gaps: dict[GapCause, int] = {}
    for block in blocks:
        for gap in block.gaps:
            gaps[gap.cause] = gaps.get(gap.cause, 0) + gap.samples
        for begin, end in heard(block):
            got = block.payload[begin - block.start_sample : end - block.start_sample]
            assert got == sent[begin - shift : end - shift], f"Samples {begin} to {end} are not what was sent."
            total += end - begin
    return total, gaps


class Speaking:
    """Both parties speak in a thread until told to stop."""

    def __init__(self, call: PlacedCall, sent: list[bytes]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=send_paced, args=(call.streams, sent, self._stop))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
