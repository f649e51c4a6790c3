"""Alignment with CTC scores against every labelling of the frames."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recognizer.ctc_alignment import LEAD_FRAMES, TAIL_FRAMES, CtcAligner

WORDS = ("", "one", "two", "no")
SPELLINGS = {"one": [(1, 2), (3,)], "two": [(1, 1)]}
ALIGNER = CtcAligner(WORDS, SPELLINGS, 0)


def best_cost(ids: tuple[int, ...], scores: np.ndarray) -> float:
    """Cost of the best labelling that collapses to a spelling of the words."""
    wanted = {tuple(itertools.chain(*way)) for way in itertools.product(*(SPELLINGS[WORDS[i]] for i in ids))}
    best = math.inf
    for labels in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        if tuple(token for token, _ in itertools.groupby(labels) if token) in wanted:
            best = min(best, -float(scores[np.arange(len(scores)), labels].sum()))
    return best


@pytest.mark.parametrize("ids", [(1,), (2,), (1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_the_best_labelling(ids: tuple[int, ...], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(-1, 2, (6, 4)).astype(np.float32)
    scores[:, 0] = 0.0  # blanks cost nothing, so that the words' own scores are those of the whole path
    spans = ALIGNER.align(ids, scores)
    found = math.inf if spans is None else -sum(span.score for span in spans)
    assert found == pytest.approx(best_cost(ids, scores), abs=1e-4)


def test_a_word_lies_about_its_spikes_and_leaves_its_neighbours_alone() -> None:
    scores = np.full((20, 4), -9.0, np.float32)
    scores[:, 0] = 0.0
    for frame, token in ((6, 1), (8, 2), (10, 3)):
        scores[frame] = -9.0
        scores[frame, token] = 0.0
    first, second = ALIGNER.align((1, 1), scores) or []
    assert (first.start_frame, first.end_frame) == (6 - LEAD_FRAMES, 10)
    assert (second.start_frame, second.end_frame) == (10, 11 + TAIL_FRAMES)
    assert (first.phones, second.phones) == (2, 1)
    assert first.score == first.best_score == 0.0


def test_words_that_do_not_fit_are_not_aligned() -> None:
    assert ALIGNER.align((2,), np.zeros((2, 4), np.float32)) is None
    assert ALIGNER.align((2,), np.zeros((3, 4), np.float32)) is not None
    assert ALIGNER.align((3,), np.zeros((9, 4), np.float32)) is None
    assert ALIGNER.align((1,), np.zeros((0, 4), np.float32)) is None
    assert ALIGNER.align((), np.zeros((0, 4), np.float32)) == []
