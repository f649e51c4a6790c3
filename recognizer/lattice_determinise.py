"""From the search's state-level lattice to a word lattice in which every word sequence has one path.

The same words may be said at slightly different times and over different states of the graph; their copies would
fill a lattice. As in Kaldi's ``DeterminizeLatticePruned`` (Povey et al., ICASSP 2012) a node of the result is a
*subset*: the moments at which the words so far may have come to their end, each with its cost above the cheapest
one. Subsets are made in topological order, so the cost into a subset is known before it is expanded, and whatever
would lead beyond the lattice beam is never made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.lattice import Lattice, sorted_lattice

_SAME_COST = 1.0 / 1024.0
"""Subsets whose costs differ by less are one."""
_SLACK = 1e-3
"""The beam is checked against sums of float32 costs, which do not come out alike to the last digit."""
_MOST_ROOM = 1 << 18

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


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
    room = 1024
    while True:
        # The loops must not exchange arrays (see token_passing); where room gets short they begin again with more.
        found = _subsets(arcs, first, ending, beam + _SLACK, entries, room)
        if found[-1]:
            break
        if room >= _MOST_ROOM and entries > 1:
            entries = 1  # never more subsets than nodes
        else:
            room *= 4
    source, target, word, graph, acoustic, entry, final_graph, final_acoustic, _ = found
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
def _order(keys: Int64, order: Int64, count: int) -> None:
    """Fill `order` with the places of the first `count` keys, smallest key first; equal keys stay in order."""
    if count > 96:
        order[:count] = np.argsort(keys[:count], kind="mergesort")
        return
    for i in range(count):
        at = i
        while at > 0 and keys[order[at - 1]] > keys[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i


@njit(cache=True)
def _subsets(arcs: Any, first: Any, ending: Float64, beam: float, most: Any, room: Any) -> Any:
    """Make the subsets. The last of what is returned tells whether `room` subsets, 8 entries each, were enough."""
    nodes = len(ending)
    rest = _least_to_end(arcs, first, ending)
    limit = rest[0] + beam
    most_entries, most_arcs, most_found = 8 * room, 8 * room, 8 * room

    # Subset s holds entries begin[s] .. begin[s] + size[s]: node, graph and acoustic cost above the cheapest entry.
    begin, size = np.zeros(room, np.int64), np.zeros(room, np.int64)
    cost, leader = np.full(room, np.inf), np.zeros(room, np.int64)
    final_graph, final_acoustic = np.full(room, np.inf), np.zeros(room)
    entry_node, entry_graph, entry_acoustic = (
        np.zeros(most_entries, np.int64),
        np.zeros(most_entries),
        np.zeros(most_entries),
    )
    subsets, entry_end = 1, 1
    size[0], cost[0] = 1, 0.0
    table = np.full(4 * room, -1, np.int64)
    mask = len(table) - 1
    # A subset's words end later than its earliest entry, so going by earliest entries is a topological order.
    earliest, next_of_same = np.full(nodes, -1, np.int64), np.full(room, -1, np.int64)
    earliest[0] = 0

    arc_source, arc_target, arc_word = (
        np.empty(most_arcs, np.int64),
        np.empty(most_arcs, np.int64),
        np.empty(most_arcs, np.int64),
    )
    arc_graph, arc_acoustic = np.empty(most_arcs), np.empty(most_arcs)
    arc_count = 0

    # Costs within the subset that is being expanded; a node's are valid if its stamp is the subset.
    stamp = np.full(nodes, -1, np.int64)
    here_graph, here_acoustic = np.zeros(nodes), np.zeros(nodes)
    found_key, by_key = np.empty(most_found, np.int64), np.empty(most_found, np.int64)
    found_graph, found_acoustic = np.empty(most_found), np.empty(most_found)
    complete = True

    for turn in range(nodes):
        s = earliest[turn]
        while s >= 0 and complete:
            paid = cost[s]
            high, low = np.int64(-1), np.int64(nodes)
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
                            if found == most_found:
                                complete = False
                                break
                            found_key[found] = np.int64(arcs[a].word) * nodes + to
                            found_graph[found], found_acoustic[found] = g, c
                            found += 1
                n += 1

            _order(found_key, by_key, found)
            p = 0
            while p < found:
                if subsets == room or entry_end + found > most_entries or arc_count == most_arcs:
                    complete = False
                    break
                word = found_key[by_key[p]] // nodes
                # One entry per node, the cheapest.
                old_end = entry_end
                while p < found and found_key[by_key[p]] // nodes == word:
                    f = by_key[p]
                    p += 1
                    node, total = found_key[f] - word * nodes, found_graph[f] + found_acoustic[f]
                    if entry_end > old_end and entry_node[entry_end - 1] == node:
                        if total >= entry_graph[entry_end - 1] + entry_acoustic[entry_end - 1]:
                            continue
                        entry_end -= 1
                    entry_node[entry_end] = node
                    entry_graph[entry_end], entry_acoustic[entry_end] = found_graph[f], found_acoustic[f]
                    entry_end += 1
                if entry_end - old_end > most:
                    entry_end = _most_promising(
                        entry_node, entry_graph, entry_acoustic, rest, old_end, entry_end, most
                    )
                count = entry_end - old_end
                # `lead` has the cheapest way to the end.
                least, best_rest, lead = np.inf, np.inf, np.int64(0)
                low_graph, low_acoustic = 0.0, 0.0
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
                place = ((key * 2654435761) >> 11) & mask
                same = np.int64(-1)
                while table[place] >= 0 and same < 0:
                    other = table[place]
                    equal = size[other] == count
                    for e in range(count):
                        if not equal:
                            break
                        mine, theirs = old_end + e, begin[other] + e
                        difference = (entry_graph[mine] + entry_acoustic[mine]) - (
                            entry_graph[theirs] + entry_acoustic[theirs]
                        )
                        equal = entry_node[mine] == entry_node[theirs] and abs(difference) <= _SAME_COST
                    if equal:
                        same = other
                    place = (place + 1) & mask
                if same < 0:
                    same = np.int64(subsets)
                    begin[same], size[same], leader[same] = old_end, count, lead
                    subsets += 1
                    table[place] = same
                    next_of_same[same] = earliest[entry_node[old_end]]
                    earliest[entry_node[old_end]] = same
                else:
                    entry_end = old_end
                cost[same] = min(cost[same], paid + least)
                arc_source[arc_count], arc_target[arc_count], arc_word[arc_count] = s, same, word
                arc_graph[arc_count], arc_acoustic[arc_count] = low_graph, low_acoustic
                arc_count += 1
            s = next_of_same[s]
        if not complete:
            break
    return (
        arc_source[:arc_count],
        arc_target[:arc_count],
        arc_word[:arc_count],
        arc_graph[:arc_count],
        arc_acoustic[:arc_count],
        leader[:subsets],
        final_graph[:subsets],
        final_acoustic[:subsets],
        complete,
    )


@njit(cache=True)
def _most_promising(
    node: Int64, graph: Float64, acoustic: Float64, rest: Float64, begin: Any, end: Any, most: Any
) -> Any:
    """Keep the `most` entries from `begin` to `end` with the cheapest ways to the end, in order; return their end."""
    worth = np.empty(end - begin)
    for e in range(begin, end):
        worth[e - begin] = graph[e] + acoustic[e] + rest[node[e]]
    kept = np.sort(np.argsort(worth, kind="mergesort")[:most])
    for k in range(most):
        e = begin + kept[k]
        node[begin + k], graph[begin + k], acoustic[begin + k] = node[e], graph[e], acoustic[e]
    return begin + most
