"""Filter bank energies: those of kaldi-native-fbank, the same under any split and after a take-over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.resample import resample
from recognizer.kaldi_fbank import HISTORY_FRAMES, SILENCE, FbankKernel, FbankSettings, FbankStream

WIDE = FbankKernel(FbankSettings())


def speech_like(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 8000
    voice = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.1 * voice * np.abs(np.sin(3 * time)) + 0.003 * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize(
    "chosen",
    [
        FbankSettings(),
        FbankSettings(amplitude=32768.0, high_hz=0.0),
        FbankSettings(8000, 40, 20.0, -400.0, 32768.0),
        FbankSettings(8000, 23, 100.0, 3700.0),
    ],
)
def test_energies_are_those_of_kaldi_native_fbank(chosen: FbankSettings) -> None:
    peer = pytest.importorskip(
        "kaldi_native_fbank", reason="needs kaldi-native-fbank: pip install kaldi-native-fbank"
    )
    audio = speech_like(12_345)
    options = peer.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.samp_freq = chosen.sample_rate_hz
    options.mel_opts.num_bins = chosen.bins
    options.mel_opts.low_freq, options.mel_opts.high_freq = chosen.low_hz, chosen.high_hz
    fbank = peer.OnlineFbank(options)
    wide = audio if chosen.sample_rate_hz == 8000 else resample(audio, 8000, 16000)
    fbank.accept_waveform(chosen.sample_rate_hz, (wide * chosen.amplitude).tolist())
    expected = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    energies = FbankStream(FbankKernel(chosen)).accept(audio)
    assert len(expected) - 3 <= len(energies) <= len(expected)
    expected = expected[: len(energies)]
    # The peer computes in float32: 12 nepers under a frame's loudest bin its own rounding is heard.
    heard = expected > expected.max(axis=1, keepdims=True) - 12
    assert heard.mean() > 0.4
    np.testing.assert_allclose(energies[heard], expected[heard], atol=2e-3)
    np.testing.assert_allclose(energies, expected, atol=0.5)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_energies_do_not_depend_on_how_the_leg_is_cut(cuts: list[int]) -> None:
    audio = speech_like(4000)
    stream = FbankStream(WIDE)
    pieces = [stream.accept(piece) for piece in np.split(audio, sorted(cuts))]
    assert (np.concatenate(pieces) == FbankStream(WIDE).accept(audio)).all()


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_stream_begun_in_mid_leg_is_exact_after_its_history(rate: int) -> None:
    kernel = FbankKernel(FbankSettings(rate, 40))
    audio = speech_like(8000)
    whole = FbankStream(kernel).accept(audio)
    later = FbankStream(kernel).accept(audio[80 * 31 :])
    assert (later[HISTORY_FRAMES:] == whole[31 + HISTORY_FRAMES :]).all()


def test_digital_silence_is_the_floor() -> None:
    energies = FbankStream(WIDE).accept(np.zeros(1600, np.float32))
    assert (energies == SILENCE).all()


def test_filters_beyond_half_the_rate_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^The mel filters would span 20 to 7600 Hz, which 8000 samples a second"
    ):
        FbankSettings(8000, 40, high_hz=7600.0)
    with pytest.raises(ValueError, match=r"^200 mel filters are too many: some would be empty\.$"):
        FbankSettings(8000, 200)


def test_samples_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="one-dimensional float32"):
        FbankStream(WIDE).accept(np.zeros(10))
