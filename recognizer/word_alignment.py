"""When each recognised word was said: forced alignment of the words with the utterance's own log likelihoods.

The graph emits a word where determinisation happened to leave it, up to a word too early or late; a bleep needs the
word itself. So, once an utterance is over, a small HMM of just its words (all their pronunciations, optional silence
before, between and behind) is laid over the log likelihoods that the session kept (Viterbi).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.hmm_topology import NO_PHONE, HmmTopology
from recognizer.lexicon import Lexicon

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_SILENCE = 1
_BETWEEN = -1
_FAR = np.float32(-1e30)


@dataclass(frozen=True)
class AlignedWord:
    """Where a word was said and how it sounded.

    Attributes
    ----------
    start_frame, end_frame : int
        First frame, and the frame after the last.
    phones : int
        Phones of the pronunciation that fitted best.
    score : float
        Sum over its frames of the scaled log likelihood of the aligned state.
    best_score : float
        Sum over the same frames of the best of all states.
    """

    start_frame: int
    end_frame: int
    phones: int
    score: float
    best_score: float


@dataclass(frozen=True)
class PronunciationTable:
    """Pronunciations by word id, packed into three arrays.

    Word ``w`` has the pronunciations ``first[w]`` up to ``first[w + 1]``; pronunciation ``p`` is
    ``phones[begin[p] : begin[p + 1]]``.
    """

    first: Int32
    begin: Int32
    phones: NDArray[np.uint8]

    @classmethod
    def build(cls, words: Sequence[str], lexicon: Lexicon, phones: Sequence[str]) -> PronunciationTable:
        """Pack the pronunciations of `words`; a word that `lexicon` lacks has none."""
        label = {phone: i + 1 for i, phone in enumerate(phones)}
        first, begin, packed = [0], [0], bytearray()
        for word in words:
            for pronunciation in lexicon.get(word, ()):
                packed.extend(label[phone] for phone in pronunciation)
                begin.append(len(packed))
            first.append(len(begin) - 1)
        return cls(np.array(first, np.int32), np.array(begin, np.int32), np.frombuffer(bytes(packed), np.uint8))

    def of(self, word: int) -> list[tuple[int, ...]]:
        """Return the pronunciations of word id `word` as phone labels."""
        return [
            tuple(int(phone) for phone in self.phones[self.begin[p] : self.begin[p + 1]])
            for p in range(self.first[word], self.first[word + 1])
        ]


class WordAligner:
    """Aligns word sequences with log likelihoods; holds no state of its own."""

    def __init__(self, topology: HmmTopology, pronunciations: PronunciationTable) -> None:
        self._leaf = topology.leaf
        self._stay = np.log(topology.self_loop).astype(np.float32)
        self._leave = np.log1p(-topology.self_loop).astype(np.float32)
        self._pronunciations = pronunciations

    def align(self, word_ids: Sequence[int], log_likelihoods: Float32) -> list[AlignedWord] | None:
        """Return where each word lies, in order.

        Parameters
        ----------
        word_ids : sequence of int
            Rows of the graph's word table.
        log_likelihoods : float32[frames, pdfs]
            Scaled, as the search had them.

        Returns
        -------
        list of AlignedWord, or None
            None if the words cannot have been said in so few frames (the search may end inside a word).
        """
        if not len(word_ids):
            return []
        if not len(log_likelihoods):
            return None
        chain = _Chain(self._leaf)
        for place, word in enumerate(word_ids):
            variants = self._pronunciations.of(word)
            if variants:
                chain.append_word(place, variants)
            else:
                chain.append_unknown(place)
        nodes, first_predecessor, predecessors, starts, ends = chain.closed()
        scores = np.ascontiguousarray(log_likelihoods, np.float32)
        leaf = np.array([node[1] for node in nodes], np.int32)
        path = _viterbi(
            scores, leaf, self._stay[leaf], self._leave[leaf], first_predecessor, predecessors, starts, ends
        )
        if not len(path):
            return None
        place = np.array([node[0] for node in nodes], np.int32)[path]
        entered = np.concatenate([[True], path[1:] != path[:-1]])
        pdf = 2 * leaf[path] + ~entered
        aligned = scores[np.arange(len(path)), pdf]
        best = scores.max(axis=1)
        spans = []
        for i in range(len(word_ids)):
            frames = np.flatnonzero(place == i)
            begin, end = int(frames[0]), int(frames[-1]) + 1
            spans.append(
                AlignedWord(
                    begin,
                    end,
                    int(entered[begin:end].sum()),
                    float(aligned[begin:end].sum()),
                    float(best[begin:end].sum()),
                )
            )
        return spans


class _Chain:
    """The HMM of a word sequence: nodes (word place or -1, leaf), each with the nodes that may come before it.

    A phone's leaf depends on its left neighbour, so a word's first phone has one node per phone that may precede it.
    """

    def __init__(self, leaf: NDArray[np.int16]) -> None:
        self._leaf = leaf
        self.nodes: list[tuple[int, int]] = []
        self._before: list[list[int]] = []
        self._starts: list[int] = []
        # Open ends by last phone; the utterance's start counts as the "phone" before everything.
        self._open: dict[int, list[int]] = {NO_PHONE: []}
        self._append_silence()

    def _node(self, place: int, left: int, phone: int, before: list[int]) -> int:
        self.nodes.append((place, int(self._leaf[left, phone])))
        self._before.append(before)
        if left == NO_PHONE:
            self._starts.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def _append_silence(self) -> None:
        silences: dict[int, list[int]] = {}
        for left in self._open:
            silences.setdefault(int(self._leaf[left, _SILENCE]), []).append(left)
        ends = []
        for lefts in silences.values():
            before = [node for left in lefts for node in self._open[left]]
            ends.append(self._node(_BETWEEN, NO_PHONE if NO_PHONE in lefts else lefts[0], _SILENCE, before))
        self._open[_SILENCE] = ends

    def append_word(self, place: int, variants: Sequence[tuple[int, ...]]) -> None:
        closed: dict[int, list[int]] = {}
        for phones in variants:
            heads = [self._node(place, left, phones[0], before) for left, before in self._open.items()]
            for left, phone in pairwise(phones):
                heads = [self._node(place, left, phone, heads)]
            closed.setdefault(phones[-1], []).extend(heads)
        self._open = closed
        self._append_silence()

    def append_unknown(self, place: int) -> None:
        """Let a word without pronunciations be any phones, one at least."""
        phones = range(_SILENCE + 1, len(self._leaf))
        heads: dict[tuple[int, int], int] = {}
        lefts = [*self._open, *phones]
        for phone in phones:
            for left in lefts:
                leaf = int(self._leaf[left, phone])
                if (phone, leaf) not in heads:
                    heads[phone, leaf] = self._node(place, left if left != NO_PHONE else phone, phone, [])
                    self.nodes[-1] = (place, leaf)
        by_phone: dict[int, list[int]] = {}
        for (phone, _), node in heads.items():
            by_phone.setdefault(phone, []).append(node)
        for phone in phones:
            for left, before in self._open.items():
                node = heads[phone, int(self._leaf[left, phone])]
                self._before[node] += before
                if left == NO_PHONE:
                    self._starts.append(node)
            for left, before in by_phone.items():
                self._before[heads[phone, int(self._leaf[left, phone])]] += before
        self._open = by_phone
        self._append_silence()

    def closed(self) -> tuple[list[tuple[int, int]], Int32, Int32, Int32, Int32]:
        """Nodes, predecessors as offsets and list, nodes to begin and to end in."""
        counts = [len(before) for before in self._before]
        predecessors = [node for before in self._before for node in before]
        ends = [node for nodes in self._open.values() for node in nodes]
        return (
            self.nodes,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            np.array(predecessors, np.int32),
            np.array(self._starts, np.int32),
            np.array(ends, np.int32),
        )


@njit(cache=True)
def _viterbi(
    scores: Float32,
    leaf: Int32,
    stay: Float32,
    leave: Float32,
    first: Int32,
    predecessors: Int32,
    starts: Int32,
    ends: Int32,
) -> Int32:
    """Best node per frame; empty if no path fits into the frames."""
    frames, nodes = len(scores), len(leaf)
    came = np.empty((frames, nodes), np.int32)
    now = np.full(nodes, _FAR, np.float32)
    following = np.empty(nodes, np.float32)
    for s in starts:
        now[s] = scores[0, 2 * leaf[s]]
    for t in range(1, frames):
        for j in range(nodes):
            best, origin = now[j] + stay[j] + scores[t, 2 * leaf[j] + 1], j
            for p in range(first[j], first[j + 1]):
                i = predecessors[p]
                value = now[i] + leave[i] + scores[t, 2 * leaf[j]]
                if value > best:
                    best, origin = value, i
            following[j] = max(best, _FAR)
            came[t, j] = origin
        now, following = following, now
    best, node = _FAR / 2, -1
    for e in ends:
        if now[e] > best:
            best, node = now[e], e
    if node < 0:
        return np.empty(0, np.int32)
    path = np.empty(frames, np.int32)
    for t in range(frames - 1, 0, -1):
        path[t] = node
        node = came[t, node]
    path[0] = node
    return path
