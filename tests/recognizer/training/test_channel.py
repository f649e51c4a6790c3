"""The telephone channel simulation: what each step promises, on made sounds."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("scipy", reason="the extra `train` is not installed: pip install '.[train]'")

from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.training import channel_line, channel_noise, channel_voice
from recognizer.training.channel import ChannelSettings, perturb_speed, reference_channel, simulate
from recognizer.training.channel_gsm import gsm_like

Float32 = NDArray[np.float32]

NEVER = ChannelSettings(
    **{f.name: 0.0 for f in dataclasses.fields(ChannelSettings) if f.name.endswith("_probability")}
)


def voice(seconds: float = 2.0, pitch_hz: float = 110.0, seed: int = 0) -> Float32:
    """Pulses through three resonances, in syllables: close enough to speech for codecs and envelopes."""
    n = int(seconds * 8000)
    rng = np.random.default_rng(seed)
    pulses = np.zeros(n)
    pulses[
        (np.cumsum(8000 / pitch_hz * (1 + 0.05 * rng.standard_normal(int(n * pitch_hz / 8000)))) % n).astype(int)
    ] = 1
    pulses += 0.01 * rng.standard_normal(n)
    for hz, width in ((500, 80), (1500, 100), (2500, 150)):
        r = np.exp(-np.pi * width / 8000)
        a, b = 2 * r * np.cos(2 * np.pi * hz / 8000), -r * r
        out = np.zeros(n)
        for i in range(2, n):
            out[i] = pulses[i] + a * out[i - 1] + b * out[i - 2]
        pulses = out
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(n) / 8000)
    wave = pulses * syllables
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def snr_db(clean: Float32, other: Float32) -> float:
    return float(10 * np.log10(np.mean(clean.astype(float) ** 2) / np.mean((other - clean).astype(float) ** 2)))


@pytest.fixture(scope="module")
def speech() -> Float32:
    return voice()


def test_every_setting_leaves_length_and_range(speech: Float32) -> None:
    always = ChannelSettings(
        **{
            f.name: 1.0
            for f in dataclasses.fields(ChannelSettings)
            if f.name.endswith("_probability") and f.name != "a_law_probability"
        }
        | {"a_law_probability": 0.0}
    )
    for seed in range(5):
        out = simulate(speech, np.random.default_rng(seed), always, [voice(1, seed=3)], [voice(3, 200, seed=4)])
        assert out.dtype == np.float32
        assert out.shape == speech.shape
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= 1


def test_the_same_seed_gives_the_same_line(speech: Float32) -> None:
    one, two, other = (
        simulate(speech, np.random.default_rng(seed), ChannelSettings(), [speech], [speech]) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_nothing_happens_without_probabilities(speech: Float32) -> None:
    np.testing.assert_array_equal(simulate(speech, np.random.default_rng(1), NEVER), speech)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 400), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_length_and_any_level_goes_through(length: int, seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    samples = (level * rng.uniform(-1, 1, length)).astype(np.float32)
    noise = np.zeros(length // 3, np.float32)
    out = simulate(samples, rng, ChannelSettings(), [noise, samples], [noise, samples])
    assert out.shape == samples.shape
    assert np.isfinite(out).all()


def test_time_is_not_shifted(speech: Float32) -> None:
    """Each step's output lies best over its input without delay."""
    rng = np.random.default_rng(3)
    for out in (
        channel_voice.warp_formants(speech, 1.1),
        channel_noise.reverberate(speech, rng, 0.3, -6),
        channel_line.random_response(speech, rng, 250, 3400, 3, 2),
        gsm_like(speech),
        channel_line.lose_packets(speech, rng, 0.03, 2),
    ):
        lags = range(-40, 41)
        middle = slice(100, -100)
        against = [float(np.dot(np.roll(out, lag)[middle], speech[middle])) for lag in lags]
        assert abs(lags[int(np.argmax(against))]) <= 1


def test_the_reference_channel_is_that_of_the_test_sets(speech: Float32) -> None:
    np.testing.assert_array_equal(reference_channel(speech, 8000), telephone_speech(speech))
    assert reference_channel(speech, 16000).size == speech.size // 2


def test_gsm_is_as_far_from_speech_as_the_real_codec(speech: Float32) -> None:
    """Peer: libgsm within libsndfile (WAV subtype GSM610)."""
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, speech, 8000, format="WAV", subtype="GSM610")
    file.seek(0)
    real = soundfile.read(file, dtype="float32")[0][: speech.size]
    ours, theirs = snr_db(speech, gsm_like(speech)), snr_db(speech, real)
    assert abs(ours - theirs) < 3, (ours, theirs)
    assert snr_db(real, gsm_like(speech)) > theirs - 4, "the two codecs err differently"


def test_noise_lies_where_it_was_asked(speech: Float32) -> None:
    level = channel_line.active_rms(speech)
    for seed in range(12):
        noisy = channel_noise.add_noise(
            speech, np.random.default_rng(seed), 10, 10, [voice(1, seed=9)], [voice(1, seed=5)]
        )
        added = float(np.sqrt(np.mean((noisy - speech) ** 2)))
        assert 20 * np.log10(level / added) == pytest.approx(10, abs=0.1)


