"""The receive path of all legs: epoll, the draining kernel, and blocks as they become due. One thread owns it."""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from events.audio import Encoding, Gap
from events.clock import Clock
from events.metrics import RTP_PACKETS, RTP_REFUSED, count
from telephony.datagrams import allocate_datagrams, drain
from telephony.jitter import Limits, allocate_cuts, cut_all_due, cut_rest
from telephony.leg import ENCODINGS, GAP_CAUSES, RATE, SAMPLE_OF, LegTable, PayloadKind, Sample
from telephony.rtp import SENTENCES, Refusal

logger = logging.getLogger(__name__)

_CUTS: Final = 2048
_SPLIT_SAMPLES: Final = RATE
"""Gaps longer than a second become blocks of a second."""
_SAY_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    block_ms: int = 100
    reorder_ms: int = 60
    """A block with a hole waits until newer audio has passed its end by this much."""
    silent_ms: int = 300
    """A leg that gets nothing for this long is moved on by the clock, as far as this behind it."""
    tick_ms: int = 20
    """How often sockets are read; the system's buffers hold what comes in between."""

    def __post_init__(self) -> None:
        if not 20 <= self.block_ms <= 400:
            raise ValueError("Audio blocks are between 20 and 400 ms long.")
        if not 0 <= self.reorder_ms <= self.silent_ms:
            raise ValueError("The reorder allowance is not longer than the silence after which a leg moves on.")
        if not 100 <= self.silent_ms <= 1000:
            raise ValueError("A leg moves on without packets after 100 to 1000 ms.")
        if not 1 <= self.tick_ms <= 100:
            raise ValueError("Sockets are read every 1 to 100 ms.")


@dataclass(frozen=True, slots=True)
class Cut:
    """A block of one leg, not yet said of which call; fields as in `events.audio.AudioBlock`."""

    slot: int
    start_sample: int
    samples: int
    encoding: Encoding
    payload: bytes
    gaps: tuple[Gap, ...]


