"""The streaming network: equal to the network as trained, run on the whole leg, under any split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.acoustic_model import AcousticModel, AcousticModelError
from recognizer.log_mel import BINS
from tests.builders.random_networks import Taps, Weights, as_trained, random_network

SCALE = 1.3


def random_weights(seed: int = 0, reaches: str = "1101") -> Weights:
    """A small network with the form of those whose files name no taps."""
    both: dict[str, tuple[Taps | None, Taps | None]] = {"1": (None, None), "0": ((0,), (0,))}
    return random_network([(*both[reach], 8, 24) for reach in reaches], seed=seed)


WEIGHTS = random_weights()
MODEL = AcousticModel.fold(WEIGHTS, SCALE)
FEATURES = np.random.default_rng(2).standard_normal((400, BINS)).astype(np.float32)


def whole(model: AcousticModel, features: np.ndarray) -> np.ndarray:
    stream = model.stream()
    return np.concatenate([stream.accept(features), stream.finish()])


@pytest.mark.parametrize("frames", [*range(1, 16), 41, 42, 43, 399, 400])
def test_a_leg_of_any_length_scores_as_trained(frames: int) -> None:
    expected = as_trained(WEIGHTS, FEATURES[:frames], SCALE)
    scores = whole(MODEL, FEATURES[:frames])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("reaches", ["", "0", "1", "0110", "111111111"])
def test_networks_of_other_depths_score_as_trained(reaches: str) -> None:
    weights = random_weights(3, reaches=reaches)
    model = AcousticModel.fold(weights, SCALE)
    assert model.left == model.right == 1 + reaches.count("1")
    np.testing.assert_allclose(whole(model, FEATURES), as_trained(weights, FEATURES, SCALE), rtol=0, atol=5e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=30))
def test_a_stream_equals_the_whole_under_any_split(sizes: list[int]) -> None:
    cuts = np.cumsum(sizes)
    stream = MODEL.stream()
    pieces = [stream.accept(piece) for piece in np.split(FEATURES, cuts[cuts < len(FEATURES)])]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), whole(MODEL, FEATURES))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 133), st.integers(1, 50))
def test_a_stream_that_starts_in_mid_leg_gives_the_same_bits(first_frame: int, size: int) -> None:
    stream = MODEL.stream(first_frame)
    late = FEATURES[stream.first_feature :]
    pieces = [stream.accept(late[i : i + size]) for i in range(0, len(late), size)]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), whole(MODEL, FEATURES)[first_frame:])


def test_scores_come_as_soon_as_the_look_ahead_allows() -> None:
    stream = MODEL.stream()
    given_back = [len(stream.accept(FEATURES[i : i + 1])) for i in range(len(FEATURES))]
    needed = 3 * (1 + MODEL.right)
    assert given_back == [int(i >= needed and i % 3 == 0) for i in range(1, len(FEATURES) + 1)]


def test_a_leg_without_audio_gives_nothing() -> None:
    stream = MODEL.stream()
    assert stream.accept(FEATURES[:0]).shape == stream.finish().shape == (0, MODEL.pdfs)


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "acoustic.npz"
    with pytest.raises(AcousticModelError, match=r"^The acoustic model could not be read: FileNotFoundError\.$"):
        AcousticModel.load(path, SCALE)
    path.write_bytes(b"not an archive")
    with pytest.raises(AcousticModelError, match="could not be read"):
        AcousticModel.load(path, SCALE)
    np.savez(path, **{name: value for name, value in WEIGHTS.items() if name != "o.W"})
    with pytest.raises(AcousticModelError, match=r"^The acoustic model lacks the array 'o\.W'\.$"):
        AcousticModel.load(path, SCALE)


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(AcousticModelError, match="positive"):
        AcousticModel.fold(WEIGHTS, 0.0)
