"""Posteriors over a word lattice by forward-backward, in float64 and in the log domain.

`scale` multiplies all costs first. Frames are not independent as the search's costs pretend, so that unscaled
posteriors are far too sure of themselves; the confidence works with half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.lattice import Lattice

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Posteriors:
    """What forward-backward found.

    Attributes
    ----------
    forward, backward : float64[nodes]
        Log of the summed weights of all ways from node 0 into a node, and from it to an end.
    arcs : float64[arcs]
        Probability that the path said takes the arc.
    log_total : float
        Log of all paths' summed weights; ``-inf`` if no path ends.
    """

    forward: Float64
    backward: Float64
    arcs: Float64
    log_total: float


def posteriors(lattice: Lattice, scale: float = 1.0) -> Posteriors:
    """Return the posteriors of `lattice`'s arcs."""
    costs, finals = lattice.arc_costs(scale), lattice.final_costs(scale)
    forward = _forward(lattice.arcs, costs, lattice.nodes, np.ones(len(costs), np.bool_))
    backward = _backward(lattice.arcs, costs, finals)
    total = float(backward[0])
    if not math.isfinite(total):
        return Posteriors(forward, backward, np.zeros(len(costs)), total)
    through = forward[lattice.arcs["source"]] - costs + backward[lattice.arcs["target"]] - total
    return Posteriors(forward, backward, np.exp(np.minimum(through, 0.0)), total)


def word_posteriors(
    lattice: Lattice, path: NDArray[np.int64], scale: float = 1.0, tolerance_frames: int = 8
) -> Float64:
    """Return for each arc of `path` the probability that its word was said at about its time.

    Exactly: that the path said has at least one arc with this word whose end is told apart within
    `tolerance_frames` of this one's. Found as what is lost when all such arcs are taken away.
    """
    costs, finals = lattice.arc_costs(scale), lattice.final_costs(scale)
    moments = lattice.frames[lattice.arcs["target"]]
    present: Float64 = _present(lattice.arcs, costs, finals, moments, path.astype(np.int64), tolerance_frames)
    return present


@njit(cache=True)
def log_add(a: float, b: float) -> float:
    """Log of the sum of two numbers given by their logs."""
    if a < b:
        a, b = b, a
    if b == -np.inf:
        return a
    return a + math.log1p(math.exp(b - a))


@njit(cache=True)
def _forward(arcs: Any, costs: Float64, nodes: int, kept: NDArray[np.bool_]) -> Float64:
    reached = np.full(nodes, -np.inf)
    reached[0] = 0.0
    for a in range(len(arcs)):
        if kept[a]:
            to = arcs[a].target
            reached[to] = log_add(reached[to], reached[arcs[a].source] - costs[a])
    return reached


@njit(cache=True)
def _backward(arcs: Any, costs: Float64, finals: Float64) -> Float64:
    rest = -finals
    for a in range(len(arcs) - 1, -1, -1):
        source = arcs[a].source
        rest[source] = log_add(rest[source], rest[arcs[a].target] - costs[a])
    return rest


@njit(cache=True)
def _present(
    arcs: Any, costs: Float64, finals: Float64, moments: NDArray[np.int32], path: NDArray[np.int64], tolerance: int
) -> Float64:
    present = np.zeros(len(path))
    everything = _forward(arcs, costs, len(finals), np.ones(len(arcs), np.bool_))
    total = -np.inf
    for n in range(len(finals)):
        total = log_add(total, everything[n] - finals[n])
    for p in range(len(path)):
        word, moment = arcs[path[p]].word, moments[path[p]]
        kept = np.empty(len(arcs), np.bool_)
        for a in range(len(arcs)):
            kept[a] = arcs[a].word != word or abs(moments[a] - moment) > tolerance
        without = _forward(arcs, costs, len(finals), kept)
        left = -np.inf
        for n in range(len(finals)):
            left = log_add(left, without[n] - finals[n])
        present[p] = max(0.0, -math.expm1(min(0.0, left - total)))
    return present
