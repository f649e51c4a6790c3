"""Placement: any order, duplication and loss equals a reference that sees the whole stream at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from events.audio import Encoding, Gap, GapCause
from telephony.jitter import Limits, allocate_cuts, cut_due, cut_rest, place
from telephony.leg import LegTable, PayloadKind, Sample, statistics
from telephony.rtp import Refusal

FRAME = 160
LIMITS = Limits(block=800, reorder=480, silent=2400)
MS = 1_000_000
T0 = 5_000 * MS


@dataclass
class OneLeg:
    """A leg under the kernels, time as an argument."""

    encoding: Encoding = Encoding.PCMU
    table: LegTable = field(default_factory=lambda: LegTable.allocate(1))
    samples: dict[int, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    blocks: list[tuple[int, int, Encoding]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table.clear(0)
        self.row["active"] = 1
        self.row["encoding"] = Sample[self.encoding.name]
        self._cuts = allocate_cuts(2048, LIMITS.block)
        self._header = np.zeros(6, np.int64)
        self._buffer = np.zeros(2048, np.uint8)

    @property
    def row(self) -> np.void:
        return self.table.legs[0]

    @property
    def end(self) -> int:
        return int(self.row["cut"])

    def packet(
        self,
        sequence: int,
        timestamp: int,
        payload: bytes,
        at_ms: float,
        ssrc: int = 1,
        kind: PayloadKind = PayloadKind.PCMU,
    ) -> Refusal:
        self._buffer[12 : 12 + len(payload)] = np.frombuffer(payload, np.uint8)
        self._header[:] = (0, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, 12, len(payload))
        refusal = place(
            0,
            self.row,
            self.table.ring[0],
            self.table.state[0],
            self.table.seen[0],
            self._header,
            int(kind),
            self._buffer,
            T0 + int(at_ms * MS),
            T0,
            LIMITS,
            self._cuts,
        )
        self._take()
        return Refusal(refusal)

    def clock(self, at_ms: float) -> None:
        cut_due(0, self.row, self.table.ring[0], self.table.state[0], T0, T0 + int(at_ms * MS), LIMITS, self._cuts)
        self._take()

    def finish(self) -> None:
        assert not cut_rest(0, self.table.legs, self.table.ring, self.table.state, LIMITS, self._cuts)
        self._take()

    def _take(self) -> None:
        cuts = self._cuts
        for at in range(int(cuts.sizes[0])):
            start, samples = int(cuts.start[at]), int(cuts.samples[at])
            assert start == (self.blocks[-1][0] + self.blocks[-1][1] if self.blocks else 0)
            self.blocks.append((start, samples, Encoding(Sample(int(cuts.encoding[at])).name)))
            first = int(cuts.gap_first[at])
            gaps = []
            for gap in range(first, first + int(cuts.gap_count[at])):
                cause = GapCause(Sample(int(cuts.gap_cause[gap])).name.lower())
                gaps.append(Gap(int(cuts.gap_start[gap]), int(cuts.gap_samples[gap]), cause))
            self.gaps += gaps
            missing = {s for gap in gaps for s in range(gap.start_sample, gap.start_sample + gap.samples)}
            if not cuts.heard[at]:
                assert len(missing) == samples
                continue
            for offset in range(samples):
                if start + offset not in missing:
                    self.samples[start + offset] = int(cuts.payload[at, offset])
        cuts.sizes[:] = 0

    def missing(self, cause: GapCause) -> int:
        return sum(gap.samples for gap in self.gaps if gap.cause is cause)


def frame(number: int) -> bytes:
    return bytes((number * 37 + offset) & 0xFF for offset in range(FRAME))


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Return a stream's length and (packet, copy) in order of arrival: lost, doubled and up to 3 places late."""
    packets = draw(st.integers(5, 80))
    arrivals: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for number in range(1, packets):
        for copy in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2]))):
            late = draw(st.sampled_from([0, 0, 0, 1, 2, 2.9]))
            arrivals.append((number + late, number, copy))
    return packets, [(number, copy) for _, number, copy in sorted(arrivals)]


