"""A word lattice: what may have been said in one utterance, each word sequence at most once.

Nodes are moments between words, arcs are words. Graph cost (language, pronunciation, transitions) and acoustic cost
stay apart on every arc, so that one of them can be replaced or scaled later; all costs are negative natural
logarithms. The lattice is deterministic (no node has two arcs of one word) and topologically sorted (every arc leads
to a node of a higher number), node 0 is where all paths begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

ARC = np.dtype([("source", "<i4"), ("target", "<i4"), ("word", "<i4"), ("graph", "<f8"), ("acoustic", "<f8")])

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lattice:
    """See the module.

    Attributes
    ----------
    arcs : ARC[arcs]
        In the order of their sources; `word` is a row of the graph's word table, never 0.
    frames : int32[nodes]
        About when the word before a node was told apart: frames heard until then. As the graph's labels lie, up to a
        word too early or late.
    final_graph, final_acoustic : float64[nodes]
        Cost of ending in the node, of what was heard behind its word included; ``inf`` where no path ends.
    heard : int
        Frames of the utterance.
    beam : float
        No path is more than about so much worse than the best one.
    """

    arcs: NDArray[np.void]
    frames: NDArray[np.int32]
    final_graph: Float64
    final_acoustic: Float64
    heard: int
    beam: float

    def __post_init__(self) -> None:
        if self.arcs.dtype != ARC or not len(self.frames) == len(self.final_graph) == len(self.final_acoustic):
            raise ValueError("The lattice's arrays have a layout that this version does not know.")
        if len(self.arcs) and not (
            (self.arcs["source"] < self.arcs["target"]).all()
            and (np.diff(self.arcs["source"]) >= 0).all()
            and self.arcs["source"][0] >= 0
            and int(self.arcs["target"].max()) < len(self.frames)
        ):
            raise ValueError("The lattice's arcs must be sorted by source and lead to nodes of higher numbers.")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Lattice)
            and (self.heard, self.beam) == (other.heard, other.beam)
            and all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("arcs", "frames", "final_graph", "final_acoustic")
            )
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.frames)

    def arc_costs(self, scale: float = 1.0) -> Float64:
        """Graph and acoustic cost of each arc together, times `scale`."""
        costs: Float64 = scale * (self.arcs["graph"] + self.arcs["acoustic"])
        return costs

    def final_costs(self, scale: float = 1.0) -> Float64:
        """Graph and acoustic cost of ending in each node together, times `scale`."""
        costs: Float64 = scale * (self.final_graph + self.final_acoustic)
        return costs

    def first_arcs(self) -> NDArray[np.int64]:
        """Where each node's arcs begin in `arcs`; one more entry than nodes."""
        return np.searchsorted(self.arcs["source"], np.arange(self.nodes + 1))

    def best_path(self) -> tuple[NDArray[np.int64], float]:
        """Return the arcs of the cheapest path and its cost (``inf``, and no arcs, if no path ends)."""
        costs, came = _cheapest(self.arcs, self.arc_costs(), self.nodes)
        totals = costs + self.final_costs()
        end = int(totals.argmin())
        if not np.isfinite(totals[end]):
            return np.empty(0, np.int64), float("inf")
        path = []
        here = end
        while came[here] >= 0:
            path.append(int(came[here]))
            here = int(self.arcs["source"][came[here]])
        return np.array(path[::-1], np.int64), float(totals[end])

    def path_of(self, words: Sequence[int]) -> NDArray[np.int64] | None:
        """Return the arcs that say `words` (ids) from node 0 on, whether or not a path ends there; None without."""
        first = self.first_arcs()
        path, here = [], 0
        for word in words:
            begin, end = int(first[here]), int(first[here + 1])
            arc = begin + int(np.searchsorted(self.arcs["word"][begin:end], word))
            if arc == end or self.arcs["word"][arc] != word:
                return None
            path.append(arc)
            here = int(self.arcs["target"][arc])
        return np.array(path, np.int64)

    def words_of(self, path: NDArray[np.int64]) -> tuple[int, ...]:
        """Word ids of the arcs in `path`."""
        return tuple(self.arcs["word"][path].tolist())


