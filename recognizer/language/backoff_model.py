"""A back-off n-gram model of any order as a flat trie.

Nodes are n-grams, level by level: node ``w`` (below ``len(words)``) is the word ``w``, then come the bigrams sorted by
(first word, second word), then the trigrams sorted by (node of their first two words, third word), and so on. The
n-grams that continue node ``i`` are the nodes ``first[i]`` to ``first[i + 1] - 1``. Logarithms are natural.

Word numbers are those of :mod:`recognizer.language_model`: 0 is no word, 1 ``<s>``, 2 ``</s>``, then alphabetically.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

NO_WORD, SENTENCE_START, SENTENCE_END = 0, 1, 2
MARKS = ("<eps>", "<s>", "</s>")
UNKNOWN = "<unk>"
NEVER = -99.0

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class BackoffModel:
    """See the module for the layout.

    Attributes
    ----------
    words : tuple of str
    level : int64[order + 1]
        First node of each level, and the number of nodes.
    word : int32[nodes]
        Last word of each n-gram.
    parent : int32[nodes]
        Node of its first n - 1 words; -1 for single words.
    first : int64[level[order - 1] + 1]
        First continuation of each node that can have some.
    log_probability : float64[nodes]
    log_backoff : float64[level[order - 1]]
    frequency : float64[level[order - 1]]
        Relative frequency of the n-gram in running text, what pruning weighs a history with.
    """

    words: tuple[str, ...]
    level: Int64
    word: Int32
    parent: Int32
    first: Int64
    log_probability: Float64
    log_backoff: Float64
    frequency: Float64

    @property
    def order(self) -> int:
        """Longest n-gram in words."""
        return len(self.level) - 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of n-grams by length."""
        return tuple(int(n) for n in np.diff(self.level))

    def ngrams(self, order: int) -> Int32:
        """All n-grams of a length as word numbers: int32[n-grams, order]."""
        nodes = np.arange(self.level[order - 1], self.level[order])
        rows = np.empty((len(nodes), order), np.int32)
        for column in range(order - 1, -1, -1):
            rows[:, column] = self.word[nodes]
            nodes = self.parent[nodes]
        return rows

    def score(self, rows: Int32) -> Float64:
        """Log probability of the last word of each row after the words before it.

        Parameters
        ----------
        rows : int32[n, length]
            Word numbers; ``NO_WORD`` on the left where a history is shorter. Histories longer than the model's
            order are cut.
        """
        scores: Float64 = _score(
            np.ascontiguousarray(rows[:, max(0, rows.shape[1] - self.order) :], np.int32),
            self.word, self.first, self.log_probability, self.log_backoff, self.level[-2],
        )  # fmt: skip
        return scores

    def find(self, rows: Int32) -> Int64:
        """Node of each row's n-gram, -1 where the model has none."""
        nodes: Int64 = _find_rows(np.ascontiguousarray(rows, np.int32), self.word, self.first, self.level[-2])
        return nodes


