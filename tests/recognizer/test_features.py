"""Features: equal to the written definition, and to themselves under any split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.features import (
    PRIOR_FRAMES,
    QUIET_BELOW_PEAK,
    QUIET_PER_LOUD,
    WINDOW_FRAMES,
    FeatureStatistics,
    FeatureStream,
    MeanNormaliser,
)
from recognizer.log_mel import BINS, FLOOR, FRAME_SAMPLES, SHIFT_SAMPLES, frames_in, log_mel, mel_filters, window

STATISTICS = FeatureStatistics(
    np.linspace(6, 15, BINS).astype(np.float32), np.linspace(1.5, 4, BINS).astype(np.float32)
)


def voice(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness comes and goes, with stretches of digital silence."""
    rng = np.random.default_rng(seed)
    loudness = 0.1 * np.sin(np.arange(samples) / 3000) ** 2
    loudness[samples // 3 : samples // 2] = 0
    return (rng.standard_normal(samples) * loudness).astype(np.float32)


def log_mel_by_definition(samples: np.ndarray) -> np.ndarray:
    """Straight from the definition in float64 with numpy's FFT: the peer of the kernel."""
    frames = frames_in(len(samples))
    cut = np.stack([samples[80 * i : 80 * i + 200] for i in range(frames)]).astype(np.float64) * 32768
    cut -= cut.mean(1, keepdims=True)
    cut -= 0.97 * np.concatenate([cut[:, :1], cut[:, :-1]], 1)
    power = np.abs(np.fft.rfft(cut * window(), 256)) ** 2
    return np.log(power @ mel_filters().T + 100)


def normalised_by_definition(raw: np.ndarray) -> np.ndarray:
    """The mean of the window's loud and quiet frames and the prior, computed anew for every frame."""
    out = np.empty_like(raw)
    for i in range(len(raw)):
        within = raw[max(0, i + 1 - WINDOW_FRAMES) : i + 1].astype(np.float64)
        within = within[within.max(1) > FLOOR + 0.1]
        loudness = within.mean(1)
        loud = loudness > max([STATISTICS.mean.mean(), *loudness]) - QUIET_BELOW_PEAK
        quiet_weight = min(1.0, QUIET_PER_LOUD * loud.sum() / max(1, (~loud).sum()))
        weights = np.where(loud, 1.0, quiet_weight)
        mean = (weights @ within + PRIOR_FRAMES * STATISTICS.mean) / (weights.sum() + PRIOR_FRAMES)
        out[i] = (raw[i] - mean) / STATISTICS.deviation
    return out


def test_energies_are_those_of_the_definition() -> None:
    samples = voice(4000)
    np.testing.assert_allclose(log_mel(samples), log_mel_by_definition(samples), rtol=0, atol=2e-6)


def test_a_tone_lies_in_its_filter() -> None:
    filters = mel_filters()
    for place in (10, 32, 64, 100):
        tone = np.sin(2 * np.pi * place / 256 * np.arange(FRAME_SAMPLES)).astype(np.float32) * 0.5
        assert log_mel(tone)[0].argmax() == filters[:, place].argmax()


def test_digital_silence_is_the_floor() -> None:
    assert np.all(log_mel(np.zeros(1000, np.float32)) == np.float32(FLOOR))


@pytest.mark.parametrize("samples", [0, 1, 199, 200, 279, 280])
def test_only_whole_frames_count(samples: int) -> None:
    assert (
        len(log_mel(np.zeros(samples, np.float32)))
        == (0, 0, 0, 1, 1, 2)[[0, 1, 199, 200, 279, 280].index(samples)]
    )


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Samples for the features must be a one-dimensional float32 array\.$"):
        log_mel(np.zeros((2, 200), np.float32))
    with pytest.raises(ValueError, match="float32"):
        FeatureStream(STATISTICS).accept(np.zeros(200))


def test_normalisation_is_that_of_the_definition() -> None:
    raw = log_mel(voice(80 * 2500))
    loudness = raw.mean(1)
    assert (loudness < loudness.max() - QUIET_BELOW_PEAK).mean() > 0.2
    np.testing.assert_allclose(
        MeanNormaliser(STATISTICS).accept(raw), normalised_by_definition(raw), rtol=0, atol=1e-5
    )


def test_silence_of_a_muted_line_does_not_move_the_mean() -> None:
    spoken = log_mel(np.random.default_rng(3).standard_normal(80 * 300).astype(np.float32) * 0.05)
    muted = np.full((400, BINS), FLOOR, np.float32)
    normaliser = MeanNormaliser(STATISTICS)
    normaliser.accept(spoken)
    after_mute = normaliser.accept(np.concatenate([muted, spoken[:1]]))[-1]
    direct = MeanNormaliser(STATISTICS).accept(np.concatenate([spoken[-199:], spoken[:1]]))[-1]
    np.testing.assert_array_equal(after_mute, direct)


def test_a_long_silence_on_a_noisy_line_does_not_become_the_mean() -> None:
    rng = np.random.default_rng(4)
    spoken = log_mel(rng.standard_normal(80 * 300).astype(np.float32) * 0.1)
    noise = log_mel(rng.standard_normal(80 * 590).astype(np.float32) * 0.001)
    after_noise = MeanNormaliser(STATISTICS).accept(np.concatenate([spoken, noise, spoken[:50]]))[-1]
    alone = MeanNormaliser(STATISTICS).accept(np.concatenate([spoken, spoken[:50]]))[-1]
    plain_mean = np.concatenate([spoken, noise, spoken[:50]])[-WINDOW_FRAMES:].mean(0)
    unbounded = (spoken[49] - plain_mean) / STATISTICS.deviation
    assert np.abs(after_noise - alone).mean() < 0.85 * np.abs(unbounded - alone).mean()


def test_what_left_the_window_is_forgotten_exactly() -> None:
    raw = log_mel(voice(80 * 2000, seed=5))
    late = MeanNormaliser(STATISTICS).accept(raw)[1000 + WINDOW_FRAMES - 1 :]
    np.testing.assert_array_equal(MeanNormaliser(STATISTICS).accept(raw[1000:])[WINDOW_FRAMES - 1 :], late)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=30))
def test_a_stream_equals_the_whole_under_any_split(sizes: list[int]) -> None:
    samples = voice(SHIFT_SAMPLES * 800 + 17, seed=1)
    whole = FeatureStream(STATISTICS).accept(samples)
    stream, cuts = FeatureStream(STATISTICS), np.cumsum(sizes)
    pieces = [stream.accept(piece) for piece in np.split(samples, cuts[cuts < len(samples)])]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert stream.frames == len(whole) == frames_in(len(samples))


def test_statistics_are_checked() -> None:
    with pytest.raises(ValueError, match="40 means"):
        FeatureStatistics(np.zeros(3, np.float32), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="above zero"):
        FeatureStatistics(np.zeros(BINS, np.float32), np.zeros(BINS, np.float32))
