"""Several models as one: weights by expectation maximisation on development text, then one static model.

The static model holds every n-gram of any component with the weighted probability; back-off weights make it sum to
one (as SRILM's ``ngram -mix-lm`` does). For histories that only some components know this is an approximation of the
weighted sum, a close one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import BackoffModel, renormalised, trie
from recognizer.language.perplexity import token_rows

Float64 = NDArray[np.float64]
_ROUNDS = 200
_SETTLED = 1e-6
_ROWS_AT_ONCE = 4_000_000


def weights_by_em(
    components: Sequence[BackoffModel], texts: Sequence[NDArray[np.int32]], shares: Sequence[float] | None = None
) -> Float64:
    """Return the component weights under which the development texts are most probable.

    Parameters
    ----------
    components : sequence of BackoffModel
        All with the same words.
    texts : sequence of int32[n]
        Numbered development texts; words outside the vocabulary are not counted.
    shares : sequence of float, optional
        How much each text counts, whatever its length; equally by default.
    """
    shares = shares if shares is not None else [1.0] * len(texts)
    columns, importance = [], []
    for text, share in zip(texts, shares, strict=True):
        rows = token_rows(text, max(c.order for c in components), components[0].words)
        columns.append(np.exp(np.stack([c.score(rows) for c in components], 1)))
        importance.append(np.full(len(rows), share / max(1, len(rows))))
    probability, counted = np.concatenate(columns), np.concatenate(importance)
    counted /= counted.sum()
    weights = np.full(len(components), 1.0 / len(components))
    for _ in range(_ROUNDS):
        joint = probability * weights
        new = (joint / joint.sum(1, keepdims=True) * counted[:, None]).sum(0)
        settled = np.abs(new - weights).max() < _SETTLED
        weights = new
        if settled:
            break
    return weights


def mixed(components: Sequence[BackoffModel], weights: Sequence[float]) -> BackoffModel:
    """Return the static model of the weighted components, which must have the same words.

    Raises
    ------
    ValueError
        If the words differ or the weights do not sum to one.
    """
    if any(c.words != components[0].words for c in components):
        raise ValueError("Only language models with the same words can be mixed.")
    if len(weights) != len(components) or abs(sum(weights) - 1.0) > 1e-6 or min(weights) < 0:
        raise ValueError("The weights of the mixed language models must be positive and sum to one.")
    union = _union(components)
    log_probability, frequency = union.log_probability, union.frequency
    for order in range(1, union.order + 1):
        begin, end = int(union.level[order - 1]), int(union.level[order])
        rows = union.ngrams(order)
        for low in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[low : low + _ROWS_AT_ONCE]
            sums = np.zeros(len(part))
            for component, weight in zip(components, weights, strict=True):
                sums += weight * np.exp(component.score(part))
            with np.errstate(divide="ignore"):
                log_probability[begin + low : begin + low + len(part)] = np.maximum(np.log(sums), -99.0)
        if order < union.order:
            for component, weight in zip(components, weights, strict=True):
                frequency[begin:end] += weight * _frequencies(component, rows)
    return renormalised(replace(union, log_probability=log_probability, frequency=frequency))


def _frequencies(component: BackoffModel, rows: NDArray[np.int32]) -> Float64:
    nodes = component.find(rows)
    internal = len(component.frequency)
    known = (nodes >= 0) & (nodes < internal)
    return np.where(known, component.frequency[np.where(known, nodes, 0)], 0.0)


def _union(components: Sequence[BackoffModel]) -> BackoffModel:
    """Trie of all n-grams of all components."""
    words = components[0].words
    size = len(words)
    places = [np.arange(size) for _ in components]
    levels = [(np.zeros(size, np.int64), np.arange(size))]
    for order in range(2, max(c.order for c in components) + 1):
        keys = []
        for component, place in zip(components, places, strict=True):
            if component.order < order:
                keys.append(np.zeros(0, np.int64))
                continue
            begin, end = component.level[order - 1], component.level[order]
            parents = component.parent[begin:end] - component.level[order - 2]
            keys.append(place[parents] * size + component.word[begin:end])
        union = np.unique(np.concatenate(keys))
        places = [np.searchsorted(union, k) for k in keys]
        levels.append((union // size, union % size))
    return trie(words, levels)
