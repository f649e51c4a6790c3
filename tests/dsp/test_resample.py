from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.resample import RATES, Resampler, resample

PAIRS = [(rate, 8000) for rate in RATES if rate != 8000] + [(8000, rate) for rate in RATES if rate != 8000]


def tone(rate: int, hertz: float, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def gain_db(samples: np.ndarray, rate: int, amplitude: float = 0.5) -> float:
    """Power of the middle part over that of the tone put in."""
    middle = samples[rate // 10 : -rate // 10].astype(np.float64)
    return float(10 * np.log10(max(np.mean(middle**2), 1e-30) / (amplitude**2 / 2)))


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_the_telephone_band_is_flat_within_a_hundredth_of_a_decibel(rate_in: int, rate_out: int) -> None:
    for hertz in (200, 500, 1000, 2000, 3000, 3300, 3400):
        assert abs(gain_db(resample(tone(rate_in, hertz), rate_in, rate_out), rate_out)) <= 0.01


@pytest.mark.parametrize("rate_in", [rate for rate in RATES if rate > 8000])
def test_nothing_above_the_band_folds_back_by_more_than_minus_100_db(rate_in: int) -> None:
    top = rate_in / 2 - 50
    for hertz in (4050, 4200, 4400, 4600, 5000, 5500, 7000, 7950, 9000, 12345, 15900, 16100, 20000):
        if hertz <= top:
            assert gain_db(resample(tone(rate_in, hertz), rate_in), 8000) <= -100


@pytest.mark.parametrize("rate_out", [rate for rate in RATES if rate > 8000])
def test_no_image_is_above_minus_100_db(rate_out: int) -> None:
    for hertz in (300, 1000, 3400):
        made = resample(tone(8000, hertz), 8000, rate_out)[rate_out // 10 : -rate_out // 10].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(made * np.blackman(made.size))) ** 2
        frequencies = np.fft.rfftfreq(made.size, 1 / rate_out)
        images = spectrum[frequencies > 4000].sum()
        assert 10 * np.log10(images / spectrum.sum()) <= -100


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_samples_keep_their_place_in_time(rate_in: int, rate_out: int) -> None:
    made = resample(tone(rate_in, 1000), rate_in, rate_out)
    wanted = tone(rate_out, 1000)
    assert made.size == -(-rate_in * rate_out // rate_in)
    margin = rate_out // 20
    difference = made[margin:-margin].astype(np.float64) - wanted[: made.size][margin:-margin]
    assert np.abs(difference).max() < 2e-5


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_the_first_output_comes_within_ten_milliseconds(rate_in: int, rate_out: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    heard = 0
    while resampler.push(np.ones(1, np.float32)).size == 0:
        heard += 1
    assert heard / rate_in <= 0.010


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    samples=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 1200), max_size=20),
    first=st.integers(0, 500_000),
)
def test_any_split_gives_the_same_bits(pair: tuple[int, int], samples: int, cuts: list[int], first: int) -> None:
    noise = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    whole = Resampler(*pair, first_sample=first)
    wanted = np.concatenate((whole.push(noise), whole.finish()))

    split = Resampler(*pair, first_sample=first)
    first_out = split.next_sample
    made, at = [], 0
    for size in cuts:
        made.append(split.push(noise[at : at + size]))
        at = min(samples, at + size)
    made += [split.push(noise[at:]), split.finish()]
    np.testing.assert_array_equal(np.concatenate(made), wanted)

    assert first_out == -(-first * pair[1] // pair[0])
    assert first_out + wanted.size == -(-(first + samples) * pair[1] // pair[0])


@pytest.mark.parametrize("chunk", [1, 80, 160, 977])
def test_chunks_of_the_protocol_give_the_same_bits(chunk: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
    for pair in ((48000, 8000), (44100, 8000), (8000, 16000)):
        resampler = Resampler(*pair)
        made = [resampler.push(noise[i : i + chunk]) for i in range(0, noise.size, chunk)]
        np.testing.assert_array_equal(np.concatenate([*made, resampler.finish()]), resample(noise, *pair))


def test_equal_rates_pass_through() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 500).astype(np.float32)
    np.testing.assert_array_equal(resample(noise, 8000, 8000), noise)


def test_impossible_rates_and_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be resampled from 44100 to 16000"):
        Resampler(44100, 16000)
    with pytest.raises(ValueError, match="cannot be resampled from 96000 to 8000"):
        Resampler(96000, 8000)
    with pytest.raises(ValueError, match="one-dimensional float32"):
        Resampler(16000, 8000).push(np.zeros(8))  # type: ignore[arg-type]
