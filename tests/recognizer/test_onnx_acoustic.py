"""ONNX models as acoustic models: equal to numpy and to themselves, however the leg is cut or taken up."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.acoustic_model import AcousticModel
from recognizer.acoustic_section import AcousticSection, FeatureSection
from recognizer.features import FeatureStatistics
from recognizer.model_pack import DEFAULT_PACK
from tests.builders.onnx_models import BINS, CHUNK, ROWS, WINDOW, zipformer_like, zipformer_whole

pytest.importorskip("onnx", reason="needs the extra onnx: pip install 'callwarden[onnx]'")
pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install 'callwarden[onnx]'")

from recognizer.onnx_acoustic import OnnxAcousticModel
from recognizer.onnx_export import ExportError, export_pack, export_tdnnf
from recognizer.onnx_session import OnnxError

SCALE = 1.3
ZIPFORMER = AcousticSection(
    "onnx-ctc", "acoustic.onnx", 16000, 40, 1.0, FeatureSection("kaldi-fbank", BINS), WINDOW, CHUNK,
    padding="silence", output="log-probabilities",
)  # fmt: skip


def heard(
    model: OnnxAcousticModel, features: np.ndarray, cuts: list[int] | None = None, first: int = 0
) -> np.ndarray:
    stream = model.stream(first)
    pieces = np.split(features[stream.first_feature :], sorted(cuts or []))
    return np.concatenate([*(stream.accept(piece) for piece in pieces), stream.finish()])


def noise(frames: int, bins: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, bins)).astype(np.float32)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxAcousticModel, AcousticModel]:
    """The shipped network, exported, and in numpy."""
    out = tmp_path_factory.mktemp("export")
    section = export_pack(DEFAULT_PACK, out)
    own = AcousticModel.load(DEFAULT_PACK / "acoustic.npz", section.scale, "float32")
    return OnnxAcousticModel(out / section.file, section, own.statistics), own


@pytest.mark.parametrize("frames", [1, 2, 3, 29, 30, 31, 300, 301])
def test_the_shipped_network_gives_the_same_from_onnx_and_numpy(
    shipped: tuple[OnnxAcousticModel, AcousticModel], frames: int
) -> None:
    model, own = shipped
    features = noise(frames, 40)
    stream = own.stream()
    expected = np.concatenate([stream.accept(features), stream.finish()])
    scores = heard(model, features)
    assert scores.shape == expected.shape
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=0)


def random_weights(
    seed: int, layers: int = 3, width: int = 24, narrow: int = 8, pdfs: int = 14
) -> dict[str, np.ndarray]:
    """A small network of the pack's form, every vector away from zero; its matrices are still missing taps."""
    rng = np.random.default_rng(seed)
    matrix = lambda *shape: rng.standard_normal(shape) / np.sqrt(shape[0] * shape[1])
    made = {"mean": rng.uniform(5, 15, 40), "std": rng.uniform(1, 4, 40), "i.W": matrix(3, 120, width)}
    for name in [f"L.{i}" for i in range(layers)]:
        made[f"{name}.a.W"], made[f"{name}.b.W"] = matrix(2, width, narrow), matrix(2, narrow, width)
    made["p.W"], made["o.W"] = matrix(1, width, 9), matrix(1, 9, pdfs)
    for name, size in {"n0": width, "pb": 9, **{f"L.{i}.n": width for i in range(layers)}}.items():
        made[f"{name}.m"], made[f"{name}.v"] = rng.standard_normal(size), rng.uniform(0.3, 2, size)
    for name, size in {"i.b": width, "o.b": pdfs, **{f"L.{i}.b.b": width for i in range(layers)}}.items():
        made[name] = rng.standard_normal(size)
    return made


def asymmetric(seed: int) -> dict[str, np.ndarray]:
    """A network whose layers see more of the past than of the future, by the file's own offsets."""
    made = random_weights(seed)
    rng = np.random.default_rng(seed + 1)
    for name, taps in {
        "i": (-2, -1, 1), "L.0.a": (-3, 0), "L.0.b": (-1, 1), "L.1.a": (-6, -3, 0), "L.1.b": (0,), "L.2.a": (-4, -2),
        "L.2.b": (-1, 0, 2),
    }.items():  # fmt: skip
        shape = made[f"{name}.W"].shape[1:]
        made[f"{name}.W"] = rng.standard_normal((len(taps), *shape)) / np.sqrt(len(taps) * shape[0])
        made[f"{name}.taps"] = np.array(taps)
    return made


