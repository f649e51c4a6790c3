"""Two voices out of many embeddings: agglomerative clustering, then refined as two directions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_MOST_JOINED: Final = 1200
"""Agglomeration looks at so many stretches at most, spread over the recording; the rest go to the nearer voice."""
_ROUNDS: Final = 10


def two_voices(embeddings: Float32, weights: Float32, least_share: float = 0.03) -> Float32:
    """Return the mean directions float32[2, size] of the two voices in float32[n, size] embeddings of length 1.

    Average linkage down to a handful of groups; of those, the two that hold at least `least_share` of the weight and
    lie farthest apart begin a spherical k-means over everything. So a cough, or music on hold, that resembles nobody
    does not become the second speaker.

    Raises
    ------
    ValueError
        There are fewer than two embeddings.
    """
    if len(embeddings) < 2:
        raise ValueError("Two voices need at least two stretches of speech.")
    step = max(1, -(-len(embeddings) // _MOST_JOINED))
    groups = _joined(embeddings[::step], weights[::step], least_share)
    means = np.stack([_direction(embeddings[::step][group], weights[::step][group]) for group in groups])
    apart = means @ means.T
    first, second = np.unravel_index(int(apart.argmin()), apart.shape)
    voices = means[[first, second]]
    for _ in range(_ROUNDS):
        nearer = (embeddings @ voices.T).argmax(axis=1)
        if len(set(nearer.tolist())) < 2:
            break
        voices = np.stack([_direction(embeddings[nearer == k], weights[nearer == k]) for k in (0, 1)])
    return np.asarray(voices, np.float32)


def _direction(embeddings: Float32, weights: Float32) -> Float32:
    total = (embeddings * weights[:, None]).sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)


def _joined(embeddings: Float32, weights: Float32, least_share: float) -> list[NDArray[np.int64]]:
    """Join the two most alike groups until just two of enough weight would be left, or two at all."""
    count = len(embeddings)
    # Average linkage (Lance and Williams): the likeness of a joined group is the weighted mean of its parts'.
    alike = (embeddings @ embeddings.T).astype(np.float64)
    np.fill_diagonal(alike, -np.inf)
    size = np.maximum(weights.astype(np.float64), 1e-6)
    members: list[list[int]] = [[i] for i in range(count)]
    alive = np.ones(count, np.bool_)
    enough = least_share * size.sum()
    kept: list[list[int]] = []
    for _ in range(count - 1):
        a, b = divmod(int(alike.argmax()), count)
        if size[a] >= enough and size[b] >= enough and (alive & (size >= enough)).sum() == 2:
            break
        joined = (size[a] * alike[a] + size[b] * alike[b]) / (size[a] + size[b])
        alike[a], alike[:, a] = joined, joined
        alike[a, a] = -np.inf
        alike[b], alike[:, b] = -np.inf, -np.inf
        size[a] += size[b]
        members[a] += members[b]
        alive[b] = False
        kept = [members[i] for i in np.flatnonzero(alive & (size >= enough))]
    groups = [members[i] for i in np.flatnonzero(alive & (size >= enough))] or kept
    if len(groups) < 2:
        groups = [members[i] for i in np.argsort(-np.where(alive, size, -1))[:2] if alive[i]]
    if len(groups) < 2:
        whole = np.arange(count)
        return [whole[: count // 2], whole[count // 2 :]]
    return [np.array(group, np.int64) for group in groups]
