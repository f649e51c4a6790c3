"""Fitting the confidence: known coefficients are found again, and a fit is the optimum that it claims to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recognizer.confidence import FEATURES, ConfidenceModel
from recognizer.confidence_fit import ConfidenceExamples, fitted, held_out_confidences, main


def examples(words: int, model: ConfidenceModel, seed: int = 1) -> ConfidenceExamples:
    random = np.random.default_rng(seed)
    features = random.normal(0, 1, (words, len(FEATURES)))
    right = random.random(words) < model.probabilities(features)
    return ConfidenceExamples(features, right, random.integers(0, 12, words))


TRUTH = ConfidenceModel(0.5, (1.0, -0.5, 0.25, 0.0, 0.5))


def test_coefficients_that_made_the_data_are_found_again() -> None:
    made = examples(40_000, TRUTH)
    found = fitted(made.features, made.right)
    assert found.intercept == pytest.approx(TRUTH.intercept, abs=0.05)
    assert found.weights == pytest.approx(TRUTH.weights, abs=0.05)


def test_no_step_away_from_the_fit_makes_the_data_likelier() -> None:
    made = examples(500, TRUTH)

    def cost(weights: np.ndarray) -> float:
        chance = ConfidenceModel(weights[0], tuple(weights[1:])).probabilities(made.features)
        return -float(np.log(np.where(made.right, chance, 1 - chance)).sum()) + 0.5 * float(
            (weights[1:] ** 2).sum()
        )

    found = fitted(made.features, made.right, shrinking=1.0)
    best = np.array([found.intercept, *found.weights])
    random = np.random.default_rng(2)
    for _ in range(50):
        assert cost(best + random.normal(0, 0.05, len(best))) > cost(best)


def test_held_out_confidences_come_from_other_groups() -> None:
    """A group whose words are all right where all others' are wrong must not have taught its own confidences."""
    features = np.zeros((60, len(FEATURES)))
    groups = np.repeat(np.arange(6), 10)
    right = (groups == 3) | (np.arange(60) % 10 == 0)
    confidences = held_out_confidences(ConfidenceExamples(features, right, groups))
    assert confidences[groups == 3] == pytest.approx(0.1, abs=0.01)
    assert confidences[groups == 0] == pytest.approx(14 / 50, abs=0.01)


def test_words_of_one_kind_cannot_be_fitted() -> None:
    for right in (np.ones(5, np.bool_), np.zeros(5, np.bool_)):
        with pytest.raises(ValueError, match="words that are right and words that are wrong"):
            fitted(np.zeros((5, len(FEATURES))), right)


def test_a_table_that_is_not_there_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.tsv")]) == 1
    assert capsys.readouterr().err.startswith("The confidence was not fitted: ")