def as_trained(weights: dict[str, np.ndarray], features: np.ndarray, left: int, right: int) -> np.ndarray:
    """The network on the whole leg in float64, edges repeated."""
    frames = -(-len(features) // 3)
    index = np.clip(np.arange(-3 * left, 3 * (frames + right)), 0, len(features) - 1)
    x = features[index].astype(np.float64).reshape(left + frames + right, -1)
    times = np.arange(-left, frames + right)

    def splice(x: np.ndarray, name: str) -> np.ndarray:
        taps = weights[f"{name}.taps"]
        rows = np.full((len(x), weights[f"{name}.W"].shape[-1]), np.nan)
        for t in range(max(0, -taps.min()), len(x) - max(0, taps.max())):
            rows[t] = sum(x[t + tap] @ matrix for tap, matrix in zip(taps, weights[f"{name}.W"], strict=True))
        return rows

    def normal(x: np.ndarray, name: str) -> np.ndarray:
        return (x - weights[f"{name}.m"]) / np.sqrt(weights[f"{name}.v"] + 1e-3)

    x = normal(np.maximum(splice(x, "i") + weights["i.b"], 0), "n0")
    for i in range(3):
        y = splice(splice(x, f"L.{i}.a"), f"L.{i}.b") + weights[f"L.{i}.b.b"]
        x = normal(np.maximum(y, 0), f"L.{i}.n") + 0.66 * x
    scores = normal(x @ weights["p.W"][0], "pb") @ weights["o.W"][0] + weights["o.b"]
    return scores[(times >= 0) & (times < frames)]


def test_a_network_with_offsets_of_its_own_is_exported_by_them(tmp_path: Path) -> None:
    weights = asymmetric(3)
    data, section = export_tdnnf(weights, SCALE)
    (tmp_path / "acoustic.onnx").write_bytes(data)
    statistics = FeatureStatistics(weights["mean"].astype(np.float32), weights["std"].astype(np.float32))
    model = OnnxAcousticModel(tmp_path / "acoustic.onnx", section, statistics)
    features = noise(101, 40)
    left, right = section.padding_frames // 3, section.delay_rows
    assert (left, right) == (2 + 3 + 1 + 6 + 4 + 1, 1 + 1 + 2)
    expected = SCALE * as_trained(weights, features, left, right)
    scores = heard(model, features)
    assert not np.isnan(expected).any()
    np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-4)
    for first in (1, 7, 20, 33):
        assert (heard(model, features, first=first) == scores[first:]).all()


def test_weights_of_8_bits_are_exported_as_numbers(tmp_path: Path) -> None:
    weights = asymmetric(4)
    rounded, integers = {}, {}
    for name, values in weights.items():
        if not name.endswith(".W"):
            rounded[name] = integers[name] = values
            continue
        scale = (np.abs(values).max(axis=(0, 1)) / 127).astype(np.float32)
        integers[f"{name}.q"], integers[f"{name}.scale"] = np.rint(values / scale).astype(np.int8), scale
        rounded[name] = integers[f"{name}.q"].astype(np.float32) * scale
    assert export_tdnnf(integers, SCALE) == export_tdnnf(rounded, SCALE)


def test_offsets_that_are_not_ascending_are_refused() -> None:
    weights = random_weights(0)
    weights["L.0.a.taps"] = np.array([0, 0])
    with pytest.raises(ExportError, match=r"^The taps of L\.0\.a are not as many, ascending offsets"):
        export_tdnnf(weights, SCALE)


@pytest.fixture(scope="module")
def zipformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipformer_like(tmp_path_factory.mktemp("zipformer") / "acoustic.onnx")


def test_a_zipformer_keeps_its_state_from_chunk_to_chunk(zipformer: Path) -> None:
    model = OnnxAcousticModel(zipformer, ZIPFORMER)
    features = noise(CHUNK * 6 + 13, BINS)
    np.testing.assert_allclose(heard(model, features)[: 6 * ROWS], zipformer_whole(features, 6), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 205), max_size=6), frames=st.integers(0, 205))
