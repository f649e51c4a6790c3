"""How well a model foretells a text: perplexity and words outside the vocabulary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from recognizer.language.backoff_model import SENTENCE_START, UNKNOWN, BackoffModel

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Perplexity:
    """Of one text.

    Attributes
    ----------
    perplexity : float
        Per word and sentence end, words outside the vocabulary left out (SRILM's ``ppl``).
    words, unknown : int
        Running words, and those outside the vocabulary.
    sentences : int
    """

    perplexity: float
    words: int
    unknown: int
    sentences: int

    @property
    def unknown_rate(self) -> float:
        """Share of running words outside the vocabulary."""
        return self.unknown / max(1, self.words)


def token_rows(tokens: Int32, order: int, words: tuple[str, ...]) -> Int32:
    """Return int32[n, order]: each foretold word with the words before it in its sentence, 0 where there are none.

    Sentence starts and words outside the vocabulary are not foretold.
    """
    padded = np.concatenate([np.zeros(order - 1, np.int32), tokens])
    rows = sliding_window_view(padded, order).copy()
    for column in range(order - 2, -1, -1):  # nothing from before the sentence's start
        cut = rows[:, column + 1] == SENTENCE_START
        rows[cut, : column + 1] = 0
    foretold: Int32 = rows[(tokens != SENTENCE_START) & (tokens != words.index(UNKNOWN))]
    return foretold


def perplexity(model: BackoffModel, tokens: Int32) -> Perplexity:
    """Measure a numbered text (:func:`recognizer.language.ngram_counts.numbered_text`)."""
    rows = token_rows(tokens, model.order, model.words)
    sentences = int((tokens == SENTENCE_START).sum())
    unknown = int((tokens == model.words.index(UNKNOWN)).sum())
    mean = float(model.score(rows).mean()) if len(rows) else 0.0
    return Perplexity(math.exp(-mean), len(tokens) - 2 * sentences, unknown, sentences)
