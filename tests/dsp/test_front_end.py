from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import g711
from dsp.front_end import AudioChunk, FrontEnd, FrontEndSettings
from dsp.resample import Resampler
from events.audio import AudioBlock, Encoding, Gap, GapCause, LegAudioEnded
from events.errors import NeverRetry
from events.identity import CallId, Role

CALL = CallId("0" * 32)


def block(
    leg: int,
    start: int,
    payload: bytes,
    encoding: Encoding = Encoding.PCMU,
    rate: int = 8000,
    gaps: tuple[Gap, ...] = (),
    samples: int | None = None,
) -> AudioBlock:
    count = len(payload) // encoding.bytes_per_sample if samples is None else samples
    return AudioBlock(CALL, leg, Role.UNKNOWN, encoding, rate, start, count, payload, gaps)


def end(leg: int) -> LegAudioEnded:
    return LegAudioEnded(CALL, leg, Role.UNKNOWN, 8000, 0)


def joined(chunks: list[AudioChunk], leg: int) -> np.ndarray:
    of_leg = [chunk for chunk in chunks if chunk.leg == leg]
    for before, after in itertools.pairwise(of_leg):
        assert after.start_sample == before.end_sample
    return np.concatenate([chunk.samples for chunk in of_leg]) if of_leg else np.empty(0, np.float32)


def noise(samples: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, samples, dtype=np.uint8).tobytes()


def test_a_single_leg_passes_at_once_from_where_it_joined() -> None:
    payload = noise(800)
    chunks = FrontEnd().push(block(3, 1600, payload))
    assert [(chunk.leg, chunk.start_sample) for chunk in chunks] == [(3, 1600)]
    np.testing.assert_array_equal(chunks[0].samples, g711.decode_mu_law_float(np.frombuffer(payload, np.uint8)))


def test_each_encoding_is_decoded() -> None:
    samples = np.array([0, 8, -8, 32767, -32768, 1000], np.int16)
    for encoding, payload in (
        (Encoding.PCMU, g711.encode_mu_law(samples)),
        (Encoding.PCMA, g711.encode_a_law(samples)),
        (Encoding.L16, samples),
    ):
        heard = FrontEnd().push(block(0, 0, payload.tobytes(), encoding))[0].samples
        assert np.abs(heard * 32768 - samples).max() <= 650
        assert heard.min() >= -1
        assert heard.max() < 1


def test_gaps_are_zero_even_where_the_silence_code_is_not() -> None:
    payload = bytes([g711.A_LAW_SILENCE]) * 800
    gap = Gap(1000 + 160, 320, GapCause.LOST)
    heard = FrontEnd().push(block(0, 1000, payload, Encoding.PCMA, gaps=(gap,)))[0].samples
    assert np.count_nonzero(heard[160:480]) == 0
    assert np.count_nonzero(heard) == 800 - 320


def test_a_block_that_is_all_gap_and_a_hole_between_blocks_are_silence() -> None:
    front_end = FrontEnd()
    chunks = front_end.push(block(0, 0, noise(80)))
    chunks += front_end.push(block(0, 80, b"", samples=800, gaps=(Gap(80, 800, GapCause.SILENT),)))
    chunks += front_end.push(block(0, 1000, noise(80)))
    heard = joined(chunks, 0)
    assert heard.size == 1080
    assert np.count_nonzero(heard[80:1000]) == 0


def test_the_leg_ahead_waits_for_the_other() -> None:
    front_end = FrontEnd(FrontEndSettings(longest_wait_ms=200))
    front_end.push(block(0, 0, noise(800)))
    assert [(c.leg, c.end_sample) for c in front_end.push(block(1, 0, noise(800)))] == [(1, 800)]
    assert front_end.push(block(0, 800, noise(800))) == []
    released = front_end.push(block(1, 800, noise(400)))
    assert [(c.leg, c.start_sample, c.end_sample) for c in released] == [(0, 800, 1200), (1, 800, 1200)]


def test_the_wait_is_bounded_and_the_late_leg_keeps_its_place() -> None:
    front_end = FrontEnd(FrontEndSettings(longest_wait_ms=200))
    front_end.push(block(0, 0, noise(800)))
    front_end.push(block(1, 0, noise(800)))
    assert front_end.push(block(0, 800, noise(1600))) == []
    released = front_end.push(block(0, 2400, noise(800)))
    assert [(c.leg, c.start_sample, c.end_sample) for c in released] == [(0, 800, 1600)]
    late = front_end.push(block(1, 800, noise(800)))
    assert [(c.leg, c.start_sample, c.end_sample) for c in late] == [(1, 800, 1600)]


