"""A second look at utterances of which the first pass is not sure.

The scores of the utterance are kept until its end, so it can be searched again with a wider beam, and its lattice
can be rescored with a bigger language model. Both cost time; so only what is unsure is looked at again, and how often
that is, is a metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recognizer.beam_search import BeamSearch, Hypothesis, HypothesisWord, SearchScratch
from recognizer.lattice import Lattice
from recognizer.rescoring import LatticeRescorer


@dataclass(frozen=True)
class SecondPassSettings:
    """When an utterance is looked at again, and how.

    Attributes
    ----------
    below_confidence : float
        Utterances whose words' mean confidence is below it; 0: none, 1: all. On the development speakers 0.9 gains all
        that 1 does.
    beam, lattice_beam, max_active
        Of the second search. A beam that is not wider than the first one's: there is none, and the lattice of the
        first search is rescored. On the development speakers 15 instead of 12 saved less than 0.1 % of the words.
    """

    below_confidence: float = 0.9
    beam: float = 12.0
    lattice_beam: float = 6.0
    max_active: int = 20_000

    def __post_init__(self) -> None:
        if not 0 <= self.below_confidence <= 1:
            raise ValueError("The confidence below which an utterance gets a second pass must lie in 0 to 1.")
        if not (0 < self.lattice_beam <= self.beam and math.isfinite(self.beam)) or self.max_active < 1:
            raise ValueError("The second pass needs positive beams, the lattice beam not above the beam.")

    def wanted(self, hypothesis: Hypothesis) -> bool:
        """Whether `hypothesis`, with confidences, is so unsure that it gets a second pass."""
        if not hypothesis.words or self.below_confidence == 0:
            return False
        mean = sum(word.confidence for word in hypothesis.words) / len(hypothesis.words)
        return mean < self.below_confidence or self.below_confidence == 1


def second_pass(
    first: Hypothesis,
    search: BeamSearch,
    lattice: Lattice | None,
    scores: NDArray[np.float32],
    settings: SecondPassSettings,
    scratch: SearchScratch,
    rescorer: LatticeRescorer | None,
) -> tuple[Hypothesis, Lattice | None]:
    """Return the hypothesis and the lattice of the second pass; those of the first where it finds nothing.

    Parameters
    ----------
    first : Hypothesis
    search : BeamSearch
        That found it.
    lattice : Lattice, optional
        Of `search`.
    scores : float32[frames, pdfs]
        What it heard, or the beginning of it that `first` covers.
    settings : SecondPassSettings
    scratch : SearchScratch
    rescorer : LatticeRescorer, optional
        Without one only the beam is wider.
    """
    found = first
    if settings.beam > search.settings.beam:
        wider = replace(
            search.settings,
            beam=settings.beam,
            lattice_beam=settings.lattice_beam,
            max_active=settings.max_active,
        )
        again = BeamSearch(search.graph, wider, scratch, search.start)
        again.advance(scores)
        better = again.finish() if first.reached_final else again.partial()
        if better.words and better.reached_final == first.reached_final:
            found, lattice = replace(better, frames=first.frames), again.lattice(better.reached_final)
    if rescorer is None or lattice is None:
        return found, lattice
    history = () if search.start == search.graph.start else None
    rescored = rescorer.rescore(lattice, found.reached_final, history)
    path, cost = rescored.best_path()
    if not len(path):
        return found, lattice
    moments = rescored.frames[rescored.arcs["target"][path]].tolist()
    spans = [max(0, moment - 1) for moment in moments] + [first.frames]
    ids = rescored.words_of(path)
    words = tuple(
        HypothesisWord(search.graph.words[word], spans[i], max(spans[i] + 1, spans[i + 1]))
        for i, word in enumerate(ids)
    )
    return replace(found, words=words, word_ids=ids, cost=cost), rescored