def test_modulated_noise_has_its_ratio(speech: Float32) -> None:
    loud = np.tile(speech, 4)
    assert snr_db(loud, channel_line.modulated_noise(loud, np.random.default_rng(2), 15)) == pytest.approx(
        15, abs=0.5
    )


def test_speed_changes_duration_and_pitch_together() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 8000).astype(np.float32)
    for speed in (0.85, 0.93, 1.07, 1.15):
        out = channel_voice.change_speed(tone, speed)
        assert out.size == pytest.approx(16000 / speed, abs=1)
        peak = np.argmax(np.abs(np.fft.rfft(out * np.hanning(out.size)))) * 8000 / out.size
        assert peak == pytest.approx(1000 * speed, abs=1)
    np.testing.assert_array_equal(channel_voice.change_speed(tone, 1.0), tone)


def test_speed_lets_nothing_fold_back() -> None:
    tone = np.sin(2 * np.pi * 3900 * np.arange(16000) / 8000).astype(np.float32)
    fast = channel_voice.change_speed(tone, 1.15)[200:-200]
    assert np.sqrt(np.mean(fast**2)) < 10 ** (-30 / 20)


def test_perturbed_speed_is_told(speech: Float32) -> None:
    out, speed = perturb_speed(speech, np.random.default_rng(5), ChannelSettings(speed_probability=1.0))
    assert speed != 1
    assert out.size == pytest.approx(speech.size / speed, abs=1)


def test_warped_formants_move_and_the_pitch_stays() -> None:
    speech = voice(4.0, 125.0)

    def formant(samples: Float32) -> float:
        power = (
            np.abs(np.fft.rfft(samples[: samples.size // 256 * 256].reshape(-1, 256) * np.hanning(256), axis=1))
            ** 2
        )
        hz = np.arange(129) * 31.25
        near = (hz > 1100) & (hz < 1900)
        return float((power.mean(0)[near] * hz[near]).sum() / power.mean(0)[near].sum())

    warped = channel_voice.warp_formants(speech, 1.12)
    assert formant(warped) / formant(speech) == pytest.approx(1.1, abs=0.04)

    def pitch_lag(samples: Float32) -> int:
        spectrum = np.abs(np.fft.rfft(samples, 2 * samples.size)) ** 2
        return int(np.argmax(np.fft.irfft(spectrum)[40:100])) + 40

    assert pitch_lag(warped) == pytest.approx(pitch_lag(speech), abs=1) == 64


def test_a_warp_by_one_and_a_response_without_edges_change_little(speech: Float32) -> None:
    assert snr_db(speech, channel_voice.warp_formants(speech, 1.0004)) > 60
    flat = channel_line.random_response(speech, np.random.default_rng(0), 0, 4000, 0, 0)
    assert snr_db(speech, flat) > 30


def test_response_keeps_the_band_and_stops_the_rest() -> None:
    noise = np.random.default_rng(5).standard_normal(80000).astype(np.float32)
    out = channel_line.random_response(noise, np.random.default_rng(1), 300, 3400, 0, 0)
    power = (np.abs(np.fft.rfft(out[:79872].reshape(-1, 512) * np.hanning(512), axis=1)) ** 2).mean(0)
    hz = np.arange(257) * 15.625
    inside = power[(hz > 450) & (hz < 3250)].mean()
    assert power[hz < 150].mean() < inside / 1000
    assert power[hz > 3600].mean() < inside / 1000


def test_lost_packets_are_as_many_as_asked_and_whole() -> None:
    samples = np.full(160 * 5000, 0.5, np.float32)
    shares = []
    for seed in range(6):
        out = channel_line.lose_packets(samples, np.random.default_rng(seed), 0.05, 2.0)
        packets = out.reshape(-1, 160)
        changed = (packets != np.float32(0.5)).any(axis=1)
        np.testing.assert_array_equal(changed, (packets != np.float32(0.5)).all(axis=1))
        shares.append(changed.mean())
    assert np.mean(shares) == pytest.approx(0.05, abs=0.01)


def test_crosstalk_is_soft_and_that_of_the_other(speech: Float32) -> None:
    other = voice(3, 190, seed=8)
    out = channel_noise.add_crosstalk(speech, np.random.default_rng(11), -25, [other])
    leaked = channel_line.active_rms(out - speech) / channel_line.active_rms(speech)
    assert 20 * np.log10(leaked) == pytest.approx(-25, abs=0.5)


def test_settings_refuse_what_is_no_probability_or_range() -> None:
    with pytest.raises(ValueError, match="gsm_probability is a probability"):
        ChannelSettings(gsm_probability=1.5)
    with pytest.raises(ValueError, match="speed is a pair of numbers"):
        ChannelSettings(speed=(1.1, 0.9))
    with pytest.raises(ValueError, match="together"):
        ChannelSettings(mu_law_probability=0.6, a_law_probability=0.6)