@settings(deadline=None, max_examples=150)
@given(deliveries(), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_any_order_equals_the_reference(
    delivery: tuple[int, list[tuple[int, int]]], sequence: int, timestamp: int
) -> None:
    packets, order = delivery
    leg = OneLeg()
    for step, (number, _) in enumerate(order):
        assert leg.packet(sequence + number, timestamp + FRAME * number, frame(number), 20 * step) is Refusal.NONE
        leg.clock(20 * step)
    leg.finish()
    arrived = sorted({number for number, _ in order})
    expected = {number * FRAME + offset: value for number in arrived for offset, value in enumerate(frame(number))}
    counted = statistics(0, leg.row)
    assert counted.late == 0, "Three places of reordering are within the allowance."
    assert leg.samples == expected
    newest = arrived[-1]
    assert leg.end == (newest + 1) * FRAME
    assert counted.packets == len(arrived)
    assert counted.duplicate == len(order) - len(arrived)
    assert counted.lost == newest + 1 - len(arrived)
    assert leg.missing(GapCause.LOST) == counted.lost * FRAME
    assert leg.missing(GapCause.SILENT) == 0
    assert packets >= len(arrived)


def test_first_packet_anchors_by_arrival() -> None:
    leg = OneLeg()
    leg.packet(9, 77, frame(1), 250)
    leg.packet(10, 77 + FRAME, frame(2), 270)
    leg.finish()
    assert min(leg.samples) == 2000
    assert leg.missing(GapCause.SILENT) == 2000


def test_jitter_never_moves_a_leg() -> None:
    leg = OneLeg()
    for number in range(100):
        late = (number * 7919 % 41) if number else 0
        leg.packet(number, FRAME * number, frame(number), 20 * number + late)
        leg.clock(20 * number + late)
    leg.finish()
    assert len(leg.samples) == 100 * FRAME
    assert leg.gaps == []


def test_hold_leaves_a_gap_and_shifts_nothing() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    leg.row["held"], leg.row["hold_from"] = 1, FRAME
    leg.clock(3000)
    leg.row["held"], leg.row["hold_to"] = 0, 8 * 3020
    leg.packet(1, 8 * 3020, frame(1), 3021)
    leg.clock(3500)
    leg.finish()
    assert leg.samples[8 * 3020] == frame(1)[0]
    assert leg.missing(GapCause.HELD) == 8 * 3020 - FRAME


def test_a_leg_moves_on_in_silence() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    leg.clock(1000)
    assert 8 * 1000 - LIMITS.silent - LIMITS.block < leg.end <= 8 * 1000 - LIMITS.silent


def test_timestamps_that_pause_are_anchored_anew_by_arrival() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    leg.clock(5000)
    leg.packet(1, FRAME, frame(1), 5010)  # the sender's clock stood still meanwhile
    leg.packet(2, 2 * FRAME, frame(2), 5030)
    leg.finish()
    assert leg.samples[8 * 5010] == frame(1)[0]
    assert leg.samples[8 * 5010 + FRAME] == frame(2)[0]
    assert int(leg.row["anchors"]) == 1


def test_a_new_ssrc_goes_on_by_arrival_and_never_backwards() -> None:
    leg = OneLeg()
    for number in range(10):
        leg.packet(number, FRAME * number, frame(number), 20 * number)
    leg.packet(40_000, 123_456_789, frame(50), 195, ssrc=2)
    leg.packet(40_001, 123_456_789 + FRAME, frame(51), 215, ssrc=2)
    leg.finish()
    assert [leg.samples[10 * FRAME + n * FRAME] for n in (0, 1)] == [frame(50)[0], frame(51)[0]]
    assert leg.end == 12 * FRAME
    assert statistics(0, leg.row).lost == 0


def test_one_packet_with_a_leaping_number_is_refused_two_are_believed() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    assert leg.packet(30_000, 999, frame(9), 20) is Refusal.SEQUENCE_JUMP
    assert leg.packet(1, FRAME, frame(1), 21) is Refusal.NONE
    assert leg.packet(20_000, 5_000_000, frame(5), 40) is Refusal.SEQUENCE_JUMP
    assert leg.packet(20_001, 5_000_160, frame(6), 60) is Refusal.NONE
    leg.finish()
    assert leg.samples[480] == frame(6)[0]


def test_late_packets_are_counted_not_placed() -> None:
    leg = OneLeg()
    for number in [0, *range(2, 20)]:
        leg.packet(number, FRAME * number, frame(number), 20 * number)
        leg.clock(20 * number)
    leg.packet(1, FRAME, frame(1), 400)
    leg.finish()
    counted = statistics(0, leg.row)
    assert (counted.late, counted.lost) == (1, 0)
    assert leg.missing(GapCause.LOST) == FRAME


def test_telephone_events_are_counted_and_not_heard() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    for number in range(1, 6):
        leg.packet(number, FRAME, b"\x05\x0a\x00\xa0", 20 * number, kind=PayloadKind.TELEPHONE_EVENT)
    leg.packet(6, 6 * FRAME, frame(6), 120)
    leg.finish()
    assert len(leg.samples) == 2 * FRAME
    assert leg.missing(GapCause.SILENT) == 5 * FRAME
    assert leg.missing(GapCause.LOST) == 0
    assert int(leg.row["not_audio"]) == 5
    assert statistics(0, leg.row).lost == 0


def test_a_change_of_encoding_ends_the_block() -> None:
    leg = OneLeg()
    for number in range(7):
        leg.packet(number, FRAME * number, frame(number), 20 * number)
    for number in range(7, 12):
        leg.packet(number, FRAME * number, frame(number), 20 * number, kind=PayloadKind.PCMA)
        if number == 8:
            back = leg.packet(9, FRAME * 9, frame(9), 170)
            assert back is Refusal.UNKNOWN_PAYLOAD_TYPE, "Blocks are not to become as short as packets."
    leg.finish()
    encodings = [encoding for _, _, encoding in leg.blocks]
    assert encodings[0] is Encoding.PCMU
    assert Encoding.PCMA in encodings
    boundary = next(start for start, _, encoding in leg.blocks if encoding is Encoding.PCMA)
    assert boundary == 7 * FRAME


def test_after_a_restart_what_is_missing_was_missed() -> None:
    leg = OneLeg()
    for number in range(10):
        leg.packet(number, FRAME * number, frame(number), 20 * number)
    leg.clock(200)
    end = leg.end
    stored = leg.row.tobytes()
    successor = OneLeg()
    successor.blocks = list(leg.blocks)
    successor.table.legs[0] = np.frombuffer(stored, leg.table.legs.dtype)[0]
    successor.row["frontier"] = successor.row["cut"]
    successor.row["restored"], successor.row["down_until"] = 1, 8 * 900
    successor.packet(30, FRAME * 30, frame(30), 602)
    successor.packet(31, FRAME * 31, frame(31), 622)
    successor.finish()
    assert successor.gaps[0].start_sample == end
    assert successor.missing(GapCause.DOWN) == 30 * FRAME - end
    assert successor.samples[30 * FRAME] == frame(30)[0]


def test_a_long_absence_is_one_gap() -> None:
    leg = OneLeg()
    leg.packet(0, 0, frame(0), 0)
    leg.clock(300_000)
    assert len(leg.blocks) < 30
    assert leg.missing(GapCause.SILENT) == leg.end - FRAME
