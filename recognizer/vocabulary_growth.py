"""What is appended to a finished recognition graph: states and arcs, and the arrays that come of both."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from recognizer.grammar_fst import SILENCE_PROBABILITY
from recognizer.graph import ARC, STATE, Graph
from recognizer.hmm_topology import NO_PHONE, HmmTopology

PAUSE = -math.log(SILENCE_PROBABILITY)
NO_PAUSE = -math.log1p(-SILENCE_PROBABILITY)
_SILENCE = 1


class Growth:
    """States and arcs to append to a graph. States are numbered from `first`; arcs may leave older states too."""

    def __init__(self, first: int, topology: HmmTopology, entries: Mapping[int, int]) -> None:
        self.states = first
        self.arcs: list[tuple[int, int, int, int, float]] = []
        """Source, target, pdf, word, weight."""
        self._leaves = topology.leaf.astype(np.int64)
        self._stay = (-np.log(topology.self_loop.astype(np.float64))).tolist()
        self._leave = (-np.log1p(-topology.self_loop.astype(np.float64))).tolist()
        self._entries = entries
        self._exits: dict[int, int] = {}

    def leaf_of(self, left: int, phone: int) -> int:
        """Return the leaf of `phone` behind `left`."""
        return int(self._leaves[left, phone])

    def leaving(self, leaf: int) -> float:
        """Return what it costs to go on from a state that waits in `leaf`."""
        return float(self._leave[leaf])

    def add(self, source: int, target: int, pdf: int, word: int, weight: float) -> None:
        """Append an arc."""
        self.arcs.append((source, target, pdf, word, weight))

    def new_state(self) -> int:
        """Append a state."""
        self.states += 1
        return self.states - 1

    def looping(self, leaf: int) -> int:
        """Append a state that hears any number of further frames of `leaf`."""
        state = self.new_state()
        self.arcs.append((state, state, 2 * leaf + 1, 0, self._stay[leaf]))
        return state

    def silence(self, source: int, left: int) -> tuple[int, int, float]:
        """Append a pause behind `source`; return its state, its phone, and what it costs to leave it."""
        leaf = int(self._leaves[left, _SILENCE])
        state = self.looping(leaf)
        self.arcs.append((source, state, 2 * leaf, 0, PAUSE))
        return state, _SILENCE, self._leave[leaf]

    def exit(self, phone: int) -> int:
        """Return the state behind a new word that ends in `phone`: it leads, with or without pause, to the back-off."""
        if phone not in self._exits:
            self._exits[phone] = state = self.new_state()
            entry = self._entries.get(phone, self._likest(phone))
            self.arcs.append((state, entry, -1, 0, NO_PAUSE))
            if _SILENCE in self._entries:
                paused, _, leaving = self.silence(state, phone)
                self.arcs.append((paused, self._entries[_SILENCE], -1, 0, leaving))
        return self._exits[phone]

    def _likest(self, phone: int) -> int:
        """Back-off state of the phone that sounds most like `phone` to its right neighbours: none ends so in L."""
        lefts = [left for left in self._entries if left != NO_PHONE]
        alike = [int((self._leaves[left, 1:] == self._leaves[phone, 1:]).sum()) for left in lefts]
        return self._entries[lefts[int(np.argmax(alike))]]


def merged(graph: Graph, growth: Growth, words: tuple[str, ...]) -> Graph:
    """One pair of arrays: further arcs of old states stand behind their others, new states behind the old ones."""
    base = graph.state_count
    columns = np.array(growth.arcs, np.float64).reshape(len(growth.arcs), 5)
    source = columns[:, 0].astype(np.int64)
    order = np.lexsort((columns[:, 2], source))
    columns, source = columns[order], source[order]
    arcs = np.zeros(len(order), ARC)
    arcs["next"], arcs["pdf"], arcs["word"], arcs["weight"] = (
        columns[:, 1], columns[:, 2], columns[:, 3], columns[:, 4],
    )  # fmt: skip
    further = int(np.searchsorted(source, base))
    at = graph.states["first"][source[:further] + 1]
    added = np.bincount(source, minlength=growth.states)
    epsilons = np.bincount(source[columns[:, 2] < 0], minlength=growth.states)
    states = np.zeros(growth.states + 1, STATE)
    states["final"] = np.inf
    states["final"][:base] = graph.states["final"][:base]
    moved = np.concatenate([[0], np.cumsum(added)])
    states["first"][: base + 1] = graph.states["first"] + moved[: base + 1]
    states["first"][base:] = len(graph.arcs) + moved[base:]
    states["emitting"][:base] = graph.states["emitting"][:base] + moved[:base]
    states["emitting"][base:-1] = states["first"][base:-1] + epsilons[base:]
    states["emitting"][-1] = states["first"][-1]
    whole = np.concatenate([np.insert(graph.arcs, at, arcs[:further]), arcs[further:]])
    return Graph(states, whole, graph.start, graph.pdfs, graph.silence_pdfs, words)