def test_a_leg_that_has_ended_is_not_waited_for() -> None:
    front_end = FrontEnd()
    front_end.push(block(0, 0, noise(800)))
    front_end.push(block(1, 0, noise(800)))
    assert front_end.push(block(0, 800, noise(800))) == []
    assert [(c.leg, c.end_sample) for c in front_end.end_leg(end(1))] == [(0, 1600)]
    assert front_end.end_leg(end(1)) == []
    assert [(c.leg, c.end_sample) for c in front_end.push(block(0, 1600, noise(800)))] == [(0, 2400)]


def test_what_comes_twice_is_heard_once() -> None:
    front_end = FrontEnd()
    payload = noise(1600)
    chunks = front_end.push(block(0, 0, payload[:800]))
    chunks += front_end.push(block(0, 0, payload[:800]))
    chunks += front_end.push(block(0, 400, payload[400:1600]))
    np.testing.assert_array_equal(joined(chunks, 0), g711.decode_mu_law_float(np.frombuffer(payload, np.uint8)))


def test_blocks_that_cannot_be_are_refused() -> None:
    front_end = FrontEnd()
    with pytest.raises(NeverRetry, match="cannot be resampled from 12345 to 8000"):
        front_end.push(block(0, 0, noise(80), rate=12345))
    front_end.push(block(0, 0, noise(80)))
    with pytest.raises(NeverRetry, match="more than six hours"):
        front_end.push(block(0, 10**12, noise(80)))


def test_a_leg_may_change_its_rate_and_stays_on_its_timeline() -> None:
    front_end = FrontEnd()
    tone = (12000 * np.sin(np.arange(32000) * 2 * np.pi * 440 / 16000)).astype("<i2")
    chunks = front_end.push(block(0, 0, noise(8000)))
    chunks += front_end.push(block(0, 16000, tone.tobytes(), Encoding.L16, 16000))
    chunks += front_end.push(block(0, 24000, noise(801)))
    chunks += front_end.end_call()
    heard = joined(chunks, 0)
    assert heard.size == 24801
    wanted = 12000 / 32768 * np.sin(np.arange(8100, 23900) * 2 * np.pi * 440 / 8000 - 2 * np.pi * 440)
    assert np.abs(heard[8100:23900] - wanted).max() < 1e-3


splits = st.lists(st.integers(1, 2400), min_size=1, max_size=12)


@settings(deadline=None)
@given(
    splits_near=splits,
    splits_far=splits,
    order=st.integers(0, 2**32),
    far_rate=st.sampled_from([8000, 16000, 44100]),
)
def test_what_is_heard_does_not_depend_on_the_cut_into_blocks(
    splits_near: list[int], splits_far: list[int], order: int, far_rate: int
) -> None:
    chance = random.Random(order)
    near, far = noise(4000, 1), noise(2 * 6000, 2)
    far_start = 3 * far_rate // 1000

    def blocks(
        leg: int, payload: bytes, start: int, encoding: Encoding, rate: int, splits: list[int]
    ) -> list[AudioBlock]:
        cut, made, step = 0, [], 0
        width = encoding.bytes_per_sample
        while cut < len(payload) // width:
            size = min(splits[step % len(splits)], len(payload) // width - cut)
            made.append(block(leg, start + cut, payload[cut * width : (cut + size) * width], encoding, rate))
            cut, step = cut + size, step + 1
        return made

    waiting = {
        0: blocks(0, near, 0, Encoding.PCMA, 8000, splits_near),
        1: blocks(1, far, far_start, Encoding.L16, far_rate, splits_far),
    }
    front_end, chunks = FrontEnd(FrontEndSettings(longest_wait_ms=50)), []
    while any(waiting.values()):
        leg = chance.choice([leg for leg, left in waiting.items() if left])
        chunks += front_end.push(waiting[leg].pop(0))
        if not waiting[leg]:
            chunks += front_end.end_leg(end(leg))
    chunks += front_end.end_call()

    np.testing.assert_array_equal(joined(chunks, 0), g711.decode_a_law_float(np.frombuffer(near, np.uint8)))
    resampler = Resampler(far_rate, 8000, far_start)
    samples = np.frombuffer(far, "<i2").astype(np.float32) / np.float32(32768)
    wanted = np.concatenate((resampler.push(samples), resampler.finish()))
    np.testing.assert_array_equal(joined(chunks, 1), wanted)
