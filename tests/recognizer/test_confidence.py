"""What the confidence looks at, on a search small enough to follow by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recognizer.beam_search import BeamSearch, BeamSearchSettings
from recognizer.confidence import FEATURES, ConfidenceModel, timed, word_features
from recognizer.graph import Graph, graph_from_arcs
from recognizer.word_alignment import AlignedWord

MODEL = ConfidenceModel(0.0, (0.4, 0.35, 0.05, 0.1, -0.1))
SETTINGS = BeamSearchSettings(beam=12.0, lattice_beam=8.0)


def fork(price: float) -> Graph:
    """Two words compete for frame 0 (the second one costs `price`); both lead into loops of their own."""
    return graph_from_arcs(
        np.array([0, 0, 1, 2]), np.array([1, 2, 1, 2]), np.array([0, 0, 1, 1]), np.array([1, 2, 0, 0]),
        np.array([0, price, 0, 0], np.float32), np.array([np.inf, 0, 0], np.float32), 0, 2, (1,),
        ("", "right", "wrong"),
    )  # fmt: skip


def searched(price: float) -> BeamSearch:
    search = BeamSearch(fork(price), SETTINGS)
    search.advance(np.zeros((12, 2), np.float32))
    return search


ALIGNED = [AlignedWord(0, 3, 2, -6.0, -3.0)]


def test_agreement_is_the_words_posterior_with_costs_at_half() -> None:
    search = searched(4.0)
    agreement, gap, before, after, crowd = word_features(search.finish(), ALIGNED, search.lattice(True))[0]
    # The rival is 4 worse, at half its weight is 1/e^2 of the winner's: log odds 2.
    assert agreement == pytest.approx(2.0)
    assert gap == pytest.approx(-1.0)
    assert before == after == agreement
    assert crowd == pytest.approx(math.log(1 + 2))


def test_a_word_without_living_rival_is_surer_than_one_with() -> None:
    sure, contested = searched(20.0), searched(0.5)
    estimates = [MODEL.estimate(search.finish(), ALIGNED, search.lattice(True))[0] for search in (sure, contested)]
    assert estimates[0] > 0.8 > 0.5 > estimates[1] - 0.1
    assert all(0 < estimate < 1 for estimate in estimates)


def test_the_estimate_is_the_logistic_of_the_features() -> None:
    search = searched(2.0)
    hypothesis = search.finish()
    logit = float(word_features(hypothesis, ALIGNED, search.lattice(True))[0] @ np.array(MODEL.weights))
    assert MODEL.estimate(hypothesis, ALIGNED, search.lattice(True)) == (
        pytest.approx(1 / (1 + math.exp(-logit))),
    )


def test_the_same_word_a_little_earlier_counts_as_agreeing() -> None:
    graph = graph_from_arcs(
        np.array([0, 0, 3, 1, 2]), np.array([1, 3, 2, 1, 2]), np.array([0, 0, 1, 1, 1]), np.array([1, 0, 1, 0, 0]),
        np.array([0, 1, 0, 0, 0], np.float32), np.array([np.inf, 0, 0, np.inf], np.float32), 0, 2, (1,), ("", "word"),
    )  # fmt: skip
    search = BeamSearch(graph, SETTINGS)
    search.advance(np.zeros((12, 2), np.float32))
    aligned = [AlignedWord(0, 2, 1, 0.0, 0.0)]
    assert word_features(search.finish(), aligned, search.lattice(True))[0][0] == pytest.approx(math.log(999))


def test_exact_times_and_confidences_replace_the_rough_ones() -> None:
    search = searched(4.0)
    rough = search.finish()
    exact = timed(rough, ALIGNED, search.lattice(True), MODEL)
    assert [(w.text, w.start_frame, w.end_frame) for w in exact.words] == [("right", 0, 3)]
    assert exact.words[0].confidence == MODEL.estimate(rough, ALIGNED, search.lattice(True))[0]
    assert timed(rough, None, search.lattice(True), MODEL) == rough


def test_nothing_said_has_no_features() -> None:
    search = BeamSearch(fork(1.0), SETTINGS)
    assert word_features(search.partial(), [], None).shape == (0, len(FEATURES))


def test_coefficients_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 5 coefficients, the pack has 1"):
        ConfidenceModel(0.0, (1.0,))


def test_a_pack_without_the_newer_features_works() -> None:
    entry = {
        "intercept": 0.5,
        "agreement": 0.1,
        "acoustic_gap": 0.2,
        "agreement_before": 0.3,
        "agreement_after": 0.4,
    }
    assert ConfidenceModel.from_manifest(entry) == ConfidenceModel(0.5, (0.1, 0.2, 0.3, 0.4, 0.0))
    assert ConfidenceModel.from_manifest({**entry, "crowd": -0.6}).weights[4] == -0.6
    with pytest.raises(KeyError):
        ConfidenceModel.from_manifest({"intercept": 0.5})
