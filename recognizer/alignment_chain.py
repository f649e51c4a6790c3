"""The HMM of a known text: its words in order, all their pronunciations, optional silence and unwritten speech between.

Nodes are numbered along the text, so that a node's predecessors have smaller numbers; the trellis relies on it. A
phone's leaf depends on its left neighbour, so a word's first phone has one node for each phone that may precede it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognizer.hmm_topology import NO_PHONE, HmmTopology

Int32 = NDArray[np.int32]

SILENCE_PHONE: Final = 1
BETWEEN: Final = -1
"""Word number of silence."""
UNWRITTEN: Final = -2
"""Word number of speech that the text does not have."""
NO_LEAF: Final = -1
"""Leaf of unwritten speech: any state scores it, at a price."""
_MOST_PREDECESSORS: Final = 65_000


@dataclass(frozen=True)
class AlignmentChain:
    """Nodes of the HMM, int32[nodes] each where nothing else is said.

    Attributes
    ----------
    word : int32[nodes]
        Number of the word in the text, `BETWEEN` or `UNWRITTEN`.
    phone : int32[nodes]
        Phone label; 1 is silence, 0 unwritten speech.
    leaf : int32[nodes]
        `NO_LEAF` for unwritten speech.
    first : int32[nodes + 1]
        Node ``j`` has the predecessors ``before[first[j] : first[j + 1]]``.
    before : int32[arcs]
    reach : int32[nodes]
        The largest number of a node that follows node ``j`` or any node before it.
    starts, ends : int32[any]
        Where the text may begin and end.
    """

    word: Int32
    phone: Int32
    leaf: Int32
    first: Int32
    before: Int32
    reach: Int32
    starts: Int32
    ends: Int32


def build_chain(
    pronunciations: Sequence[Sequence[tuple[int, ...]]], topology: HmmTopology, unwritten: bool
) -> AlignmentChain:
    """Build the HMM of a text.

    Parameters
    ----------
    pronunciations
        For each word of the text the phone labels (from 1) of each of its pronunciations, none of them empty.
    topology
    unwritten
        Allow speech that the text lacks before, between and behind the words.
    """
    return _Builder(topology.leaf, unwritten).built(pronunciations)


class _Builder:
    def __init__(self, leaf: NDArray[np.int16], unwritten: bool) -> None:
        self._leaf = leaf.tolist()
        self._unwritten = unwritten
        self._nodes: list[tuple[int, int, int]] = []
        self._before: list[list[int]] = []
        self._starts: list[int] = []
        # Open ends by last phone; the recording's start counts as the "phone" before everything.
        self._open: dict[int, list[int]] = {NO_PHONE: []}

    def built(self, pronunciations: Sequence[Sequence[tuple[int, ...]]]) -> AlignmentChain:
        self._pause()
        for number, variants in enumerate(pronunciations):
            self._word(number, variants)
            self._pause()
        counts = np.array([len(before) for before in self._before], np.int64)
        if counts.max() > _MOST_PREDECESSORS:
            raise ValueError("A word of the text has too many pronunciations.")
        before = np.array([node for nodes in self._before for node in nodes], np.int32)
        follower = np.zeros(len(counts), np.int32)
        np.maximum.at(follower, before, np.repeat(np.arange(len(counts), dtype=np.int32), counts))
        word, phone, leaf = np.array(self._nodes, np.int32).T
        return AlignmentChain(
            np.ascontiguousarray(word),
            np.ascontiguousarray(phone),
            np.ascontiguousarray(leaf),
            np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
            before,
            np.maximum.accumulate(np.maximum(follower, np.arange(len(counts), dtype=np.int32))),
            np.array(self._starts, np.int32),
            np.array(sorted(node for nodes in self._open.values() for node in nodes), np.int32),
        )

    def _node(self, word: int, phone: int, leaf: int, before: list[int], begins: bool) -> int:
        self._nodes.append((word, phone, leaf))
        self._before.append(before)
        if begins:
            self._starts.append(len(self._nodes) - 1)
        return len(self._nodes) - 1

    def _pause(self) -> None:
        """Let silence, then unwritten speech, follow whatever is open; both count as silence for what comes next."""
        silences: dict[int, list[int]] = {}
        for left in self._open:
            silences.setdefault(self._leaf[left][SILENCE_PHONE], []).append(left)
        quiet = []
        for leaf, lefts in silences.items():
            before = [node for left in lefts for node in self._open[left]]
            quiet.append(self._node(BETWEEN, SILENCE_PHONE, leaf, before, NO_PHONE in lefts))
        if self._unwritten:
            before = quiet + [node for nodes in self._open.values() for node in nodes]
            quiet.append(self._node(UNWRITTEN, NO_PHONE, NO_LEAF, before, NO_PHONE in self._open))
        self._open[SILENCE_PHONE] = quiet

    def _word(self, number: int, variants: Sequence[tuple[int, ...]]) -> None:
        closed: dict[int, list[int]] = {}
        for phones in variants:
            heads = [
                self._node(number, phones[0], self._leaf[left][phones[0]], before, left == NO_PHONE)
                for left, before in self._open.items()
            ]
            for left, phone in pairwise(phones):
                heads = [self._node(number, phone, self._leaf[left][phone], heads, False)]
            closed.setdefault(phones[-1], []).extend(heads)
        self._open = closed