@njit(cache=True)
def find_child(word: Int32, first: Int64, internal: int, node: int, wanted: int) -> int:
    """Node of the continuation `wanted` of `node`, or -1."""
    if node >= internal:
        return -1
    low, high = first[node], first[node + 1]
    while low < high:
        middle = (low + high) // 2
        if word[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < first[node + 1] and word[low] == wanted else -1


@njit(cache=True)
def _find_rows(rows: Int32, word: Int32, first: Int64, internal: int) -> Int64:
    found = np.empty(len(rows), np.int64)
    for r in range(len(rows)):
        node = np.int64(rows[r, 0])
        for column in range(1, rows.shape[1]):
            if node >= 0:
                node = find_child(word, first, internal, node, rows[r, column])
        found[r] = node
    return found


@njit(cache=True)
def _score(
    rows: Int32, word: Int32, first: Int64, log_probability: Float64, log_backoff: Float64, internal: int
) -> Float64:
    scores = np.empty(len(rows), np.float64)
    last = rows.shape[1] - 1
    for r in range(len(rows)):
        wanted, given = rows[r, last], 0.0
        start = 0
        while start < last and rows[r, start] == 0:
            start += 1
        done = False
        while start < last and not done:
            node = np.int64(rows[r, start])
            for column in range(start + 1, last):
                if node >= 0:
                    node = find_child(word, first, internal, node, rows[r, column])
            if node >= 0:
                child = find_child(word, first, internal, node, wanted)
                if child >= 0:
                    scores[r] = given + log_probability[child]
                    done = True
                elif node < internal:
                    given += log_backoff[node]
            start += 1
        if not done:
            scores[r] = given + log_probability[wanted]
    return scores


def trie(words: tuple[str, ...], levels: list[tuple[Int64, Int64]]) -> BackoffModel:
    """Lay out n-grams given by level: (parent's place in the level before, last word), sorted by both.

    Probabilities, weights and frequencies are left at zero. The first level must list every word in order.
    """
    sizes = [len(level_words) for _, level_words in levels]
    level = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    word = np.concatenate([w for _, w in levels]).astype(np.int32)
    parent = np.concatenate(
        [np.full(sizes[0], -1, np.int64)] + [levels[n][0] + level[n - 1] for n in range(1, len(levels))]
    ).astype(np.int32)
    internal = int(level[-2])
    first = level[1] + np.searchsorted(parent[level[1] :], np.arange(internal + 1), "left")
    return BackoffModel(
        words, level, word, parent, first.astype(np.int64),
        np.zeros(level[-1]), np.zeros(internal), np.zeros(internal),
    )  # fmt: skip


def lower_scores(model: BackoffModel, order: int) -> Float64:
    """Log probability of each n-gram's last word after its history without the first word: what it backs off to."""
    return model.score(model.ngrams(order)[:, 1:])


def renormalised(model: BackoffModel) -> BackoffModel:
    """Return the model with back-off weights that make every history's probabilities sum to one.

    A history whose continuations take all (rounding) keeps a sliver for the words that it has not been seen with.
    """
    backoff = np.zeros_like(model.log_backoff)
    current = replace(model, log_backoff=backoff)
    for order in range(2, model.order + 1):
        parents = model.parent[model.level[order - 1] : model.level[order]]
        seen, lower = sums_by_parent(current, order, lower_scores(current, order))
        histories = np.unique(parents)
        left = np.maximum(1.0 - seen[histories], 1e-9)
        left_below = np.maximum(1.0 - lower[histories], 1e-9)
        backoff[histories] = np.log(left) - np.log(left_below)
    return replace(model, log_backoff=backoff)


def sums_by_parent(model: BackoffModel, order: int, lower: Float64) -> tuple[Float64, Float64]:
    """Probability of a history's continuations together, by the model and when backed off: float64[histories] twice."""
    begin, end = model.level[order - 1], model.level[order]
    parents, internal = model.parent[begin:end], len(model.log_backoff)
    seen: Float64 = np.bincount(parents, np.exp(model.log_probability[begin:end]), internal).astype(np.float64)
    backed_off: Float64 = np.bincount(parents, np.exp(lower), internal).astype(np.float64)
    return seen, backed_off


def numbered(vocabulary: Collection[str]) -> tuple[str, ...]:
    """Marks, then the words alphabetically: the spelling of each word number."""
    return (*MARKS, *sorted(set(vocabulary) - set(MARKS)))


def selected(model: BackoffModel, keep: NDArray[np.bool_]) -> BackoffModel:
    """Return the model with the marked n-grams only; all single words and all histories of kept ones must be kept."""
    before = np.concatenate([[0], np.cumsum(keep)])
    place, level = before[1:] - 1, before[model.level]
    internal = model.level[-2]
    parent = model.parent[keep]
    parent = np.where(parent < 0, -1, place[np.maximum(parent, 0)]).astype(np.int32)
    first = level[1] + np.searchsorted(parent[level[1] :], np.arange(level[-2] + 1), "left")
    kept_histories = keep[:internal]
    return replace(
        model, level=level.astype(np.int64), word=model.word[keep], parent=parent, first=first.astype(np.int64),
        log_probability=model.log_probability[keep], log_backoff=model.log_backoff[kept_histories],
        frequency=model.frequency[kept_histories],
    )  # fmt: skip