class Receiver:
    """Sockets in, cuts out. A leg's slot is the index of its socket, so the port decides whose packet it is."""

    def __init__(self, sockets: Sequence[int], settings: ReceiverSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._limits = Limits(
            settings.block_ms * RATE // 1000, settings.reorder_ms * RATE // 1000, settings.silent_ms * RATE // 1000
        )
        self.table = LegTable.allocate(len(sockets))
        self._sockets: npt.NDArray[np.int32] = np.array(sockets, np.int32)
        self._grams = allocate_datagrams(len(Refusal))
        self._cuts = allocate_cuts(_CUTS, self._limits.block)
        self._epoll = select.epoll()
        self._slot_of = {fd: slot for slot, fd in enumerate(sockets)}
        for fd in sockets:
            # Ports without a call are read too: what comes there is counted, and does not fill the buffers.
            self._epoll.register(fd, select.EPOLLIN)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._counted = np.zeros(len(Refusal), np.int64)
        self._counted_packets = 0
        self._said: dict[Refusal, float] = {}
        self._next_tick = 0.0
        self._warm_up()

    def _warm_up(self) -> None:
        """Have the kernels compiled or loaded before the first packet waits for them."""
        for _ in (*self.read(()), *self.due(), *self.finish(0)):
            raise AssertionError("A receiver without legs has cut a block.")

    @property
    def active(self) -> npt.NDArray[np.intp]:
        """Slots in use."""
        return np.flatnonzero(self.table.legs["active"])

    def now_ns(self) -> int:
        return int(self._clock.monotonic() * 1e9)

    def call_sample(self, call_slot: int, now_ns: int) -> int:
        """Return the present sample of a call that has begun."""
        return max(0, (now_ns - int(self.table.t0_ns[call_slot])) * RATE // 1_000_000_000)

    def open_leg(
        self, slot: int, call_slot: int, encoding: Encoding, kinds: Sequence[tuple[int, PayloadKind]]
    ) -> Any:
        """Make `slot` a leg of the call whose first leg is `call_slot`; return its row."""
        self.table.clear(slot)
        row = self.table.legs[slot]
        row["active"] = 1
        row["call"] = call_slot
        row["encoding"] = SAMPLE_OF[encoding]
        if slot == call_slot:
            self.table.t0_ns[slot] = -1
        self.set_kinds(slot, kinds)
        return row

    def set_kinds(self, slot: int, kinds: Sequence[tuple[int, PayloadKind]]) -> None:
        """Say what each payload type of a leg means."""
        self.table.kinds[slot] = PayloadKind.UNKNOWN
        for payload_type, kind in kinds:
            self.table.kinds[slot, payload_type] = kind

    def close_leg(self, slot: int) -> None:
        self.table.clear(slot)

    def wake(self) -> None:
        """Make `poll` return soon; from any thread."""
        os.eventfd_write(self._bell, 1)

    def poll(self, longest_s: float) -> Iterator[Cut]:
        """Wait for datagrams, a tick or `wake`; place what came; give back blocks that are due."""
        slots = self._wait(longest_s)
        if slots:
            yield from self.read(slots)
        yield from self.due()

    def _wait(self, longest_s: float) -> list[int]:
        started = time.monotonic()
        pause = self._next_tick - started
        if pause > 0:
            # One wake-up reads many sockets: waiting for the tick costs no packet and saves most of the work.
            time.sleep(min(pause, longest_s))
        self._next_tick = time.monotonic() + self._settings.tick_ms / 1000
        if self.table.legs["active"].any():
            longest_s = min(longest_s, self._settings.tick_ms / 1000)
        ready = [fd for fd, _ in self._epoll.poll(longest_s)]
        if self._bell in ready:
            os.eventfd_read(self._bell)
            ready.remove(self._bell)
        return [self._slot_of[fd] for fd in ready]

    def read(self, slots: Sequence[int]) -> Iterator[Cut]:
        """Read the sockets of `slots` until they are empty."""
        ready = np.array(slots, np.int32)
        table = self.table
        now_ns = self.now_ns()
        ahead_ns = self._clock_difference()
        more = True
        while more:
            more = drain(
                ready,
                self._sockets,
                self._grams,
                ahead_ns,
                now_ns,
                table.legs,
                table.ring,
                table.state,
                table.seen,
                table.kinds,
                table.t0_ns,
                self._limits,
                self._cuts,
            )
            yield from self._take()
        self._tell_refused()

    def due(self) -> Iterator[Cut]:
        """Cut what is due now on all legs."""
        table, now_ns, more = self.table, self.now_ns(), True
        while more:
            more = cut_all_due(table.legs, table.ring, table.state, table.t0_ns, now_ns, self._limits, self._cuts)
            yield from self._take()

    def finish(self, slot: int) -> Iterator[Cut]:
        """Cut all that a leg has; the last block may be short."""
        table, more = self.table, True
        while more:
            more = cut_rest(slot, table.legs, table.ring, table.state, self._limits, self._cuts)
            yield from self._take()

    def close(self) -> None:
        self._epoll.close()
        os.close(self._bell)

    def _clock_difference(self) -> int:
        return time.time_ns() - self.now_ns()

    def _take(self) -> Iterator[Cut]:
        cuts = self._cuts
        taken, gaps_taken = int(cuts.sizes[0]), int(cuts.sizes[1])
        if not taken:
            return
        gaps = [
            Gap(start, samples, GAP_CAUSES[Sample(cause)])
            for start, samples, cause in zip(
                cuts.gap_start[:gaps_taken].tolist(),
                cuts.gap_samples[:gaps_taken].tolist(),
                cuts.gap_cause[:gaps_taken].tolist(),
                strict=True,
            )
        ]
        columns = (cuts.leg, cuts.start, cuts.samples, cuts.encoding, cuts.heard, cuts.gap_first, cuts.gap_count)
        rows = zip(*(column[:taken].tolist() for column in columns), strict=True)
        payload = cuts.payload
        cuts.sizes[:] = 0
        for at, (slot, start, samples, code, heard, first, gap_count) in enumerate(rows):
            encoding = ENCODINGS[code]
            own = tuple(gaps[first : first + gap_count])
            if heard:
                yield Cut(slot, start, samples, encoding, payload[at, :samples].tobytes(), own)
                continue
            for gap in own:
                for part in range(gap.start_sample, gap.start_sample + gap.samples, _SPLIT_SAMPLES):
                    length = min(_SPLIT_SAMPLES, gap.start_sample + gap.samples - part)
                    yield Cut(slot, part, length, encoding, b"", (Gap(part, length, gap.cause),))

    def _tell_refused(self) -> None:
        packets = int(self._grams.placed[0])
        if packets != self._counted_packets:
            count(RTP_PACKETS, packets - self._counted_packets)
            self._counted_packets = packets
        if np.array_equal(self._counted, self._grams.refused):
            return
        now = self._clock.monotonic()
        for refusal in Refusal:
            new = int(self._grams.refused[refusal] - self._counted[refusal])
            if new and refusal is not Refusal.NONE:
                count(RTP_REFUSED, new, cause=refusal.name.lower())
                if now - self._said.get(refusal, -_SAY_EVERY_S) >= _SAY_EVERY_S:
                    self._said[refusal] = now
                    logger.warning(
                        "%s It was ignored (%d so far).", SENTENCES[refusal], self._grams.refused[refusal]
                    )
        self._counted[:] = self._grams.refused
