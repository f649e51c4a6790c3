"""An n-gram model of graphones as a tree of n-grams: its estimation, its arrays, and the search for pronunciations.

Estimated with interpolated Kneser-Ney smoothing (absolute discounts from the counts of counts; lower orders count
how many different units they follow; Chen and Goodman, 1998), written as back-off probabilities, rare long n-grams
left out. Node 0 is the empty history; the children of a node, ordered by unit, are the n-grams that go one further.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

EDGE = 0
"""The unit that stands before and behind every word."""


@dataclass(frozen=True)
class GraphoneModel:
    """The tree.

    Attributes
    ----------
    children : int32[nodes + 1]
        Children of node ``n``: ``children[n]`` up to ``children[n + 1]``.
    unit : int32[nodes]
        Last unit of each node's n-gram.
    cost : float32[nodes]
        Negative log probability of that unit after the others.
    back_off : int32[nodes]
        The node without the first unit.
    back_off_cost : float32[nodes]
        What it costs to go there because a unit is no child.
    """

    children: Int32
    unit: Int32
    cost: Float32
    back_off: Int32
    back_off_cost: Float32

    @classmethod
    def linked(
        cls, counts: NDArray[np.int64], unit: Int32, cost: Float32, back_off_cost: Float32
    ) -> GraphoneModel:
        """Return the tree with its links, from the number of children per node, level after level."""
        children = np.concatenate([[1], 1 + np.cumsum(counts)]).astype(np.int32)
        if children[-1] != len(unit) or (np.diff(children) < 0).any():
            raise ValueError("The tree's numbers of children and nodes do not belong together.")
        return cls(children, unit, cost, _links(children, unit), back_off_cost)


@dataclass(frozen=True)
class _Level:
    """All n-grams of one length, ordered by history and unit."""

    keys: NDArray[np.int64]
    count: NDArray[np.int64]
    history: NDArray[np.int64]
    """Per place of the training text the n-gram that ends there as a history, -1 without."""
    node: NDArray[np.int64]
    """The same as something predicted."""
    sample: NDArray[np.int64]
    """A place where each n-gram ends."""
    before: NDArray[np.int64]
    """Each n-gram without its last unit."""


def estimate(words: list[Int32], order: int, least: tuple[int, ...]) -> GraphoneModel:
    """Estimate the model.

    Parameters
    ----------
    words : list of int32
        Units per word, counted from 1.
    order : int
        Longest n-gram.
    least : tuple of int, length `order`
        N-grams of each length that occur more rarely are left out.
    """
    edge = np.zeros(1, np.int32)
    stream = np.concatenate([edge, *(part for word in words for part in (word, edge))]).astype(np.int64)
    size = int(stream.max()) + 1
    # A unit's place in its word bounds the n-grams that end in it; the first edge of a word is history only.
    since = np.arange(len(stream)) - np.maximum.accumulate(np.where(stream == EDGE, np.arange(len(stream)), 0))
    since = np.where(stream == EDGE, np.concatenate([[0], since[:-1] + 1]), since)
    inner = since > 0
    node = np.zeros(len(stream), np.int64)
    levels: list[_Level] = []
    for k in range(1, order + 1):
        # The history of order k - 1 that ends just before; shorter words' histories begin with the edge.
        fits = inner if k == 1 else inner & (since >= k - 1)
        places = np.flatnonzero(fits)
        if k == 1:
            before = np.zeros(len(places), np.int64)
        else:
            before = levels[-1].history[places - 1]
        if k > 1:
            places, before = places[before >= 0], before[before >= 0]
        keys, which, number = np.unique(before * size + stream[places], return_inverse=True, return_counts=True)
        node = np.full(len(stream), -1, np.int64)
        node[places] = which
        history = node.copy()
        if k == 1:
            # The edge before a word is a history too, though never predicted there.
            edge_place = int(np.searchsorted(keys, EDGE))
            starts = np.flatnonzero(stream == EDGE)
            history[starts] = edge_place
        else:
            history[stream == EDGE] = -1
        sample = np.empty(len(keys), np.int64)
        sample[which] = places
        levels.append(_Level(keys, number, history, node, sample, keys // size))
    return _smoothed(levels, stream, size, least)


def _smoothed(levels: list[_Level], stream: NDArray[np.int64], size: int, least: tuple[int, ...]) -> GraphoneModel:
    order = len(levels)
    probability: list[Float64] = []
    kept: list[NDArray[np.bool_]] = []
    suffix: list[NDArray[np.int64]] = []
    backs: list[Float64] = []
    for k, level in enumerate(levels):
        count = level.count.astype(np.float64)
        if k + 1 < order:
            above = levels[k + 1]
            extended = np.bincount(level.node[above.sample], minlength=len(count))
            begins = extended == 0  # at a word's beginning nothing stands before
            count = np.where(begins, count, np.maximum(extended, 1)).astype(np.float64)
        once, twice = float((count == 1).sum()), float((count == 2).sum())
        discount = once / max(1.0, once + 2 * twice) if once else 0.5
        parents = 1 if k == 0 else len(levels[k - 1].count)
        total = np.bincount(level.before, count, parents)
        types = np.bincount(level.before, minlength=parents)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(total > 0, discount * types / total, 1.0)
        if k == 0:
            shorter = np.zeros(len(count), np.int64)
            base = np.full(len(count), 1.0 / len(count))
        else:
            # The same unit after the history without its first unit.
            shorter = levels[k - 1].node[level.sample]
            base = probability[k - 1][shorter]
        p = (count - discount) / total[level.before] + spread[level.before] * base
        probability.append(p)
        suffix.append(shorter)
        keep = level.count >= least[k]
        if k:
            keep &= kept[k - 1][level.before]
        kept.append(keep)
    # A kept n-gram needs the one without its first unit: it is not rarer, and kept by a threshold that is not higher.
    for k in range(1, order):
        kept[k] &= kept[k - 1][suffix[k]]
        if k + 1 < order:
            kept[k + 1] &= kept[k][levels[k + 1].before]
    for k in range(1, order):
        parents = len(levels[k - 1].count)
        used = kept[k]
        mass = np.bincount(levels[k].before[used], probability[k][used], parents)
        shorter_mass = np.bincount(levels[k].before[used], probability[k - 1][suffix[k][used]], parents)
        backs.append(np.maximum(1e-6, 1 - mass) / np.maximum(1e-6, 1 - shorter_mass))
    backs.append(np.ones(len(levels[-1].count)))
    counts, units, costs, back_costs = (
        [np.zeros(0, np.int64)],
        [np.zeros(1, np.int32)],
        [np.zeros(1)],
        [np.zeros(1)],
    )
    order_of = np.zeros(1, np.int64)
    for k, level in enumerate(levels):
        chosen = np.flatnonzero(kept[k])
        place = np.full(len(order_of) if k == 0 else len(levels[k - 1].count), -1, np.int64)
        place[order_of] = np.arange(len(order_of))
        chosen = chosen[np.lexsort((level.keys[chosen] % size, place[level.before[chosen]]))]
        counts.append(np.bincount(place[level.before[chosen]], minlength=len(order_of)))
        units.append((level.keys[chosen] % size).astype(np.int32))
        costs.append(-np.log(probability[k][chosen]))
        back_costs.append(-np.log(backs[k][chosen]))
        order_of = chosen
    counts.append(np.zeros(len(order_of), np.int64))
    return GraphoneModel.linked(
        np.concatenate(counts),
        np.concatenate(units),
        np.concatenate(costs).astype(np.float32),
        np.concatenate(back_costs).astype(np.float32),
    )


@njit(cache=True)
def _child(children: Int32, unit: Int32, node: int, wanted: int) -> int:
    """The child of `node` for a unit, -1 without (binary search)."""
    low, high = children[node], children[node + 1]
    while low < high:
        middle = (low + high) // 2
        if unit[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < children[node + 1] and unit[low] == wanted else -1


@njit(cache=True)
def _links(children: Int32, unit: Int32) -> Int32:
    links = np.zeros(len(unit), np.int32)
    for node in range(len(unit)):
        for child in range(children[node], children[node + 1]):
            if node == 0:
                links[child] = 0
            else:
                link = _child(children, unit, links[node], unit[child])
                links[child] = max(link, 0)
    return links


@njit(cache=True)
def _step(
    children: Int32, unit: Int32, cost: Float32, back_off: Int32, back_off_cost: Float32, node: int, wanted: int
) -> tuple[int, float]:
    """History and cost after one more unit; node -1 if the model does not know the unit."""
    paid = 0.0
    while True:
        child = _child(children, unit, node, wanted)
        if child >= 0:
            paid += cost[child]
            while child > 0 and children[child] == children[child + 1]:
                # Nothing is known to follow the longer history: the shorter one is as good and meets others.
                paid += back_off_cost[child]
                child = back_off[child]
            return child, paid
        if node == 0:
            return -1, np.inf
        paid += back_off_cost[node]
        node = back_off[node]


@njit(cache=True)
def search(
    children: Int32,
    unit: Int32,
    cost: Float32,
    back_off: Int32,
    back_off_cost: Float32,
    letters: Int32,
    by_letters: Int32,
    units: Int32,
    beam: int,
) -> tuple[Int32, Int32, Int32, Float64]:
    """Look for the cheapest unit sequences that spell `letters`.

    ``units[by_letters[c] : by_letters[c + 1]]`` are the units with letters ``c`` (one letter ``a * SIDE``, two
    ``a * SIDE + b``). Returns back pointers and units of all hypotheses, which of them are whole words, ordered by
    cost, and those costs.
    """
    n = len(letters)
    side = 28
    most = 256 * beam
    previous = np.empty((n + 1) * most + 1, np.int32)
    chosen = np.empty((n + 1) * most + 1, np.int32)
    node = np.empty((n + 1) * most + 1, np.int32)
    paid = np.empty((n + 1) * most + 1, np.float64)
    at = np.full((n + 2, most), -1, np.int32)
    number = np.zeros(n + 2, np.int64)
    previous[0], chosen[0], node[0], paid[0] = -1, -1, _child(children, unit, 0, 0), 0.0
    at[0, 0], number[0], made = 0, 1, 1
    for i in range(n + 1):
        here = at[i, : number[i]]
        costs = paid[here]
        ranked = here[np.argsort(costs)][:beam]
        if i == n:
            ends = np.empty(len(ranked), np.float64)
            for r in range(len(ranked)):
                _, last = _step(children, unit, cost, back_off, back_off_cost, node[ranked[r]], 0)
                ends[r] = paid[ranked[r]] + last
            best = np.argsort(ends)
            return previous[:made], chosen[:made], ranked[best].astype(np.int32), ends[best]
        for r in range(len(ranked)):
            for two in range(2):
                if i + 1 + two > n:
                    continue
                code = letters[i] * side + (letters[i + 1] if two else 0)
                for u in range(by_letters[code], by_letters[code + 1]):
                    if number[i + 1 + two] == most or made == len(paid):
                        continue
                    after, more = _step(children, unit, cost, back_off, back_off_cost, node[ranked[r]], units[u])
                    if after < 0:
                        continue
                    previous[made], chosen[made], node[made] = ranked[r], units[u], after
                    paid[made] = paid[ranked[r]] + more
                    at[i + 1 + two, number[i + 1 + two]] = made
                    number[i + 1 + two] += 1
                    made += 1
    return previous[:0], chosen[:0], np.empty(0, np.int32), np.empty(0, np.float64)
