"""Clustering of phones in context."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recognizer.log_mel import BINS
from recognizer.training.alignment import PhoneSegments
from recognizer.training.tree import cluster_leaves

PHONES = ("SIL", "A", "B", "C")
Utterance = tuple[NDArray[np.float32], PhoneSegments]


def _utterances(count: int) -> list[Utterance]:
    """Phone A sounds one way after B and another after C and silence; B and C are always the same."""
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(6, BINS))
    utterances = []
    for _ in range(count):
        phones = [1, *rng.integers(2, 5, 12).tolist(), 1]
        sounds, left = [], 1
        for phone in phones:
            kind = {1: 0, 3: 1, 4: 2}.get(phone, 3 if left == 3 else 4)
            sounds.append(np.repeat(basis[[kind]], 9, 0))
            left = phone
        energies = np.concatenate(sounds) * 3 + rng.normal(size=(9 * len(phones), BINS)) * 0.3
        edges = np.arange(len(phones) + 1, dtype=np.float32) * 9
        segments = PhoneSegments(np.array(phones, np.int16), edges[:-1], edges[1:])
        utterances.append((energies.astype(np.float32), segments))
    return utterances


def test_contexts_that_sound_alike_share_a_leaf_and_others_do_not() -> None:
    topology = cluster_leaves(_utterances(60), PHONES, leaves=5, least_count=5)
    a_after = {left: int(topology.leaf[left, 2]) for left in range(1, 5)}
    assert a_after[1] == a_after[4] == a_after[2] != a_after[3]
    assert len(set(topology.leaf[:, 1].tolist())) == 1
    assert topology.leaves == 5
    np.testing.assert_allclose(topology.self_loop, 1 - 1 / 3, atol=0.02)


def test_a_rare_context_is_joined_with_another_one() -> None:
    topology = cluster_leaves(_utterances(60), PHONES, leaves=8, least_count=10**6)
    assert topology.leaves >= len(PHONES)
    assert topology.leaf[:, 1:].min() >= 0


def test_what_cannot_be_clustered_is_said() -> None:
    with pytest.raises(ValueError, match="at least as many leaves"):
        cluster_leaves(_utterances(1), PHONES, leaves=3)
    with pytest.raises(ValueError, match="phone D never occurs"):
        cluster_leaves(_utterances(3), (*PHONES, "D"), leaves=9)
