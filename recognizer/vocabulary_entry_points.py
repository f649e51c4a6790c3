"""Where words can be put into a finished recognition graph: its back-off states, one per left phone.

In G every history backs off, in the end, to one state without history. In HCLG that state appears once per left
phone (the model's leaves depend on it): states that nothing but arcs without labels leads into, from which no such
arc leads on (there is nothing to back off to), and in which a sentence may end. Kaldi's ``grammar-fst`` marks such
places with ``#nonterm`` labels while the graph is built; here they are found in any graph made by
:mod:`recognizer.graph_build`, by these three properties and a check of the leaves behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.graph import Graph, GraphError
from recognizer.hmm_topology import NO_PHONE, HmmTopology

Int64 = NDArray[np.int64]

_EPSILON_FROM = 1
_FRAME_FROM = 2
_MOST_PATHS = 4096


def back_off_states(graph: Graph, topology: HmmTopology) -> dict[int, int]:
    """Return the back-off state by left phone (0: the sentence's beginning); phones that end no word are missing.

    Raises
    ------
    GraphError
        If the graph was not made as :mod:`recognizer.graph_build` does.
    """
    phones_of_leaf = np.zeros(topology.leaves, np.int64)
    for phone in range(1, len(topology.phones) + 1):
        for leaf in set(topology.leaf[:, phone].tolist()):
            phones_of_leaf[leaf] |= np.int64(1) << phone
    entered = _ways_in(graph.states, graph.arcs)
    states = graph.states[:-1]
    ends = np.isfinite(states["final"]) & (states["emitting"] == states["first"])
    candidates = np.flatnonzero(ends & (entered == _EPSILON_FROM) & (graph.states["first"][1:] > states["first"]))
    lefts = _left_phones(graph.states, graph.arcs, graph.start, phones_of_leaf)
    found: dict[int, int] = {}
    for state in candidates.tolist():
        for phone in range(len(topology.phones) + 1):
            if not lefts[state] >> phone & 1:
                continue
            if phone in found:
                raise GraphError(
                    "The recognition graph has no clear place for further words: two back-off states."
                )
            _check_leaves(graph, state, topology.leaf[phone, 1:])
            found[phone] = state
    if not found.keys() - {NO_PHONE}:
        raise GraphError("The recognition graph has no place for further words: no back-off state was found.")
    return found


def _check_leaves(graph: Graph, state: int, leaves: NDArray[np.int16]) -> None:
    arcs = graph.arcs[graph.states["emitting"][state] : graph.states["first"][state + 1]]
    if not np.isin(arcs["pdf"], 2 * leaves.astype(np.int64)).all():
        raise GraphError("The recognition graph and the table of leaves do not belong together.")


@njit(cache=True)
def _ways_in(states: NDArray[np.void], arcs: NDArray[np.void]) -> NDArray[np.uint8]:
    """Per state: whether arcs without input lead into it (1), arcs with input (2), both (3)."""
    ways = np.zeros(len(states) - 1, np.uint8)
    for a in range(len(arcs)):
        ways[arcs[a].next] |= 1 if arcs[a].pdf < 0 else 2
    return ways


@njit(cache=True)
def _left_phones(
    states: NDArray[np.void], arcs: NDArray[np.void], start: int, phones_of_leaf: Int64
) -> NDArray[np.int64]:
    """Per state a bit for each phone that may have been heard last on a path into it."""
    lefts = np.zeros(len(states) - 1, np.int64)
    lefts[start] = 1
    for a in range(len(arcs)):
        if arcs[a].pdf >= 0:
            lefts[arcs[a].next] |= phones_of_leaf[arcs[a].pdf // 2]
    changed = True
    while changed:
        changed = False
        for s in range(len(states) - 1):
            if lefts[s] == 0:
                continue
            for a in range(states[s].first, states[s].emitting):
                target = arcs[a].next
                if lefts[target] | lefts[s] != lefts[target]:
                    lefts[target] |= lefts[s]
                    changed = True
    return lefts


@dataclass(frozen=True)
class KnownPath:
    """Where the graph stands after some of its own words, said from a back-off state.

    Attributes
    ----------
    cost : float
        Of the language model: what the path costs without durations and pauses.
    state : int
        Where a path goes on. If `by_frame`, an arc with the last phone's first frame leads into it, and it waits
        there for the phone's other frames; otherwise the path is there when the last phone is over.
    by_frame : bool
    """

    cost: float
    state: int
    by_frame: bool


class KnownPaths:
    """Finds the paths of word sequences in a graph. What it is asked for is cheap: a walk of some hundred arcs."""

    def __init__(self, graph: Graph, topology: HmmTopology, entries: Mapping[int, int]) -> None:
        self._graph, self._topology = graph, topology
        left = 1 if 1 in entries else min(entries.keys() - {NO_PHONE})
        self._left, self._entry = left, entries[left]
        self._leave = -np.log1p(-topology.self_loop.astype(np.float64))

    def path(self, words: Sequence[int], spoken: Sequence[tuple[int, ...]]) -> KnownPath | None:
        """Return the cheapest path of `words` pronounced as `spoken` (phone labels) without pauses, None without."""
        phones = [phone for one in spoken for phone in one]
        lefts = [self._left, *phones[:-1]]
        leaves = np.array([self._topology.leaf[a, b] for a, b in zip(lefts, phones, strict=True)], np.int64)
        wanted = np.array(words, np.int64)
        cost, state, said = _walk(self._graph.states, self._graph.arcs, self._entry, leaves, wanted)
        if state < 0:
            return None
        gaps = float(self._leave[leaves[:-1]].sum()) + (len(words) - 1) * np.log(2.0)
        if said == len(words):
            return KnownPath(cost - gaps, state, True)
        return KnownPath(cost - gaps - float(self._leave[leaves[-1]]), state, False)


@njit(cache=True)
def _walk(
    states: NDArray[np.void], arcs: NDArray[np.void], entry: int, leaves: Int64, words: Int64
) -> tuple[float, int, int]:
    """Follow one phone string, one frame per phone; return cost, state, and words said before the last phone's end.

    A word may be told only while or right after its phones; one that is told after the last phone's arc is found
    behind at most two arcs without input.
    """
    most = _MOST_PATHS
    state, said, cost = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float64)
    after_state, after_said, after_cost = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.float64),
    )
    state[0], said[0], cost[0], count = entry, 0, 0.0, 1
    for k in range(len(leaves) + 1):
        i = 0
        last = k == len(leaves)
        if last:
            best, best_state = np.inf, -1
            for j in range(count):
                if said[j] == len(words) and cost[j] < best:
                    best, best_state = cost[j], state[j]
            if best_state >= 0:
                return best, best_state, len(words)
        while i < count:
            for a in range(states[state[i]].first, states[state[i]].emitting):
                word, told = arcs[a].word, said[i]
                if word != 0:
                    if told == len(words) or words[told] != word:
                        continue
                    told += 1
                if count < most:
                    state[count], said[count], cost[count] = arcs[a].next, told, cost[i] + arcs[a].weight
                    count += 1
            i += 1
        if last:
            break
        made = 0
        for i in range(count):
            for a in range(states[state[i]].emitting, states[state[i] + 1].first):
                if arcs[a].pdf != 2 * leaves[k] or arcs[a].next == state[i]:
                    continue
                word, told = arcs[a].word, said[i]
                if word != 0:
                    if told == len(words) or words[told] != word:
                        continue
                    told += 1
                if made < most:
                    after_state[made], after_said[made] = arcs[a].next, told
                    after_cost[made] = cost[i] + arcs[a].weight
                    made += 1
        state, after_state = after_state, state
        said, after_said = after_said, said
        cost, after_cost = after_cost, cost
        count = made
    best, best_state = np.inf, -1
    for j in range(count):
        if said[j] == len(words) and cost[j] < best:
            best, best_state = cost[j], state[j]
    return best, best_state, len(words) - 1
