"""Which phones in context share a leaf: clustering of left contexts by how their sounds differ.

Per phone, its occurrences with each left neighbour are described by the mean cepstra of their beginning, middle and
end; the two clusters whose union loses the least likelihood under one diagonal Gaussian are joined until the wanted
number of leaves is left over all phones (agglomerative clustering, as in Gauvain & Lee's state tying).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.hmm_topology import HmmTopology
from recognizer.log_mel import BINS
from recognizer.training.alignment import PhoneSegments

Float64 = NDArray[np.float64]

_CEPSTRA = 13
_PARTS = 3
_SILENCE = 1
_STACK = 3
_FEW = 1e6
"""What a union with a cluster below the least count gains: it comes first."""


@dataclass
class _Cluster:
    lefts: list[int]
    count: float
    total: Float64
    squares: Float64

    def joined(self, other: _Cluster) -> _Cluster:
        return _Cluster(
            self.lefts + other.lefts,
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
        )

    def likelihood(self, floor: Float64) -> float:
        variance = np.maximum(self.squares / self.count - (self.total / self.count) ** 2, floor)
        return float(-0.5 * self.count * np.log(variance).sum())


def cluster_leaves(
    utterances: Iterable[tuple[NDArray[np.floating[Any]], PhoneSegments]],
    phones: tuple[str, ...],
    leaves: int,
    least_count: int = 25,
) -> HmmTopology:
    """Return the tied states of aligned speech.

    Parameters
    ----------
    utterances : iterable of (float[frames, 40], PhoneSegments)
        Log-mel energies in the reference channel, one frame per 10 ms, and their alignment.
    phones : tuple of str
    leaves : int
        How many are wanted, about.
    least_count : int
        Clusters with fewer occurrences are joined with another one first.

    Raises
    ------
    ValueError
        Fewer leaves than phones are wanted, or a phone never occurs.
    """
    if leaves < len(phones):
        raise ValueError(f"A tree over {len(phones)} phones has at least as many leaves, not {leaves}.")
    transform = _cosines()
    sums: dict[tuple[int, int], _Cluster] = {}
    durations: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for energies, segments in utterances:
        frames = np.asarray(energies, np.float64)
        cepstra = (frames - frames.mean(0)) @ transform
        left = _SILENCE
        for phone, start, end in zip(segments.phone, segments.start, segments.end, strict=True):
            piece = cepstra[max(0, int(start)) : min(len(cepstra), int(end))]
            if len(piece):
                parts = np.array_split(piece, _PARTS) if len(piece) >= _PARTS else [piece] * _PARTS
                vector = np.concatenate([part.mean(0) for part in parts])
                one = _Cluster([left], 1.0, vector, vector**2)
                key = (left, int(phone))
                sums[key] = _Cluster([left], *_added(sums[key], one)) if key in sums else one
            seconds = durations[left, int(phone)]
            seconds[0] += 1
            seconds[1] += max(1.0, (end - start) / _STACK)
            left = int(phone)
    missing = [name for i, name in enumerate(phones, 1) if not any(phone == i for _, phone in sums)]
    if missing:
        raise ValueError(f"The phone {missing[0]} never occurs in the aligned speech.")
    everything = reduce(_Cluster.joined, sums.values())
    mean = everything.total / everything.count
    floor = 0.1 * (everything.squares / everything.count - mean**2)
    merges = {phone: _merge_all(sums, phone, floor, least_count) for phone in range(1, len(phones) + 1)}
    costs = np.sort(
        np.concatenate([np.maximum.accumulate([m[0] for m in steps]) for steps in merges.values() if steps])
    )
    threshold = float(costs[min(len(costs) - 1, max(0, len(sums) - leaves))])
    return _topology(sums, merges, threshold, durations, phones)


def _added(a: _Cluster, b: _Cluster) -> tuple[float, Float64, Float64]:
    return a.count + b.count, a.total + b.total, a.squares + b.squares


def _cosines() -> Float64:
    n = np.arange(BINS)
    waves = np.array([np.cos(np.pi * k * (n + 0.5) / BINS) for k in range(_CEPSTRA)])
    return np.asarray(waves.T * np.sqrt(2.0 / BINS))


def _merge_all(
    sums: dict[tuple[int, int], _Cluster], phone: int, floor: Float64, least: int
) -> list[tuple[float, list[int], list[int]]]:
    """Join the phone's contexts down to one cluster; return cost and sides of each union in order."""
    clusters = [c for (_, p), c in sorted(sums.items(), key=lambda item: item[0]) if p == phone]
    worth = [c.likelihood(floor) for c in clusters]
    costs = {
        (i, j): _cost(clusters[i], clusters[j], worth[i] + worth[j], floor, least)
        for i in range(len(clusters))
        for j in range(i)
    }
    living = set(range(len(clusters)))
    steps = []
    while len(living) > 1:
        (i, j), cost = min(costs.items(), key=lambda item: item[1])
        steps.append((cost, clusters[i].lefts, clusters[j].lefts))
        union = clusters[i].joined(clusters[j])
        living -= {i, j}
        costs = {pair: value for pair, value in costs.items() if pair[0] in living and pair[1] in living}
        new = len(clusters)
        clusters.append(union)
        worth.append(union.likelihood(floor))
        for k in living:
            costs[new, k] = _cost(union, clusters[k], worth[new] + worth[k], floor, least)
        living.add(new)
    return steps


def _cost(a: _Cluster, b: _Cluster, apart: float, floor: Float64, least: int) -> float:
    few = _FEW if min(a.count, b.count) < least else 0.0
    return apart - a.joined(b).likelihood(floor) - few


def _topology(
    sums: dict[tuple[int, int], _Cluster],
    merges: dict[int, list[tuple[float, list[int], list[int]]]],
    threshold: float,
    durations: dict[tuple[int, int], list[float]],
    phones: tuple[str, ...],
) -> HmmTopology:
    side = len(phones) + 1
    leaf = np.zeros((side, side), np.int16)
    count = 0
    for phone, steps in merges.items():
        group = {left: frozenset([left]) for left, p in sums if p == phone}
        highest = -np.inf
        for cost, one, two in steps:
            highest = max(highest, cost)
            if highest >= threshold and phone != _SILENCE:  # silence is one leaf whatever precedes it
                break
            union = group[one[0]] | group[two[0]]
            for left in union:
                group[left] = union
        kinds = sorted(set(group.values()), key=min)
        numbers = {kind: count + i for i, kind in enumerate(kinds)}
        count += len(kinds)
        # A context that was never seen takes the most frequent leaf.
        most = max(kinds, key=lambda kind: sum(sums[left, phone].count for left in kind))
        for left in range(side):
            leaf[left, phone] = numbers[group.get(left, most)]
    occurrences, frames = np.zeros(count), np.zeros(count)
    for (left, phone), (times, length) in durations.items():
        occurrences[leaf[left, phone]] += times
        frames[leaf[left, phone]] += length
    mean = np.where(occurrences > 0, frames / np.maximum(occurrences, 1), float(_STACK))
    self_loop = np.clip(1 - 1 / np.maximum(mean, 1.2), 0.1, 0.97).astype(np.float32)
    return HmmTopology(phones, leaf, self_loop)
