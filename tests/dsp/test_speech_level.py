from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.speech_level import SILENCE_DBM0, ActivitySettings, EnergyActivity, block_levels_dbm0


def speech_in_noise() -> np.ndarray:
    """Two seconds of noise at -60 dBm0, with a burst at -20 dBm0 from 1.0 to 1.3 s."""
    noise = np.random.default_rng(5).normal(0, 1, 16_000)
    level = np.full(16_000, 10 ** ((-60 - 6.18) / 20))
    level[8000:10_400] = 10 ** ((-20 - 6.18) / 20)
    return (noise * level).astype(np.float32)


def test_a_full_scale_sine_is_3_17_dbm0_and_silence_has_a_floor() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(800) / 8000).astype(np.float32)
    assert block_levels_dbm0(sine, 80) == pytest.approx(3.17, abs=0.01)
    assert block_levels_dbm0(np.zeros(159, np.float32), 80).tolist() == [SILENCE_DBM0]


def test_speech_is_told_from_noise_with_its_hang() -> None:
    active = EnergyActivity().push(speech_in_noise())
    assert active.shape == (200,)
    assert not active[10:100].any()
    assert active[100:130].all()
    assert active[130:138].all()
    assert not active[140:].any()


def test_speech_at_the_very_start_is_heard() -> None:
    assert EnergyActivity().push(speech_in_noise()[8000:]).all(where=np.arange(100) < 30)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 16_000), max_size=8))
def test_any_split_gives_the_same_activity(cuts: list[int]) -> None:
    samples = speech_in_noise()
    split = EnergyActivity()
    borders = [0, *sorted(cuts), samples.size]
    parts = [split.push(samples[a:b]) for a, b in itertools.pairwise(borders)]
    np.testing.assert_array_equal(np.concatenate(parts), EnergyActivity().push(samples))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="one-dimensional float32"):
        block_levels_dbm0(np.zeros(10), 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must rise in this order"):
        ActivitySettings(block_ms=100, hang_ms=50)
