"""Where each recognised word was said, by a CTC model: Viterbi over the words' tokens and the blanks between them.

A CTC model says a token in a spike of one or few frames, mostly behind its beginning, and blank elsewhere. A word
is therefore given a little of the blanks around it: `LEAD_FRAMES` before its first spike and `TAIL_FRAMES` behind its
last one, as far as its neighbours leave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.ctc_tokens import Spellings
from recognizer.word_alignment import AlignedWord

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

LEAD_FRAMES: Final = 2
TAIL_FRAMES: Final = 3
_BETWEEN: Final = -1
_FAR: Final = np.float32(-1e30)


class CtcAligner:
    """Aligns word sequences with the log likelihoods of a CTC model; holds no state of its own.

    Parameters
    ----------
    words : sequence of str
        By word id.
    spellings : mapping of str to columns
    blank : int
    """

    def __init__(self, words: Sequence[str], spellings: Spellings, blank: int) -> None:
        self._words = words
        self._spellings = spellings
        self._blank = blank

    def align(self, word_ids: Sequence[int], log_likelihoods: Float32) -> list[AlignedWord] | None:
        """Return where each word lies, in order.

        Parameters
        ----------
        word_ids : sequence of int
            Rows of the graph's word table.
        log_likelihoods : float32[frames, columns]
            Scaled, as the search had them.

        Returns
        -------
        list of AlignedWord, or None
            None if the words cannot have been said in so few frames. `phones` of a word counts its tokens.
        """
        if not len(word_ids):
            return []
        if not len(log_likelihoods):
            return None
        chain = _Chain(self._blank)
        for place, word in enumerate(word_ids):
            variants = self._spellings.get(self._words[word])
            if not variants:
                return None
            chain.append_word(place, variants)
        scores = np.ascontiguousarray(log_likelihoods, np.float32)
        path = _viterbi(scores, *chain.closed())
        if not len(path):
            return None
        place, token = np.array(chain.places)[path], np.array(chain.tokens)[path]
        said = token != self._blank
        spikes = [np.flatnonzero(said & (place == i)) for i in range(len(word_ids))]
        first = [int(frames[0]) for frames in spikes]
        last = [int(frames[-1]) + 1 for frames in spikes]
        ends = [
            min(end + TAIL_FRAMES, following) for end, following in zip(last, [*first[1:], len(path)], strict=True)
        ]
        aligned, best = scores[np.arange(len(path)), token], scores.max(axis=1)
        spans = []
        for i in range(len(word_ids)):
            begin = max(first[i] - LEAD_FRAMES, ends[i - 1] if i else 0)
            changes = 1 + int((np.diff(path[spikes[i]]) != 0).sum())
            inside = slice(first[i], last[i])
            spans.append(
                AlignedWord(begin, ends[i], changes, float(aligned[inside].sum()), float(best[inside].sum()))
            )
        return spans


class _Chain:
    """Nodes (word place or -1, token), each with the nodes that may come before it."""

    def __init__(self, blank: int) -> None:
        self._blank = blank
        self.places: list[int] = []
        self.tokens: list[int] = []
        self._before: list[list[int]] = []
        self._starts: list[int] = []
        self._gap = self._node(_BETWEEN, blank, [])
        self._starts.append(self._gap)
        self._ends: list[int] = []

    def _node(self, place: int, token: int, before: list[int]) -> int:
        self.places.append(place)
        self.tokens.append(token)
        self._before.append(before)
        return len(self.tokens) - 1

    def append_word(self, place: int, variants: Sequence[tuple[int, ...]]) -> None:
        ends = []
        for spelling in variants:
            last, gap = self._ends, self._gap
            for j, token in enumerate(spelling):
                if j:
                    gap = self._node(place, self._blank, last)
                here = self._node(place, token, [gap, *(end for end in last if self.tokens[end] != token)])
                if not place and not j:
                    self._starts.append(here)
                last = [here]
            ends += last
        self._ends = ends
        self._gap = self._node(_BETWEEN, self._blank, list(ends))

    def closed(self) -> tuple[Int32, Int32, Int32, Int32, Int32]:
        """Tokens, predecessors as offsets and list, nodes to begin and to end in."""
        counts = [len(before) for before in self._before]
        return (
            np.array(self.tokens, np.int32),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            np.array([node for before in self._before for node in before], np.int32),
            np.array(self._starts, np.int32),
            np.array([*self._ends, self._gap], np.int32),
        )


@njit(cache=True)
def _viterbi(scores: Any, token: Any, first: Any, predecessors: Any, starts: Any, ends: Any) -> Any:
    """Best node per frame; empty if no path fits into the frames."""
    frames, nodes = len(scores), len(token)
    came = np.empty((frames, nodes), np.int32)
    now = np.full(nodes, _FAR, np.float32)
    following = np.empty(nodes, np.float32)
    for s in starts:
        now[s] = scores[0, token[s]]
    for t in range(1, frames):
        for j in range(nodes):
            best, origin = now[j], j
            for p in range(first[j], first[j + 1]):
                i = predecessors[p]
                if now[i] > best:
                    best, origin = now[i], i
            following[j] = max(best + scores[t, token[j]], _FAR)
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
