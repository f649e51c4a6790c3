"""Modified Kneser-Ney smoothing, interpolated (Chen and Goodman 1998, "An empirical study of smoothing techniques").

Each length of n-gram has three discounts, for n-grams seen once, twice and oftener, from the counts of counts. An
n-gram below the longest counts the different words seen before it, unless it begins a sentence, where nothing can
stand before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import (
    NEVER,
    NO_WORD,
    SENTENCE_START,
    BackoffModel,
    selected,
    trie,
)
from recognizer.language.ngram_counts import NgramLevel, count_ngrams

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_FALLBACK = (0.5, 1.0, 1.5)
_SLIVER = 1e-7


def discounts(counts: Int64) -> tuple[float, float, float]:
    """Return D1, D2, D3+ for the (adjusted) counts of one length of n-gram.

    Text with too few rare n-grams for the formula (small or templated) gets 0.5, 1, 1.5.
    """
    n1, n2, n3, n4 = (int((counts == n).sum()) for n in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 < d <= n for n, d in enumerate(found, 1)) or not found[0] <= found[1] <= found[2]:
        return _FALLBACK
    return found


def train(
    tokens: NDArray[np.int32], words: tuple[str, ...], order: int, least: Sequence[int] = (1, 1, 1, 1)
) -> BackoffModel:
    """Train a model.

    Parameters
    ----------
    tokens : int32[n]
        Sentences as :func:`recognizer.language.ngram_counts.numbered_text` returns them.
    words : tuple of str
    order : int
        2 to 4.
    least : sequence of int
        Fewest occurrences, by length, with which an n-gram is kept; not decreasing. What is left out goes to
        the back-off weight.

    Raises
    ------
    ValueError
        If there is no text, or `order` or `least` are not as above.
    """
    if not 2 <= order <= 4:
        raise ValueError("A language model is trained with n-grams of two to four words.")
    least = [1, *least[1:order]]
    if sorted(least) != least:
        raise ValueError("The least number of occurrences must not decrease with the length of the n-grams.")
    if not len(tokens):
        raise ValueError("There is no text to train a language model on.")
    levels = count_ngrams(tokens, order, len(words))
    keep = [np.ones(len(words), bool), *(level.count >= n for level, n in zip(levels[1:], least[1:], strict=True))]
    model = trie(words, [(level.parent, level.word) for level in levels])
    running = float((tokens != SENTENCE_START).sum())
    below = _single_words(levels[0], len(words))
    model.log_probability[: len(words)] = _safe_log(below)
    for n in range(1, order):
        level = levels[n]
        adjusted = level.count if n == order - 1 else np.where(level.starts_sentence, level.count, level.before)
        one, two, more = discounts(adjusted)
        discount = np.where(adjusted >= 3, more, np.where(adjusted == 2, two, np.where(adjusted == 1, one, 0.0)))
        total = np.bincount(level.parent, adjusted, len(below))
        direct = np.where(keep[n], (adjusted - discount) / total[level.parent], 0.0)
        left = 1.0 - np.bincount(level.parent, direct, len(below))
        left = np.where(total > 0, np.maximum(left, _SLIVER), 1.0)
        probability = direct + left[level.parent] * below[level.suffix]
        begin, end = model.level[n], model.level[n + 1]
        model.log_probability[begin:end] = _safe_log(probability)
        model.log_backoff[model.level[n - 1] : begin] = np.log(left)
        model.frequency[model.level[n - 1] : begin] = levels[n - 1].count / running
        below = probability
    return selected(model, np.concatenate(keep))


def _single_words(level: NgramLevel, size: int) -> Float64:
    """Probability of each word; every word of the vocabulary gets a share of what is discounted."""
    adjusted = level.before.copy()
    adjusted[[NO_WORD, SENTENCE_START]] = 0
    one, two, more = discounts(adjusted)
    discount = np.where(adjusted >= 3, more, np.where(adjusted == 2, two, np.where(adjusted == 1, one, 0.0)))
    direct = (adjusted - discount) / adjusted.sum()
    probability: Float64 = direct + (1.0 - direct.sum()) / (size - 2)
    probability[[NO_WORD, SENTENCE_START]] = 0.0
    return probability


def _safe_log(probability: Float64) -> Float64:
    with np.errstate(divide="ignore"):
        logarithm: Float64 = np.maximum(np.log(probability), NEVER)
    return logarithm
