"""The streaming network: equal to the network as trained, run on the whole leg, under any split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.acoustic_model import AcousticModel, AcousticModelError
from recognizer.log_mel import BINS

Weights = dict[str, np.ndarray]
SCALE = 1.3


def random_weights(
    seed: int = 0, width: int = 24, narrow: int = 8, pdfs: int = 14, reaches: str = "1101"
) -> Weights:
    """A small network with the shipped one's structure and with every vector away from zero."""
    rng = np.random.default_rng(seed)
    matrix = lambda *shape: rng.standard_normal(shape) / np.sqrt(shape[0] * shape[1])
    weights = {"mean": rng.uniform(5, 15, BINS), "std": rng.uniform(1, 4, BINS)}

    def normalisation(name: str, size: int) -> None:
        weights[f"{name}.m"], weights[f"{name}.v"] = rng.standard_normal(size), rng.uniform(0.3, 2, size)

    weights["i.W"], weights["i.b"] = matrix(3, 3 * BINS, width), rng.standard_normal(width)
    normalisation("n0", width)
    for i, reach in enumerate(reaches):
        taps = int(reach) + 1
        weights[f"L.{i}.a.W"], weights[f"L.{i}.b.W"] = matrix(taps, width, narrow), matrix(taps, narrow, width)
        weights[f"L.{i}.b.b"] = rng.standard_normal(width)
        normalisation(f"L.{i}.n", width)
    weights["p.W"], weights["o.W"], weights["o.b"] = (
        matrix(1, width, 9),
        matrix(1, 9, pdfs),
        rng.standard_normal(pdfs),
    )
    normalisation("pb", 9)
    return weights


def as_trained(weights: Weights, features: np.ndarray) -> np.ndarray:
    """The network layer by layer on a whole leg, in float64, nothing folded: the structure of the model card."""

    def splice(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
        steps = len(x) - len(taps) + 1
        return sum(x[i : i + steps] @ tap for i, tap in enumerate(taps))

    def batch_norm(x: np.ndarray, name: str) -> np.ndarray:
        return (x - weights[f"{name}.m"]) / np.sqrt(weights[f"{name}.v"] + 1e-3)

    layers = sum(name.endswith(".a.W") for name in weights)
    context = 1 + sum(len(weights[f"L.{i}.a.W"]) - 1 for i in range(layers))
    frames = -(-len(features) // 3)
    index = np.clip(np.arange(-3 * context, 3 * (frames + context)), 0, len(features) - 1)
    x = features[index].astype(np.float64).reshape(frames + 2 * context, -1)
    x = batch_norm(np.maximum(splice(x, weights["i.W"]) + weights["i.b"], 0), "n0")
    for i in range(layers):
        reach = len(weights[f"L.{i}.a.W"]) - 1
        y = splice(splice(x, weights[f"L.{i}.a.W"]), weights[f"L.{i}.b.W"]) + weights[f"L.{i}.b.b"]
        x = batch_norm(np.maximum(y, 0), f"L.{i}.n") + 0.66 * x[reach : len(x) - reach]
    return SCALE * (batch_norm(x @ weights["p.W"][0], "pb") @ weights["o.W"][0] + weights["o.b"])


WEIGHTS = random_weights()
MODEL = AcousticModel.fold(WEIGHTS, SCALE)
FEATURES = np.random.default_rng(2).standard_normal((400, BINS)).astype(np.float32)


def whole(model: AcousticModel, features: np.ndarray) -> np.ndarray:
    stream = model.stream()
    return np.concatenate([stream.accept(features), stream.finish()])


@pytest.mark.parametrize("frames", [*range(1, 16), 41, 42, 43, 399, 400])
def test_a_leg_of_any_length_scores_as_trained(frames: int) -> None:
    expected = as_trained(WEIGHTS, FEATURES[:frames])
    scores = whole(MODEL, FEATURES[:frames])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("reaches", ["", "0", "1", "0110", "111111111"])
def test_networks_of_other_depths_score_as_trained(reaches: str) -> None:
    weights = random_weights(3, reaches=reaches)
    model = AcousticModel.fold(weights, SCALE)
    assert model.left == model.right == 1 + reaches.count("1")
    np.testing.assert_allclose(whole(model, FEATURES), as_trained(weights, FEATURES), rtol=0, atol=5e-5)


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
