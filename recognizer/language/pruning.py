"""Entropy pruning (Stolcke 1998, "Entropy-based pruning of backoff language models").

An n-gram goes if the model without it is hardly another: the relative entropy between the two, weighed with how often
its history occurs, is what it costs. Histories are weighed by their frequency in text and not by the model's own
lower orders, which Kneser-Ney makes on purpose unlike it (Chelba et al. 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import BackoffModel, lower_scores, renormalised, selected, sums_by_parent

Float64 = NDArray[np.float64]
_LEAST_LEFT = 1e-9


def costs(model: BackoffModel) -> list[Float64]:
    """Relative entropy that each n-gram's removal alone costs, by length from two words on."""
    found = []
    for order in range(2, model.order + 1):
        begin, end = int(model.level[order - 1]), int(model.level[order])
        parent = model.parent[begin:end]
        log_p = model.log_probability[begin:end]
        log_lower = lower_scores(model, order)
        p, lower = np.exp(log_p), np.exp(log_lower)
        seen, seen_below = sums_by_parent(model, order, log_lower)
        left = np.maximum(1.0 - seen[parent], _LEAST_LEFT)
        left_below = np.maximum(1.0 - seen_below[parent], _LEAST_LEFT)
        log_backoff = np.log(left) - np.log(left_below)
        log_new = np.log(left + p) - np.log(left_below + lower)
        change = p * (log_lower + log_new - log_p) + left * (log_new - log_backoff)
        found.append(np.maximum(-model.frequency[parent] * change, 0.0))
    return found


def kept_at(model: BackoffModel, cost: Sequence[Float64], threshold: float) -> NDArray[np.bool_]:
    """Mark the n-grams that stay: dear ones, and the histories of dear ones."""
    keep = np.concatenate([np.ones(int(model.level[1]), bool), *(c >= threshold for c in cost)])
    for order in range(model.order, 1, -1):
        begin, end = int(model.level[order - 1]), int(model.level[order])
        keep[model.parent[begin:end][keep[begin:end]]] = True
    return keep


def pruned(model: BackoffModel, threshold: float) -> BackoffModel:
    """Return the model without the n-grams that cost less than `threshold` (nats per word)."""
    return renormalised(selected(model, kept_at(model, costs(model), threshold)))


def pruned_to(model: BackoffModel, ngrams: int) -> tuple[BackoffModel, float]:
    """Prune until at most `ngrams` of two or more words are left; also return the threshold used."""
    cost = costs(model)
    singles = int(model.level[1])
    low, high = -60.0, 0.0  # natural logarithm of the threshold
    if int(model.level[-1]) - singles <= ngrams:
        return model, 0.0
    for _ in range(40):
        middle = (low + high) / 2
        if int(kept_at(model, cost, float(np.exp(middle))).sum()) - singles > ngrams:
            low = middle
        else:
            high = middle
    threshold = float(np.exp(high))
    return renormalised(selected(model, kept_at(model, cost, threshold))), threshold
