"""A word for what is no word: a loop of phones that speech outside the vocabulary may go through.

Without it every sound has to be some word. The loop begins in the graph's back-off states and ends in them, as a new
word does; its phones follow each other as often as they do in the dictionary. What it costs to enter decides how
far from all words something must sound before it counts as unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recognizer.lexicon import Lexicon
from recognizer.vocabulary_growth import Growth

UNKNOWN = "<unk>"
_SMOOTHING = 0.5


def phone_bigrams(lexicon: Lexicon, phones: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the costs of phone ``b`` after phone ``a``: float64[phones + 1, phones + 1], 0 for a word's edge.

    Silence (phone 1) stands in no word: it is never followed and never follows.
    """
    label = {phone: i + 1 for i, phone in enumerate(phones)}
    counts = np.full((len(phones) + 1, len(phones) + 1), _SMOOTHING)
    for ways in lexicon.values():
        for way in ways:
            labels = [0, *(label[phone] for phone in way), 0]
            for a, b in pairwise(labels):
                counts[a, b] += 1
    counts[0, 0] = counts[1, :] = counts[:, 1] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        costs: NDArray[np.float64] = -np.log(counts / counts.sum(axis=1, keepdims=True))
    costs[1, :] = np.inf
    return costs


def grow_unknown(
    growth: Growth, entries: Mapping[int, int], bigrams: NDArray[np.float64], word: int, cost: float
) -> None:
    """Append the loop.

    Parameters
    ----------
    growth : Growth
    entries : mapping of left phone to back-off state
    bigrams : float64[phones + 1, phones + 1]
        From :func:`phone_bigrams`.
    word : int
        Its word id.
    cost : float
        Of entering it.
    """
    phones = [phone for phone in range(2, len(bigrams)) if math.isfinite(bigrams[phone, 0])]
    states: dict[tuple[int, int], int] = {}
    for phone in phones:
        for leaf in sorted({growth.leaf_of(left, phone) for left in (*entries, *phones)}):
            states[phone, leaf] = growth.looping(leaf)
    for left, entry in entries.items():
        for phone in phones:
            leaf = growth.leaf_of(left, phone)
            growth.add(entry, states[phone, leaf], 2 * leaf, word, cost + bigrams[0, phone])
    for (left, leaf), state in states.items():
        leaving = growth.leaving(leaf)
        for phone in phones:
            after = growth.leaf_of(left, phone)
            growth.add(state, states[phone, after], 2 * after, 0, leaving + bigrams[left, phone])
        growth.add(state, growth.exit(left), -1, 0, leaving + bigrams[left, 0])
