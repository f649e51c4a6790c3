"""Numerator and denominator against plain recursions and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recognizer.hmm_topology import HmmTopology
from recognizer.training.denominator import Denominator, DenominatorGraph
from recognizer.training.lane_kernels import LANES
from recognizer.training.numerator import Transcript, subtract_posteriors

PHONES = ("SIL", "A", "B")
LEAK = 0.1


def _topology(rng: np.random.Generator) -> HmmTopology:
    leaf = np.zeros((4, 4), np.int16)
    leaf[:, 1], leaf[:, 2], leaf[:, 3] = 0, [1, 1, 2, 2], 3
    return HmmTopology(PHONES, leaf, rng.uniform(0.2, 0.8, 4).astype(np.float32))


def _graph(topology: HmmTopology) -> DenominatorGraph:
    return DenominatorGraph.of([np.array([1, 2, 3, 2, 1]), np.array([1, 3, 3, 2, 1]), np.array([2, 1])], topology)


def _dense(graph: DenominatorGraph) -> NDArray[np.float64]:
    matrix = np.zeros((graph.states, graph.states))
    for row in range(graph.states):
        for k in range(graph.leaving.first[row], graph.leaving.first[row + 1]):
            matrix[row, graph.leaving.state[k]] += graph.leaving.weight[k]
    return matrix


def _log_probability(x: NDArray[np.float64], graph: DenominatorGraph) -> float:
    """The leaky HMM written down plainly; x is (frames, pdfs)."""
    matrix = _dense(graph)
    stay, initial = graph.stay.astype(float), graph.initial.astype(float)
    alpha, logarithm = initial, 0.0
    for t, row in enumerate(x):
        total = 1.0 if t else initial.sum()
        entering = (alpha @ matrix + LEAK * initial * total) * row[2 * graph.leaf]
        alpha = entering + alpha * stay * row[2 * graph.leaf + 1]
        logarithm += np.log(alpha.sum())
        alpha = alpha / alpha.sum()
    return float(logarithm)


def _likelihoods(rng: np.random.Generator, frames: int, pdfs: int) -> NDArray[np.float32]:
    return np.exp(rng.normal(size=(frames, pdfs, LANES))).astype(np.float32)


def test_the_phone_model_is_a_distribution_and_its_start_is_stationary() -> None:
    topology = _topology(np.random.default_rng(0))
    graph = _graph(topology)
    rows = _dense(graph).sum(1) + graph.stay
    ends = np.isclose(rows, graph.stay)  # a state that only ever ended an utterance leads nowhere
    np.testing.assert_allclose(rows[~ends], 1.0, rtol=1e-5)
    assert not ends.all()
    again = graph.initial @ _dense(graph) + graph.initial * graph.stay
    np.testing.assert_allclose(again / again.sum(), graph.initial, atol=1e-3)
    incoming = np.zeros_like(_dense(graph))
    for column in range(graph.states):
        for k in range(graph.entering.first[column], graph.entering.first[column + 1]):
            incoming[graph.entering.state[k], column] += graph.entering.weight[k]
    np.testing.assert_array_equal(incoming, _dense(graph))


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_the_denominator_equals_the_plain_recursion_in_every_lane(frames: int) -> None:
    rng = np.random.default_rng(frames)
    topology = _topology(rng)
    graph = _graph(topology)
    x = _likelihoods(rng, frames, topology.pdfs)
    posteriors = np.zeros_like(x)
    told = Denominator(graph, LEAK).add_posteriors(x, posteriors)
    plain = [_log_probability(x[:, :, lane].astype(float), graph) for lane in range(LANES)]
    np.testing.assert_allclose(told, plain, rtol=1e-4)
    np.testing.assert_allclose(posteriors.sum(1), 1.0, rtol=1e-4)


def test_the_denominators_posteriors_are_the_derivatives_of_its_log_probability() -> None:
    rng = np.random.default_rng(3)
    topology = _topology(rng)
    graph = _graph(topology)
    x = _likelihoods(rng, 6, topology.pdfs)
    posteriors = np.zeros_like(x)
    Denominator(graph, LEAK).add_posteriors(x, posteriors)
    step = 1e-5
    for t in range(6):
        for pdf in range(topology.pdfs):
            up, down = x[:, :, 4].astype(float), x[:, :, 4].astype(float)
            up[t, pdf] *= np.exp(step)
            down[t, pdf] *= np.exp(-step)
            slope = (_log_probability(up, graph) - _log_probability(down, graph)) / (2 * step)
            assert posteriors[t, pdf, 4] == pytest.approx(slope, abs=2e-4)


def _paths(
    transcript: Transcript, first: int, frames: int, tolerance: tuple[int, int]
) -> list[list[tuple[int, bool]]]:
    """All ways through a chunk: per frame (phone, whether entered just now)."""
    chunk = transcript.chunk(first, frames, *tolerance)
    paths: list[list[tuple[int, bool]]] = [[(0, not chunk.inside)]]
    for t in range(1, frames):
        longer = []
        for path in paths:
            phone = path[-1][0]
            longer.append([*path, (phone, False)])
            nxt = phone + 1
            if nxt < len(chunk.leaf) and chunk.earliest[nxt] <= t <= chunk.latest[nxt]:
                longer.append([*path, (nxt, True)])
        paths = longer
    return [path for path in paths if path[-1][0] == len(chunk.leaf) - 1]


def _numerator(
    x: NDArray[np.float64],
    transcript: Transcript,
    first: int,
    tolerance: tuple[int, int],
    stay: NDArray[np.float64],
) -> float:
    chunk = transcript.chunk(first, len(x), *tolerance)
    total = 0.0
    for path in _paths(transcript, first, len(x), tolerance):
        weight = 1.0
        for t, (phone, entered) in enumerate(path):
            leaf = chunk.leaf[phone]
            weight *= x[t, 2 * leaf + (not entered)]
            if t:
                before = chunk.leaf[path[t - 1][0]]
                weight *= (1 - stay[before]) if entered else stay[before]
        total += weight
    return float(np.log(total))


@pytest.mark.parametrize(("first", "frames"), [(0, 10), (2, 7), (3, 5), (6, 4)])
@pytest.mark.parametrize("tolerance", [(0, 0), (2, 2), (1, 3)])
def test_the_numerator_equals_the_sum_over_all_its_paths(
    first: int, frames: int, tolerance: tuple[int, int]
) -> None:
    rng = np.random.default_rng(first * 10 + frames)
    topology = _topology(rng)
    stay = topology.self_loop.astype(float)
    transcript = Transcript(np.array([0, 1, 3, 2, 0], np.int32), np.array([0, 2, 4, 7, 8], np.int32), 10)
    x = _likelihoods(rng, frames, topology.pdfs)
    posteriors = np.zeros_like(x)
    chunk = transcript.chunk(first, frames, *tolerance)
    told = subtract_posteriors(x, 7, chunk, stay, posteriors)
    plain = x[:, :, 7].astype(float)
    assert told == pytest.approx(_numerator(plain, transcript, first, tolerance, stay), rel=1e-6)
    np.testing.assert_allclose(posteriors[:, :, 7].sum(1), -1.0, rtol=1e-5)
    assert not np.delete(posteriors, 7, axis=2).any()
    step = 1e-5
    for t, pdf in [(0, 1), (frames // 2, 2), (frames - 1, 6), (frames - 1, 1)]:
        up, down = plain.copy(), plain.copy()
        up[t, pdf] *= np.exp(step)
        down[t, pdf] *= np.exp(-step)
        slope = (
            _numerator(up, transcript, first, tolerance, stay)
            - _numerator(down, transcript, first, tolerance, stay)
        ) / (2 * step)
        assert -posteriors[t, pdf, 7] == pytest.approx(slope, abs=1e-4)


def test_a_chain_that_does_not_fit_is_left_out() -> None:
    rng = np.random.default_rng(5)
    topology = _topology(rng)
    transcript = Transcript(np.array([0, 1, 3, 2, 0], np.int32), np.array([0, 1, 2, 3, 4], np.int32), 20)
    chunk = transcript.chunk(0, 8, 0, 0)
    x = _likelihoods(rng, 8, topology.pdfs)
    x[2, 6:8, 0] = 0.0  # the third phone cannot be where it has to be
    posteriors = np.zeros_like(x)
    assert np.isnan(subtract_posteriors(x, 0, chunk, topology.self_loop.astype(float), posteriors))
    assert not posteriors.any()


def test_starts_become_distinct_frames_and_what_lies_behind_the_end_is_cut() -> None:
    transcript = Transcript.of(np.arange(5, dtype=np.int32), np.array([0.4, 0.6, 0.7, 5.2, 9.9]), 9)
    assert transcript.start.tolist() == [0, 1, 2, 5]
    assert transcript.leaf.tolist() == [0, 1, 2, 3]


def test_without_phones_to_count_there_is_no_denominator() -> None:
    with pytest.raises(ValueError, match="no sequence of phones"):
        DenominatorGraph.of([np.array([1])], _topology(np.random.default_rng(0)))
