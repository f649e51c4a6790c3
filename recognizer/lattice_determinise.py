"""From the search's state-level lattice to a word lattice in which every word sequence has one path.

The same words may be said at slightly different times and over different states of the graph; their copies would
fill a lattice. As in Kaldi's ``DeterminizeLatticePruned`` (Povey et al., ICASSP 2012) a node of the result is a
*subset*: the moments at which the words so far may have come to their end, each with its cost above the cheapest
one. Subsets are made in topological order, so the cost into a subset is known before it is expanded, and whatever
would lead beyond the lattice beam is never made.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.lattice import Lattice, sorted_lattice

_SAME_COST = 1.0 / 1024.0
"""Subsets whose costs differ by less are one."""
_SLACK = 1e-3
"""The beam is checked against sums of float32 costs, which do not come out alike to the last digit."""

Float64 = NDArray[np.float64]


def determinise(
    layer: NDArray[np.int32],
    arcs: NDArray[np.void],
    ending: Float64,
    origin: float,
    beam: float,
    entries: int,
    heard: int,
) -> Lattice:
    """Return the word lattice of a state-level one.

    Parameters
    ----------
    layer : int32[nodes]
        Frames consumed before each node; nodes in topological order, paths begin in node 0.
    arcs : STATE_ARC[arcs]
        In the order of their sources; word 0 is none.
    ending : float64[nodes]
        Cost of ending, ``inf`` where no path ends.
    origin : float
        Cost that every path begins with.
    beam : float
        Paths that are worse than the best one by more are left out.
    entries : int
        Most moments per subset; the most promising are kept.
    heard : int
        Frames of the utterance.
    """
    first = np.searchsorted(arcs["source"], np.arange(len(layer) + 1))
    source, target, word, graph, acoustic, entry, final_graph, final_acoustic = _subsets(
        arcs, first, ending, beam + _SLACK, entries
    )
    # What every path begins with is paid on the way out of node 0.
    graph = graph + np.where(source == 0, origin, 0.0)
    final_graph[0] += origin
    return sorted_lattice(
        source, target, word, graph, acoustic, layer[entry], final_graph, final_acoustic, heard, beam
    )


@njit(cache=True)
def _least_to_end(arcs: Any, first: Any, ending: Float64) -> Float64:
    rest = ending.copy()
    for n in range(len(ending) - 1, -1, -1):
        for a in range(first[n], first[n + 1]):
            rest[n] = min(rest[n], arcs[a].graph + arcs[a].acoustic + rest[arcs[a].target])
    return rest


@njit(cache=True)
def _more(array: Any) -> Any:
    grown = np.empty(2 * len(array), array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True)
def _subsets(arcs: Any, first: Any, ending: Float64, beam: float, most: Any) -> Any:
    nodes = len(ending)
    rest = _least_to_end(arcs, first, ending)
    limit = rest[0] + beam

    # Subset s holds entries begin[s] .. begin[s] + size[s]: node, graph and acoustic cost above the cheapest entry.
    begin, size = np.zeros(256, np.int64), np.zeros(256, np.int64)
    cost, leader = np.full(256, np.inf), np.zeros(256, np.int64)
    final_graph, final_acoustic = np.full(256, np.inf), np.zeros(256)
    entry_node, entry_graph, entry_acoustic = np.zeros(1024, np.int64), np.zeros(1024), np.zeros(1024)
    subsets, entry_end = 1, 1
    size[0], cost[0] = 1, 0.0
    table = np.full(1024, -1, np.int64)

    arc_source, arc_target, arc_word = (
        np.empty(1024, np.int64),
        np.empty(1024, np.int64),
        np.empty(1024, np.int64),
    )
    arc_graph, arc_acoustic = np.empty(1024), np.empty(1024)
    arc_count = 0

    # Costs within the subset that is being expanded; a node's are valid if its stamp is the subset.
    stamp = np.full(nodes, -1, np.int64)
    here_graph, here_acoustic = np.zeros(nodes), np.zeros(nodes)
    found_word, found_node = np.empty(256, np.int64), np.empty(256, np.int64)
    found_graph, found_acoustic = np.empty(256), np.empty(256)

    waiting = [(np.int64(0), np.int64(0))]
    while len(waiting) > 0:
        _, s = heapq.heappop(waiting)
        paid = cost[s]
        high = np.int64(-1)
        low = np.int64(nodes)
        for e in range(begin[s], begin[s] + size[s]):
            n = entry_node[e]
            stamp[n] = s
            here_graph[n], here_acoustic[n] = entry_graph[e], entry_acoustic[e]
            high, low = max(high, n), min(low, n)
        found = 0
        least_final = np.inf
        n = low
        while n <= high:
            if stamp[n] != s:
                n += 1
                continue
            own = here_graph[n] + here_acoustic[n]
            if paid + own + rest[n] <= limit:
                if own + ending[n] < least_final:
                    least_final = own + ending[n]
                    final_graph[s], final_acoustic[s] = here_graph[n] + ending[n], here_acoustic[n]
                for a in range(first[n], first[n + 1]):
                    to = np.int64(arcs[a].target)
                    g, c = here_graph[n] + arcs[a].graph, here_acoustic[n] + arcs[a].acoustic
                    if paid + g + c + rest[to] > limit:
                        continue
                    if arcs[a].word == 0:
                        if stamp[to] != s or g + c < here_graph[to] + here_acoustic[to]:
                            stamp[to] = s
                            here_graph[to], here_acoustic[to] = g, c
                            high = max(high, to)
                    else:
                        if found == len(found_word):
                            found_word, found_node = _more(found_word), _more(found_node)
                            found_graph, found_acoustic = _more(found_graph), _more(found_acoustic)
                        found_word[found], found_node[found] = arcs[a].word, to
                        found_graph[found], found_acoustic[found] = g, c
                        found += 1
            n += 1

        by_word = np.argsort(found_word[:found] * nodes + found_node[:found], kind="mergesort")
        p = 0
        while p < found:
            word = found_word[by_word[p]]
            # One entry per node, the cheapest; `leader` is the one with the cheapest way to the end.
            old_end = entry_end
            least, best_rest, lead = np.inf, np.inf, np.int64(0)
            low_graph, low_acoustic = 0.0, 0.0
            while p < found and found_word[by_word[p]] == word:
                f = by_word[p]
                p += 1
                node, total = found_node[f], found_graph[f] + found_acoustic[f]
                if entry_end > old_end and entry_node[entry_end - 1] == node:
                    if total >= entry_graph[entry_end - 1] + entry_acoustic[entry_end - 1]:
                        continue
                    entry_end -= 1
                if entry_end == len(entry_node):
                    entry_node = _more(entry_node)
                    entry_graph, entry_acoustic = _more(entry_graph), _more(entry_acoustic)
                entry_node[entry_end] = node
                entry_graph[entry_end], entry_acoustic[entry_end] = found_graph[f], found_acoustic[f]
                entry_end += 1
            count = entry_end - old_end
            if count > most:
                worth = np.empty(count)
                for e in range(count):
                    worth[e] = (
                        entry_graph[old_end + e] + entry_acoustic[old_end + e] + rest[entry_node[old_end + e]]
                    )
                kept = np.sort(np.argsort(worth, kind="mergesort")[:most])
                for k in range(most):
                    entry_node[old_end + k] = entry_node[old_end + kept[k]]
                    entry_graph[old_end + k] = entry_graph[old_end + kept[k]]
                    entry_acoustic[old_end + k] = entry_acoustic[old_end + kept[k]]
                count, entry_end = most, old_end + most
            for e in range(old_end, entry_end):
                total = entry_graph[e] + entry_acoustic[e]
                if total < least:
                    least, low_graph, low_acoustic = total, entry_graph[e], entry_acoustic[e]
                if total + rest[entry_node[e]] < best_rest:
                    best_rest, lead = total + rest[entry_node[e]], entry_node[e]
            key = np.int64(count)
            for e in range(old_end, entry_end):
                entry_graph[e] -= low_graph
                entry_acoustic[e] -= low_acoustic
                key = (key * 1000003) ^ entry_node[e]

            # The same subset may have been made before.
            mask = len(table) - 1
            place = ((key * 2654435761) >> 11) & mask
            same = np.int64(-1)
            while table[place] >= 0:
                other = table[place]
                if size[other] == count:
                    equal = True
                    for e in range(count):
                        mine, theirs = old_end + e, begin[other] + e
                        if (
                            entry_node[mine] != entry_node[theirs]
                            or abs(
                                entry_graph[mine]
                                + entry_acoustic[mine]
                                - entry_graph[theirs]
                                - entry_acoustic[theirs]
                            )
                            > _SAME_COST
                        ):
                            equal = False
                            break
                    if equal:
                        same = other
                        break
                place = (place + 1) & mask
            if same < 0:
                if subsets == len(begin):
                    begin, size, cost, leader = _more(begin), _more(size), _more(cost), _more(leader)
                    final_graph, final_acoustic = _more(final_graph), _more(final_acoustic)
                    cost[subsets:] = np.inf
                    final_graph[subsets:] = np.inf
                    final_acoustic[subsets:] = 0.0
                same = np.int64(subsets)
                begin[same], size[same], leader[same] = old_end, count, lead
                subsets += 1
                table[place] = same
                if 2 * subsets > len(table):
                    table = _entered_again(2 * len(table), subsets, begin, size, entry_node)
                heapq.heappush(waiting, (entry_node[old_end], same))
            else:
                entry_end = old_end
            cost[same] = min(cost[same], paid + least)
            if arc_count == len(arc_source):
                arc_source, arc_target, arc_word = _more(arc_source), _more(arc_target), _more(arc_word)
                arc_graph, arc_acoustic = _more(arc_graph), _more(arc_acoustic)
            arc_source[arc_count], arc_target[arc_count], arc_word[arc_count] = s, same, word
            arc_graph[arc_count], arc_acoustic[arc_count] = low_graph, low_acoustic
            arc_count += 1
    return (
        arc_source[:arc_count],
        arc_target[:arc_count],
        arc_word[:arc_count],
        arc_graph[:arc_count],
        arc_acoustic[:arc_count],
        leader[:subsets],
        final_graph[:subsets],
        final_acoustic[:subsets],
    )


@njit(cache=True)
def _entered_again(length: int, subsets: int, begin: Any, size: Any, entry_node: Any) -> Any:
    table = np.full(length, -1, np.int64)
    for s in range(1, subsets):
        key = np.int64(size[s])
        for e in range(begin[s], begin[s] + size[s]):
            key = (key * 1000003) ^ entry_node[e]
        place = ((key * 2654435761) >> 11) & (length - 1)
        while table[place] >= 0:
            place = (place + 1) & (length - 1)
        table[place] = s
    return table
