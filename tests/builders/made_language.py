"""A made-up language for tests of language models: few words, skewed, with some order in it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import UNKNOWN, BackoffModel, numbered
from recognizer.language.ngram_counts import numbered_text, word_numbers

WORDS = ("the", "dog", "cat", "saw", "ate", "a", "small", "bone", "fish", "slept")


def made_lines(sentences: int, seed: int, words: Sequence[str] = WORDS) -> list[str]:
    """Sentences in which each word leans towards the next two of the list."""
    dice = random.Random(seed)
    lines = []
    for _ in range(sentences):
        at = dice.randrange(len(words))
        line = [words[at]]
        while dice.random() < 0.8:
            at = (at + 1 + int(dice.expovariate(0.6))) % len(words)
            line.append(words[at])
        lines.append(" ".join(line))
    return lines


def made_tokens(lines: Sequence[str], extra: Sequence[str] = ()) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Numbered text and the words, those of `extra` and ``<unk>`` added."""
    words = numbered([*(word for line in lines for word in line.split()), *extra, UNKNOWN])
    return numbered_text(lines, word_numbers(words)), words


def sums(model: BackoffModel, histories: Sequence[Sequence[int]]) -> list[float]:
    """Probability of all words together after each history."""
    width = max(1, model.order - 1)
    totals = []
    for history in histories:
        cut = list(history)[-width:]
        before = [0] * (width - len(cut)) + cut
        rows = np.array([[*before, word] for word in range(2, len(model.words))], np.int32)
        totals.append(float(np.exp(model.score(rows)).sum()))
    return totals


def kneser_ney_by_the_book(
    lines: Sequence[str], order: int, vocabulary: int, history: Sequence[str], word: str
) -> float:
    """Interpolated modified Kneser-Ney with dictionaries, straight from the formulas: the slow reference."""
    tokens = [["<s>", *line.split(), "</s>"] for line in lines]
    counts = [
        Counter(tuple(t[i : i + n]) for t in tokens for i in range(len(t) - n + 1) if t[i + n - 1] != "<s>")
        for n in range(1, order + 1)
    ]  # fmt: skip
    adjusted: list[Counter[tuple[str, ...]]] = []
    for n in range(1, order + 1):
        if n == order:
            adjusted.append(counts[n - 1])
            continue
        before = Counter(gram[1:] for gram in counts[n])
        starting = {gram: c for gram, c in counts[n - 1].items() if gram[0] == "<s>"}
        adjusted.append(Counter({**before, **starting}))
    return _interpolated(adjusted, vocabulary, tuple(history)[-(order - 1) :], word)


def _interpolated(
    adjusted: list[Counter[tuple[str, ...]]], vocabulary: int, history: tuple[str, ...], word: str
) -> float:
    level = adjusted[len(history)]
    below = _interpolated(adjusted, vocabulary, history[1:], word) if history else 1.0 / vocabulary
    following = {gram: c for gram, c in level.items() if gram[:-1] == history}
    total = sum(following.values())
    if not total:
        return below
    discount = _discounts(level)
    left = sum(discount[min(c, 3)] for c in following.values()) / total
    count = level[(*history, word)]
    return max(0.0, count - discount[min(count, 3)]) / total + left * below


def _discounts(level: Counter[tuple[str, ...]]) -> tuple[float, float, float, float]:
    n1, n2, n3, n4 = (sum(c == k for c in level.values()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return 0.0, 0.5, 1.0, 1.5
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 < d <= n for n, d in enumerate(found, 1)) or not found[0] <= found[1] <= found[2]:
        return 0.0, 0.5, 1.0, 1.5
    return (0.0, *found)
