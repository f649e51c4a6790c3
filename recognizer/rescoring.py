"""Rescoring a word lattice with a bigger language model.

The graph's costs mix language, pronunciations and transitions. As Kaldi's ``lattice-lmrescore`` does, the language
share is taken off by scoring every path with the n-gram model that the graph was built from, and the bigger model's
score is put in its place. Paths that meet in a lattice node but differ in what either model remembers of them get
nodes of their own (n-gram expansion), so every word sequence keeps exactly one path and its exact new cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.language.compact_model import EMPTY_STATE, CompactModel
from recognizer.language.compact_model import step as language_step
from recognizer.lattice import Lattice, sorted_lattice

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class RescoringSettings:
    """How much the bigger model has to say.

    Attributes
    ----------
    weight : float
        Of the bigger model against the graph's own: 0 changes nothing, 1 puts it in the other's place. On the
        development speakers 0.85 was best for what resembles the model's texts, 0.5 for what does not.
    most_nodes : int
        A lattice that would have more nodes after expansion stays as it was. Those of the development sentences
        had up to 780; the limit is there so that no sound can hold up the other legs of a worker.
    """

    weight: float = 0.7
    most_nodes: int = 50_000

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= 1 and math.isfinite(self.weight)):
            raise ValueError("The weight of the language model for rescoring must lie between zero and one.")
        if self.most_nodes < 1:
            raise ValueError("A rescored lattice must be allowed at least one node.")


class LatticeRescorer:
    """Rescores lattices of one graph; holds no state of its own, and may serve all legs.

    Parameters
    ----------
    graph_words : sequence of str
        The graph's word table.
    small : CompactModel
        The model that the graph was built from.
    big : CompactModel
    settings : RescoringSettings, optional
    """

    def __init__(
        self,
        graph_words: Sequence[str],
        small: CompactModel,
        big: CompactModel,
        settings: RescoringSettings | None = None,
    ) -> None:
        self.settings = settings or RescoringSettings()
        self._small, self._big = small, big
        self._small_number, self._big_number = _numbers(graph_words, small), _numbers(graph_words, big)
        # A word that one of them does not know (a site's own) keeps the graph's cost.
        unknown = (self._small_number == _UNKNOWN) | (self._big_number == _UNKNOWN)
        self._small_number[unknown] = self._big_number[unknown] = _UNKNOWN

    def rescore(self, lattice: Lattice, ends_sentence: bool, history: Sequence[int] | None = ()) -> Lattice:
        """Return `lattice` with the bigger model's costs.

        Parameters
        ----------
        lattice : Lattice
        ends_sentence : bool
            Whether its final costs contain that of the sentence's end (the search's ``reached_final``).
        history : sequence of int, optional
            Word ids of the sentence before the lattice begins; None: it goes on with a sentence that is not known.
        """
        states = [self._state(model, number, history) for model, number in self._models()]
        found = _expanded(
            lattice.arcs,
            lattice.first_arcs(),
            lattice.final_graph,
            lattice.final_acoustic,
            lattice.frames,
            states[0],
            states[1],
            self._small_number,
            self._big_number,
            *(_arrays(self._small)),
            *(_arrays(self._big)),
            self.settings.weight,
            ends_sentence,
            self.settings.most_nodes,
        )
        source, target, word, graph, acoustic, frames, final_graph, final_acoustic, complete = found
        if not complete:
            return lattice
        return sorted_lattice(
            source,
            target,
            word,
            graph,
            acoustic,
            frames,
            final_graph,
            final_acoustic,
            lattice.heard,
            lattice.beam,
        )

    def _models(self) -> tuple[tuple[CompactModel, Int32], tuple[CompactModel, Int32]]:
        return (self._small, self._small_number), (self._big, self._big_number)

    @staticmethod
    def _state(model: CompactModel, number: Int32, history: Sequence[int] | None) -> int:
        if history is None:
            return EMPTY_STATE
        state = model.start
        for word in history:
            known = int(number[word])
            state = EMPTY_STATE if known == _UNKNOWN else model.step(state, known)[0]
        return state


def _numbers(graph_words: Sequence[str], model: CompactModel) -> Int32:
    number = {word: i for i, word in enumerate(model.words)}
    return np.array([number.get(word, _UNKNOWN) for word in graph_words], np.int32)


def _arrays(model: CompactModel) -> tuple[Any, ...]:
    return model.word, model.first, model.suffix, model.log_probability, model.log_backoff


_SENTENCE_END = 2
_UNKNOWN = -1


@njit(cache=True)
def _more(array: Any) -> Any:
    grown = np.empty(2 * len(array), array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True)
def _expanded(
    arcs: Any,
    first: Any,
    final_graph: Float64,
    final_acoustic: Float64,
    frames: Int32,
    small_start: Any,
    big_start: Any,
    small_number: Int32,
    big_number: Int32,
    small_word: Any,
    small_first: Any,
    small_suffix: Any,
    small_probability: Any,
    small_backoff: Any,
    big_word: Any,
    big_first: Any,
    big_suffix: Any,
    big_probability: Any,
    big_backoff: Any,
    weight: float,
    ends_sentence: bool,
    most_nodes: int,
) -> Any:
    """Nodes of the result: a lattice node with a state of each model, chained per lattice node by `sibling`."""
    origin, small_state, big_state = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(256, np.int64)
    sibling = np.full(256, -1, np.int64)
    small_state[0], big_state[0] = small_start, big_start
    nodes = 1
    chain = np.full(len(final_graph), -1, np.int64)
    chain[0] = 0
    source, target, label = np.empty(512, np.int64), np.empty(512, np.int64), np.empty(512, np.int64)
    graph, acoustic = np.empty(512), np.empty(512)
    count = 0
    complete = True
    for n in range(len(final_graph)):
        here = chain[n]
        while here >= 0:
            for a in range(first[n], first[n + 1]):
                word = arcs[a].word
                small_to = big_to = np.int64(0)  # the empty state
                small_gain = big_gain = 0.0
                if small_number[word] != _UNKNOWN:
                    small_to, small_gain = language_step(
                        small_state[here],
                        small_number[word],
                        small_word,
                        small_first,
                        small_suffix,
                        small_probability,
                        small_backoff,
                    )
                    big_to, big_gain = language_step(
                        big_state[here],
                        big_number[word],
                        big_word,
                        big_first,
                        big_suffix,
                        big_probability,
                        big_backoff,
                    )
                to = np.int64(arcs[a].target)
                there = chain[to]
                while there >= 0 and (small_state[there] != small_to or big_state[there] != big_to):
                    there = sibling[there]
                if there < 0:
                    if nodes == most_nodes:
                        complete = False
                        break
                    if nodes == len(origin):
                        origin, sibling = _more(origin), _more(sibling)
                        small_state, big_state = _more(small_state), _more(big_state)
                    there = nodes
                    nodes += 1
                    origin[there], small_state[there], big_state[there] = to, small_to, big_to
                    sibling[there] = chain[to]
                    chain[to] = there
                if count == len(source):
                    source, target, label = _more(source), _more(target), _more(label)
                    graph, acoustic = _more(graph), _more(acoustic)
                source[count], target[count], label[count] = here, there, word
                graph[count] = arcs[a].graph + weight * (small_gain - big_gain)
                acoustic[count] = arcs[a].acoustic
                count += 1
            here = sibling[here]
    ending, ending_acoustic = np.empty(nodes), np.empty(nodes)
    moments = np.empty(nodes, np.int32)
    for m in range(nodes):
        n = origin[m]
        moments[m] = frames[n]
        ending[m], ending_acoustic[m] = final_graph[n], final_acoustic[n]
        if ends_sentence and final_graph[n] < np.inf:
            _, small_gain = language_step(
                small_state[m],
                _SENTENCE_END,
                small_word,
                small_first,
                small_suffix,
                small_probability,
                small_backoff,
            )
            _, big_gain = language_step(
                big_state[m], _SENTENCE_END, big_word, big_first, big_suffix, big_probability, big_backoff
            )
            ending[m] += weight * (small_gain - big_gain)
    return (
        source[:count],
        target[:count],
        label[:count],
        graph[:count],
        acoustic[:count],
        moments,
        ending,
        ending_acoustic,
        complete,
    )