def test_a_zipformers_rows_do_not_depend_on_how_the_leg_is_cut(
    zipformer: Path, cuts: list[int], frames: int
) -> None:
    model = _once(zipformer)
    features = noise(frames, BINS)
    whole = heard(model, features)
    assert len(whole) == -(-frames // 4)
    assert (heard(model, features, cuts) == whole).all()


_models: dict[Path, OnnxAcousticModel] = {}


def _once(path: Path) -> OnnxAcousticModel:
    return _models.setdefault(path, OnnxAcousticModel(path, ZIPFORMER))


def restarting(every: int, memory: int) -> AcousticSection:
    fields = {name: getattr(ZIPFORMER, name) for name in ZIPFORMER.__struct_fields__}
    return AcousticSection(**{**fields, "restart_chunks": every, "memory_chunks": memory})


@pytest.mark.parametrize(("every", "memory"), [(4, 2), (3, 1), (5, 0)])
def test_a_state_that_never_forgets_is_begun_anew_and_a_successor_hears_a_bounded_past(
    zipformer: Path, every: int, memory: int
) -> None:
    model = OnnxAcousticModel(zipformer, restarting(every, memory))
    features = noise(CHUNK * 16 + 13, BINS)
    rows = heard(model, features)
    for first in itertools.chain(range(0, 128, 7), (every * ROWS - 1, every * ROWS, every * ROWS + 1)):
        stream = model.stream(first)
        assert first * 4 - stream.first_feature < (every + memory + 1) * CHUNK
        assert (heard(model, features, first=first) == rows[first:]).all()
    # Each stretch is what a run gives that began `memory` chunks before it.
    for stretch in range(3):
        begin = max(0, stretch * every - memory)
        alone = zipformer_whole(features[begin * CHUNK :], (stretch + 1) * every - begin)
        expected = alone[(stretch * every - begin) * ROWS :]
        np.testing.assert_allclose(rows[stretch * every * ROWS :][: every * ROWS], expected, atol=1e-5)


def test_probabilities_become_logarithms_with_a_floor(zipformer: Path) -> None:
    fields = {name: getattr(ZIPFORMER, name) for name in ZIPFORMER.__struct_fields__}
    model = OnnxAcousticModel(zipformer, AcousticSection(**{**fields, "output": "probabilities", "scale": 2.0}))
    given = np.array([[0.5, 0.0, 0.5]], np.float32)
    np.testing.assert_allclose(
        model.scaled(given), [[2 * np.log(0.5), 2 * np.log(1e-20), 2 * np.log(0.5)]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": FeatureSection("kaldi-fbank", 40)}, r"has the shape \(any, 45, 80\); \(1, 45, 40\)"),
        ({"window_frames": 64, "shift_frames": 32}, r"has the shape \(any, 45, 80\); \(1, 64, 80\)"),
    ],
)
def test_a_model_that_is_not_as_described_is_refused_in_one_sentence(
    zipformer: Path, changes: dict[str, object], sentence: str
) -> None:
    fields = {name: getattr(ZIPFORMER, name) for name in ZIPFORMER.__struct_fields__}
    with pytest.raises(OnnxError, match=sentence):
        OnnxAcousticModel(zipformer, AcousticSection(**{**fields, **changes}))


def test_rows_that_do_not_fit_the_frame_shift_are_refused(zipformer: Path) -> None:
    fields = {name: getattr(ZIPFORMER, name) for name in ZIPFORMER.__struct_fields__}
    model = OnnxAcousticModel(zipformer, AcousticSection(**{**fields, "frame_shift_ms": 20}))
    with pytest.raises(
        OnnxError, match=r"gives rows of the shape \(1, 8, 9\) for a chunk; \(1, 16, 9\) would fit"
    ):
        heard(model, noise(64, BINS))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "acoustic.onnx").write_bytes(b"not a model")
    with pytest.raises(OnnxError, match=r"^onnxruntime refuses the model \(\w+\)\.$"):
        OnnxAcousticModel(tmp_path / "acoustic.onnx", ZIPFORMER)
