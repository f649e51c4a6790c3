"""The oracle: the fewest word errors of any path through a recording's lattices, one lattice behind the other.

It says how much of what was said the search kept at all, and so what rescoring could win at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.beam_search import BeamSearch, Hypothesis
from recognizer.evaluation.word_errors import normalised_words
from recognizer.lattice import Lattice
from recognizer.recogniser import Recogniser

_FAR = 1 << 40


class LatticeKeeper(Recogniser):
    """A recogniser that keeps the lattices of its final utterances, in the order in which they end.

    An utterance that was cut because it was too long leaves its whole lattice, and what lies behind the cut comes
    again in the next one: the oracle is then a little worse than it is.
    """

    lattices: list[Lattice]

    def finalise(self, hypothesis: Hypothesis, search: BeamSearch, scores: NDArray[np.float32]) -> Hypothesis:
        exact = super().finalise(hypothesis, search, scores)
        kept = getattr(exact, "lattice", None) or search.lattice(hypothesis.reached_final)
        if kept is not None and hypothesis.words:
            self.lattices.append(kept)
        return exact


def oracle_errors(lattices: Sequence[Lattice], words: Sequence[str], said: Sequence[str]) -> int:
    """Return the fewest substitutions, deletions and insertions of any path through all lattices in a row.

    Parameters
    ----------
    lattices : sequence of Lattice
        Of one recording's utterances.
    words : sequence of str
        The graph's word table.
    said : sequence of str
        Words as compared.
    """
    known = {word: row for row, word in reversed(list(enumerate(words)))}
    reference = np.array([known.get(word, -1) for word in said], np.int64)
    errors = np.arange(len(said) + 1, dtype=np.int64)
    for lattice in lattices:
        ends = np.isfinite(lattice.final_graph + lattice.final_acoustic)
        silent = _wordless(lattice, words)
        errors = _through(lattice.arcs, ends, silent, reference, errors)
    return int(errors[-1])


def _wordless(lattice: Lattice, words: Sequence[str]) -> NDArray[np.bool_]:
    """Which arcs carry what is no word when texts are compared: silence, noise."""
    kinds = {int(word): not normalised_words(words[int(word)]) for word in np.unique(lattice.arcs["word"])}
    return np.array([kinds[int(word)] for word in lattice.arcs["word"]], np.bool_)


@njit(cache=True)
def _through(
    arcs: Any,
    ends: NDArray[np.bool_],
    silent: NDArray[np.bool_],
    said: NDArray[np.int64],
    before: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Fewest errors per number of said words behind the lattice, given those before it."""
    nodes, words = len(ends), len(said)
    errors = np.full((nodes, words + 1), _FAR, np.int64)
    errors[0] = before
    a = 0
    for n in range(nodes):
        for j in range(1, words + 1):
            errors[n, j] = min(errors[n, j], errors[n, j - 1] + 1)
        while a < len(arcs) and arcs[a].source == n:
            to, cost = arcs[a].target, 0 if silent[a] else 1
            for j in range(words + 1):
                errors[to, j] = min(errors[to, j], errors[n, j] + cost)
                if j < words and not silent[a]:
                    wrong = 0 if arcs[a].word == said[j] else 1
                    errors[to, j + 1] = min(errors[to, j + 1], errors[n, j] + wrong)
            a += 1
    after = np.full(words + 1, _FAR, np.int64)
    for n in range(nodes):
        if ends[n]:
            after = np.minimum(after, errors[n])
    return after if after[words] < _FAR else before
