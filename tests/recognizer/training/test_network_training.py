"""What needs torch: the network against the one that runs, its gradients, and small trainings.

`make test-training` installs the extra and runs these tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: make test-training installs it and runs these tests")

from recognizer.acoustic_model import STACK, AcousticModel  # noqa: E402
from recognizer.hmm_topology import HmmTopology  # noqa: E402
from recognizer.log_mel import BINS  # noqa: E402
from recognizer.training.batches import LENGTHS, Batches, Distortion, Example, warp_matrix  # noqa: E402
from recognizer.training.denominator import DenominatorGraph  # noqa: E402
from recognizer.training.lane_kernels import LANES  # noqa: E402
from recognizer.training.network import Network, NetworkShape, exported, restored  # noqa: E402
from recognizer.training.numerator import Transcript  # noqa: E402
from recognizer.training.objective import Objective  # noqa: E402
from recognizer.training.optimiser import orthogonalised  # noqa: E402
from recognizer.training.trainer import Trainer, TrainingSettings  # noqa: E402

pytestmark = pytest.mark.training

SMALL = NetworkShape(24, 8, 12, ((1, 1), (0, 0), (2, -1)))
STATISTICS = {"mean": np.zeros(BINS, np.float32), "std": np.ones(BINS, np.float32)}
TOPOLOGY = HmmTopology(
    ("SIL", "A", "B"),
    np.array([[0, 0, 1, 3], [0, 0, 1, 3], [0, 0, 2, 3], [0, 0, 2, 3]], np.int16),
    np.full(4, 0.6, np.float32),
)
GRAPH = DenominatorGraph.of([np.array([1, 2, 3, 2, 1]), np.array([1, 3, 2, 3, 1])], TOPOLOGY)


def _random_network(shape: NetworkShape, pdfs: int) -> Network:
    torch.manual_seed(4)
    network = Network(shape, pdfs, half=False)
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name.endswith((".m", ".b")):
                values.normal_(0, 0.3)
            elif name.endswith(".v"):
                values.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("shape", [SMALL, NetworkShape(16, 4, 6, ((1, 1), (3, 0), (2, -1)), first_future=1)])
def test_the_exported_network_runs_as_the_trained_one(shape: NetworkShape, tmp_path: Path) -> None:
    network = _random_network(shape, 10)
    arrays = exported(network.state_dict(), shape, STATISTICS)
    np.savez(tmp_path / "acoustic.npz", **arrays)
    model = AcousticModel.load(tmp_path / "acoustic.npz", 1.5)
    frames = 24
    features = np.random.default_rng(2).normal(size=(STACK * frames, BINS)).astype(np.float32)
    stream = model.stream()
    told = np.concatenate([stream.accept(features[:31]), stream.accept(features[31:]), stream.finish()])
    begin, end = -STACK * shape.past, STACK * (frames + shape.future)
    rows = np.clip(np.arange(begin, end), 0, len(features) - 1)
    again = restored(arrays, half=False).eval()
    with torch.no_grad():
        wanted, cross = again(torch.from_numpy(features[rows].reshape(-1, 1, STACK * BINS)))
    assert told.shape == (frames, 10)
    np.testing.assert_allclose(told, 1.5 * wanted[:, 0].numpy(), atol=2e-4)
    np.testing.assert_array_equal(cross, wanted)
    assert again.shape == shape
    assert network.parameter_count == sum(p.numel() for n, p in network.named_parameters() if n[0] != "x")


def test_products_have_the_gradients_that_differences_show() -> None:
    network = _random_network(SMALL, 6).double()
    torch.manual_seed(1)
    x = torch.randn(SMALL.past + 3 + SMALL.future, 2, STACK * BINS, dtype=torch.float64) * 0.1
    weight = network.L[0].b.W

    def value() -> torch.Tensor:
        h = torch.nn.functional.relu(network.i(x))
        return network.L[0].b(network.L[0].a(h)).pow(2).sum()

    value().backward()
    step = 1e-5
    for place in [(0, 0, 0), (1, 3, 5), (1, 7, 20)]:
        with torch.no_grad():
            weight[place] += step
            up = float(value())
            weight[place] -= 2 * step
            down = float(value())
            weight[place] += step
        assert float(weight.grad[place]) == pytest.approx((up - down) / (2 * step), rel=1e-3, abs=1e-6)


def test_the_objectives_gradient_is_the_slope_of_the_objective() -> None:
    rng = np.random.default_rng(6)
    outputs = torch.from_numpy(rng.normal(size=(12, LANES, TOPOLOGY.pdfs)).astype(np.float32))
    transcript = Transcript(np.array([0, 1, 3, 0], np.int32), np.array([0, 3, 6, 10], np.int32), 12)
    chunks = [transcript.chunk(0, 12, 2, 2)] * LANES
    objective = Objective(GRAPH, TOPOLOGY.self_loop, 0.1)
    outcome = objective.of(outputs, chunks)
    assert outcome.frames == 12 * LANES
    step = 1e-2
    for place in [(0, 0, 0), (5, 3, 2), (11, 15, 1)]:
        up, down = outputs.clone(), outputs.clone()
        up[place] += step
        down[place] -= step
        slope = (objective.of(up, chunks).objective - objective.of(down, chunks).objective) / (2 * step)
        assert float(outcome.gradient[place]) == pytest.approx(-slope, abs=5e-3)
    assert outcome.objective < 0


def test_shapes_are_read_and_nonsense_is_refused() -> None:
    shape = NetworkShape.parse("512-80: 1+1 x3, 0+0, 1+1 x2, 2-1 x5")
    assert shape == NetworkShape()
    assert (shape.past, shape.future) == (21, 5)
    assert NetworkShape.parse("64-8+: 1+1").first_future == 1
    for text in ("512", "512-80: 1", "512-80: +1", "a-b: 1+1"):
        with pytest.raises(ValueError, match="is written like"):
            NetworkShape.parse(text)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for rows, columns in [(12, 40), (40, 12)]:
        values = torch.linalg.svdvals(orthogonalised(torch.randn(3, rows, columns).bfloat16()).float())
        assert float(values.min()) > 0.5
        assert float(values.max()) < 1.5


def test_warping_by_one_changes_nothing_and_moves_a_peak_otherwise() -> None:
    np.testing.assert_allclose(warp_matrix(1.0), np.eye(BINS), atol=1e-6)
    peak = np.exp(-((np.arange(BINS) - 20.0) ** 2) / 8).astype(np.float32)
    assert (peak @ warp_matrix(1.12)).argmax() < 20 < (peak @ warp_matrix(0.88)).argmax()
    np.testing.assert_allclose(warp_matrix(1.07).sum(0), 1.0, atol=1e-6)


def _examples(count: int, seed: int) -> list[Example]:
    """Two "phones" that differ in which half of the bands is loud."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        phones, starts, at = [1], [0], int(rng.integers(4, 9))
        while at < 60:
            phones.append(int(rng.integers(2, 4)))
            starts.append(at)
            at += int(rng.integers(4, 9))
        features = rng.normal(0, 0.7, (STACK * at, BINS)).astype(np.float32)
        for phone, start, end in zip(phones, starts, [*starts[1:], at], strict=True):
            if phone > 1:
                half = slice(0, BINS // 2) if phone == 2 else slice(BINS // 2, BINS)
                features[STACK * start : STACK * end, half] += 1.5
        left = [1, *phones[:-1]]
        leaf = TOPOLOGY.leaf[left, phones].astype(np.int32)
        transcript = Transcript.of(leaf, np.array(starts, float), at)
        examples.append(Example(features.astype(np.float16), transcript))
    return examples


def test_chunks_cover_their_utterances_and_bring_their_phones() -> None:
    examples = _examples(40, 1)
    batches = Batches(examples, SMALL, LANES, (1, 2), Distortion(), seed=3)
    seen = 0
    for length, places in batches.one_pass():
        assert length in LENGTHS
        features, chunks = batches.load(length, places)
        assert features.shape == (SMALL.past + length + SMALL.future, LANES, STACK * BINS)
        for (number, first), chunk in zip(places, chunks, strict=True):
            starts = examples[number].transcript.start
            inside = ((starts >= first) & (starts < first + length)).sum()
            assert len(chunk.leaf) == inside + chunk.inside
            seen += 1
    assert seen
    measured = Batches(examples, SMALL, LANES, (1, 2), None, seed=3)
    assert measured.one_pass() == measured.one_pass()


def _trainer(folder: Path, hours: float, **further: object) -> Trainer:
    settings = TrainingSettings(
        shape=SMALL, hours=hours, sequences=LANES, processes=2, warm_up_steps=20, half=False, rate=4e-3, **further
    )
    return Trainer(_examples(96, 7), _examples(32, 8), GRAPH, TOPOLOGY.self_loop, settings, folder)


def test_training_learns_and_a_broken_off_training_goes_on(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, 2.0)
    before, _, _ = trainer.measure(trainer.average)
    told: list[float] = []
    trainer.run(lambda hours, _: told.append(hours))
    assert told[-1] >= 2.0
    assert trainer.curve[-1].dev_objective > before + 0.05
    longer = _trainer(tmp_path, 3.0)
    assert longer.resume()
    assert longer.curve == trainer.curve
    objective, _, _ = longer.measure(longer.average)
    assert objective == pytest.approx(trainer.curve[-1].dev_objective, abs=1e-4)
    longer.run(lambda hours, _: None)
    assert longer.curve[-1].hours >= 3.0
    assert len(longer.curve) > len(trainer.curve)
    assert not _trainer(tmp_path / "elsewhere", 1.0).resume()