@njit(cache=True)
def _cheapest(arcs: Any, costs: Float64, nodes: int) -> tuple[Float64, NDArray[np.int64]]:
    """Least cost from node 0 into each node and the arc it came by."""
    reached = np.full(nodes, np.inf)
    reached[0] = 0.0
    came = np.full(nodes, -1, np.int64)
    for a in range(len(arcs)):
        cost = reached[arcs[a].source] + costs[a]
        if cost < reached[arcs[a].target]:
            reached[arcs[a].target] = cost
            came[arcs[a].target] = a
    return reached, came


def sorted_lattice(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    word: NDArray[np.int64],
    graph: Float64,
    acoustic: Float64,
    frames: NDArray[np.int32],
    final_graph: Float64,
    final_acoustic: Float64,
    heard: int,
    beam: float,
) -> Lattice:
    """Drop what no whole path goes through, number the nodes topologically, and return the :class:`Lattice`.

    Parameters
    ----------
    source, target, word : int[arcs]
        Without cycles; node 0 is where paths begin.
    graph, acoustic : float64[arcs]
    frames, final_graph, final_acoustic : [nodes]
    """
    order, alive = _topological(
        source.astype(np.int64), target.astype(np.int64), np.isfinite(final_graph + final_acoustic)
    )
    number = np.full(len(frames), -1, np.int64)
    number[order] = np.arange(len(order))
    keep = alive & (number[source] >= 0) & (number[target] >= 0)
    arcs = np.empty(int(keep.sum()), ARC)
    arcs["source"], arcs["target"] = number[source[keep]], number[target[keep]]
    arcs["word"], arcs["graph"], arcs["acoustic"] = word[keep], graph[keep], acoustic[keep]
    arcs = arcs[np.lexsort((arcs["word"], arcs["source"]))]
    return Lattice(arcs, frames[order].astype(np.int32), final_graph[order], final_acoustic[order], heard, beam)


@njit(cache=True)
def _topological(
    source: NDArray[np.int64], target: NDArray[np.int64], final: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order of the nodes that lie on whole paths (node 0 always), and which arcs lie between such."""
    nodes, count = len(final), len(source)
    first = np.zeros(nodes + 1, np.int64)
    for a in range(count):
        first[source[a] + 1] += 1
    for n in range(nodes):
        first[n + 1] += first[n]
    fill, by_source = first[:-1].copy(), np.empty(count, np.int64)
    for a in range(count):
        by_source[fill[source[a]]] = a
        fill[source[a]] += 1
    # Reached from node 0.
    reached = np.zeros(nodes, np.bool_)
    reached[0] = True
    stack = np.empty(nodes, np.int64)
    stack[0], height = 0, 1
    waits = np.zeros(nodes, np.int64)
    while height > 0:
        height -= 1
        here = stack[height]
        for p in range(first[here], first[here + 1]):
            to = target[by_source[p]]
            waits[to] += 1
            if not reached[to]:
                reached[to] = True
                stack[height] = to
                height += 1
    order = np.empty(nodes, np.int64)
    length, stack[0], height = 0, 0, 1
    while height > 0:
        height -= 1
        here = stack[height]
        order[length] = here
        length += 1
        for p in range(first[here], first[here + 1]):
            to = target[by_source[p]]
            waits[to] -= 1
            if waits[to] == 0:
                stack[height] = to
                height += 1
    useful = final.copy()
    for p in range(length - 1, -1, -1):
        here = order[p]
        for q in range(first[here], first[here + 1]):
            if useful[target[by_source[q]]]:
                useful[here] = True
    useful[0] = True
    kept = 0
    for p in range(length):
        if useful[order[p]] and reached[order[p]]:
            order[kept] = order[p]
            kept += 1
    alive = np.zeros(count, np.bool_)
    for a in range(count):
        alive[a] = reached[source[a]] and useful[source[a]] and useful[target[a]]
    return order[:kept], alive
