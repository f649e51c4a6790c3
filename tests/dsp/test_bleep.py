from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import bleep

EDGE = bleep.raised_cosine(40)
TONE = bleep.tone(8000, 1000, -20)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-20000, 20000, samples).astype(np.int16)


ranges = st.lists(
    st.tuples(st.integers(-500, 6000), st.integers(0, 2500)).map(lambda r: (r[0], r[0] + r[1])), max_size=8
)


@settings(deadline=None)
@given(ranges=ranges)
def test_outside_the_ranges_nothing_changes_and_inside_only_the_cover_is_left(
    ranges: list[tuple[int, int]],
) -> None:
    sound, hidden = noise(5000), noise(5000)
    merged = bleep.merged(ranges)
    bleep.hide(hidden, merged, TONE, EDGE)
    outside = np.ones(5000, bool)
    for start, end in merged:
        outside[max(start, 0) : max(end, 0)] = False
        edge = min(EDGE.size, (end - start) // 4)
        first, last = max(start + edge, 0), min(max(end - edge, 0), 5000)
        wanted = TONE[np.arange(first, last) % TONE.size] if first < last else TONE[:0]
        np.testing.assert_array_equal(hidden[first:last] if first < last else TONE[:0], wanted)
    np.testing.assert_array_equal(hidden[outside], sound[outside])


@settings(deadline=None)
@given(ranges=ranges, cuts=st.lists(st.integers(0, 5000), max_size=6))
def test_window_by_window_is_the_same_as_whole(ranges: list[tuple[int, int]], cuts: list[int]) -> None:
    whole, parts = noise(5000), noise(5000)
    merged = bleep.merged(ranges, join=16)
    bleep.hide(whole, merged, TONE, EDGE)
    borders = [0, *sorted(cuts), 5000]
    for start, end in itertools.pairwise(borders):
        bleep.hide(parts[start:end], merged, TONE, EDGE, start)
    np.testing.assert_array_equal(parts, whole)


def test_edges_fade_monotonically_under_silence() -> None:
    level = np.full(1000, 10_000, np.int16)
    bleep.hide(level, bleep.merged([(100, 900)]), bleep.silence(), EDGE)
    assert np.all(np.diff(level[99:141].astype(int)) < 0)
    assert np.all(level[140:860] == 0)
    assert np.all(np.diff(level[860:901].astype(int)) > 0)
    assert level[99] == level[900] == 10_000


@settings(deadline=None)
@given(ranges=ranges, join=st.integers(0, 200))
def test_merged_ranges_are_sorted_disjoint_and_cover_the_same_samples(
    ranges: list[tuple[int, int]], join: int
) -> None:
    merged = bleep.merged(ranges, join)
    assert np.all(merged[:, 0] < merged[:, 1])
    assert np.all(merged[1:, 0] - merged[:-1, 1] >= max(join, 1))
    covered = {sample for start, end in merged for sample in range(start, end)}
    for start, end in ranges:
        assert set(range(start, end)) <= covered
    if join <= 1:
        assert covered == {sample for start, end in ranges for sample in range(start, end)}


def test_a_tone_has_the_level_it_was_asked_for() -> None:
    rms = np.sqrt(np.mean((TONE / 32768.0) ** 2))
    assert 20 * np.log10(rms) + 6.18 == pytest.approx(-20, abs=0.02)
    spectrum = np.abs(np.fft.rfft(TONE))
    assert np.argmax(spectrum) == 1000


def test_peaks_are_the_highest_absolute_samples_of_their_buckets() -> None:
    samples = noise(1050)
    samples[10] = -32768
    peaks = np.zeros(11, np.int32)
    for start in range(0, 1050, 37):
        bleep.raise_peaks(samples[start : start + 37], start, 100, peaks)
    wanted = [np.abs(samples[i : i + 100].astype(int)).max() for i in range(0, 1050, 100)]
    assert peaks.tolist() == wanted
    assert peaks[0] == 32768


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one-dimensional int16"):
        bleep.hide(np.zeros(5, np.float32), bleep.merged([]), TONE, EDGE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="int64"):
        bleep.hide(np.zeros(5, np.int16), np.zeros((2, 2)), TONE, EDGE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beyond the last bucket"):
        bleep.raise_peaks(np.zeros(5, np.int16), 8, 10, np.zeros(1, np.int32))
    with pytest.raises(ValueError, match="below half the sample rate"):
        bleep.tone(8000, 4000, -20)
