"""Paths through a word lattice: the n best word sequences, and the one nearest to what was really said (oracle)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.lattice import Lattice

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LatticePath:
    """One word sequence of a lattice: its arcs, word ids and cost."""

    arcs: tuple[int, ...]
    words: tuple[int, ...]
    cost: float


def n_best(lattice: Lattice, most: int) -> list[LatticePath]:
    """Return up to `most` different word sequences, the cheapest first."""
    if most < 1:
        raise ValueError("At least one path has to be asked for.")
    arc, parent, ends, costs = _best_first(
        lattice.arcs, lattice.first_arcs(), lattice.arc_costs(), lattice.final_costs(), most
    )
    found = []
    for end, cost in zip(ends.tolist(), costs.tolist(), strict=True):
        path = []
        while arc[end] >= 0:
            path.append(int(arc[end]))
            end = int(parent[end])
        path.reverse()
        found.append(LatticePath(tuple(path), tuple(int(w) for w in lattice.arcs["word"][path]), cost))
    return found


@njit(cache=True)
def _best_first(arcs: Any, first: Any, costs: Float64, finals: Float64, most: int) -> Any:
    """A* with the exact cost to the end: no step is in vain. Steps: arc (-1 none, -2 the end) and step before."""
    rest = finals.copy()
    for a in range(len(arcs) - 1, -1, -1):
        rest[arcs[a].source] = min(rest[arcs[a].source], costs[a] + rest[arcs[a].target])
    step_arc, step_parent, step_cost = [np.int64(-1)], [np.int64(-1)], [0.0]
    waiting = [(rest[0], np.int64(0), np.int64(0))]  # bound, step, node (-1: ended)
    ends, totals = np.empty(most, np.int64), np.empty(most)
    count = 0
    while len(waiting) > 0 and count < most:
        bound, step, node = heapq.heappop(waiting)
        if bound == np.inf:
            break
        if node < 0:
            ends[count], totals[count] = step, bound
            count += 1
            continue
        paid = step_cost[step]
        heapq.heappush(waiting, (paid + finals[node], step, np.int64(-1)))
        for a in range(first[node], first[node + 1]):
            cost = paid + costs[a]
            to = np.int64(arcs[a].target)
            step_arc.append(np.int64(a))
            step_parent.append(step)
            step_cost.append(cost)
            heapq.heappush(waiting, (cost + rest[to], np.int64(len(step_arc) - 1), to))
    return np.array(step_arc), np.array(step_parent), ends[:count], totals[:count]


def oracle_errors(lattice: Lattice, said: NDArray[np.int64]) -> int:
    """Return the least number of word errors of any path against the word ids `said` (-1: a word not known).

    Substitutions, insertions and deletions count 1 each; the number of words of `said` if no path ends.
    """
    reference = np.ascontiguousarray(said, np.int64)
    ends = np.isfinite(lattice.final_costs())
    if not ends.any():
        return len(reference)
    return int(_fewest_errors(lattice.arcs, ends, reference))


@njit(cache=True)
def _fewest_errors(arcs: Any, ends: NDArray[np.bool_], said: NDArray[np.int64]) -> Any:
    nodes, words = len(ends), len(said)
    far = np.int64(1) << 40
    errors = np.full((nodes, words + 1), far, np.int64)
    for j in range(words + 1):
        errors[0, j] = j
    a = 0
    for n in range(nodes):
        for j in range(1, words + 1):
            errors[n, j] = min(errors[n, j], errors[n, j - 1] + 1)
        while a < len(arcs) and arcs[a].source == n:
            to = arcs[a].target
            for j in range(words + 1):
                errors[to, j] = min(errors[to, j], errors[n, j] + 1)
                if j < words:
                    same = 0 if arcs[a].word == said[j] else 1
                    errors[to, j + 1] = min(errors[to, j + 1], errors[n, j] + same)
            a += 1
    best = far
    for n in range(nodes):
        if ends[n]:
            best = min(best, errors[n, words])
    return best
