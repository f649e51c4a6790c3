"""Viterbi over a text's HMM in bounded memory: a beam along the text, and a path that is settled as it goes.

Only the stretch of nodes between the first and the last live one is looked at per frame. What each frame chose is
kept until all live paths share their past; that past is settled and forgotten. A recording of an hour needs the memory
of a few seconds (a minute where the text does not fit: then the best path's past is settled by force).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.alignment_chain import NO_LEAF, AlignmentChain
from recognizer.hmm_topology import HmmTopology

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_DEAD: Final = np.float32(-np.inf)
_LONGEST_OPEN_FRAMES: Final = 2000
_PIECE_FRAMES: Final = 200


class Trellis:
    """The search of one recording; feed it log likelihoods in order, then ask for the path.

    Parameters
    ----------
    chain, topology
    beam : float
        Paths that are so much worse than the best (scaled log likelihood) are dropped.
    unwritten_cost, unwritten_entry_cost : float
        How much worse than the best of all states a frame of unwritten speech counts, and its beginning on top.
    """

    def __init__(
        self,
        chain: AlignmentChain,
        topology: HmmTopology,
        beam: float,
        unwritten_cost: float,
        unwritten_entry_cost: float,
    ) -> None:
        self._chain = chain
        stay = np.log(topology.self_loop).astype(np.float32)
        leave = np.log1p(-topology.self_loop).astype(np.float32)
        spoken = chain.leaf != NO_LEAF
        self._stay = np.where(spoken, stay[chain.leaf], np.float32(0)).astype(np.float32)
        self._leave = np.where(spoken, leave[chain.leaf], np.float32(0)).astype(np.float32)
        self._beam = np.float32(beam)
        self._costs = (np.float32(unwritten_cost), np.float32(unwritten_entry_cost))
        self._value = np.full(len(chain.leaf), _DEAD, np.float32)
        self._window = np.zeros(2, np.int64)
        self._back = np.empty(1 << 16, np.uint16)
        self._used = 0
        self._low: list[int] = []
        self._offset: list[int] = []
        self._scores: list[Float32] = []
        self._path: list[Int32] = []
        self._gain: list[Float32] = []
        self.frames = 0
        """Frames heard so far."""

    def advance(self, scores: Float32) -> None:
        """Hear float32[frames, pdfs]."""
        for begin in range(0, len(scores), _PIECE_FRAMES):
            self._piece(np.ascontiguousarray(scores[begin : begin + _PIECE_FRAMES], np.float32))

    def finish(self) -> tuple[Int32, Float32] | None:
        """Return the node of each frame and how much worse than the best of all states it scored there.

        None when no path through the whole text is left: too few frames, or the beam lost it.
        """
        ends = self._chain.ends
        if not self.frames or not np.isfinite(self._value[ends]).any():
            return None
        self._settle(len(self._low) - 1, int(ends[self._value[ends].argmax()]))
        return np.concatenate(self._path), np.concatenate(self._gain)

    def _piece(self, scores: Float32) -> None:
        chain = self._chain
        best = scores.max(axis=1)
        if not self.frames:
            for node in chain.starts:
                leaf = chain.leaf[node]
                self._value[node] = (
                    scores[0, 2 * leaf] if leaf != NO_LEAF else best[0] - self._costs[0] - self._costs[1]
                )
            self._window[:] = 0, int(chain.starts.max()) + 1
        low, offset = np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int64)
        # The first frame of all enters the start nodes; every other one is a step.
        done = 0 if self.frames else 1
        if done:
            offset[0], low[0] = self._used, 0
        while done < len(scores):
            done, used = _steps(
                scores, best, chain.leaf, self._stay, self._leave, chain.first, chain.before, chain.reach,
                self._value, self._window, self._beam, self._costs[0], self._costs[1],
                self._back, self._used, low, offset, done,
            )  # fmt: skip
            self._used = used
            if done < len(scores):
                self._back = np.concatenate((self._back, np.empty_like(self._back)))
        self.frames += len(scores)
        self._low += low.tolist()
        self._offset += offset.tolist()
        self._scores.append(scores)
        self._settle_shared()

    def _live(self) -> Int32:
        low, high = self._window
        return (low + np.flatnonzero(np.isfinite(self._value[low:high]))).astype(np.int32)

    def _tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.array(self._low, np.int64), np.array(self._offset, np.int64)

    def _settle_shared(self) -> None:
        low, offset = self._tables()
        chain = self._chain
        live = self._live()
        last = len(low) - 1
        frame, node = _shared_past(self._back, low, offset, chain.first, chain.before, live.copy(), last)
        if frame < 0 and len(low) > _LONGEST_OPEN_FRAMES:
            frame = last - _LONGEST_OPEN_FRAMES // 2
            best = int(live[self._value[live].argmax()])
            node = int(
                _ancestors(self._back, low, offset, chain.first, chain.before, np.array([best]), last, frame)[0]
            )
            pasts = _ancestors(
                self._back, low, offset, chain.first, chain.before, live.astype(np.int64), last, frame
            )
            self._value[live[pasts != node]] = _DEAD
        if frame > 0:
            self._settle(frame, node)

    def _settle(self, frame: int, node: int) -> None:
        """Take the path up to `frame`, counted from the first open one, where it is in `node`, for settled."""
        low, offset = self._tables()
        chain = self._chain
        path = _trace(self._back, low, offset, chain.first, chain.before, frame, node)
        scores = np.concatenate(self._scores)
        settled = scores[: frame + 1]
        before = np.concatenate(([self._path[-1][-1] if self._path else -1], path[:-1]))
        leaf = chain.leaf[path]
        pdf = np.where(leaf == NO_LEAF, 0, 2 * leaf + (path == before))
        gain = settled[np.arange(len(path)), pdf] - settled.max(axis=1)
        gain[leaf == NO_LEAF] = -self._costs[0]
        self._path.append(path)
        self._gain.append(gain.astype(np.float32))
        self._scores = [scores[frame + 1 :].copy()]
        kept = self._offset[frame + 1] if frame + 1 < len(self._offset) else self._used
        # What the next frame chose still names its predecessor, which is the settled path's last node.
        self._back[: self._used - kept] = self._back[kept : self._used].copy()
        self._used -= kept
        self._low = self._low[frame + 1 :]
        self._offset = [place - kept for place in self._offset[frame + 1 :]]


@njit(cache=True)
def _steps(
    scores: Any, best: Any, leaf: Any, stay: Any, leave: Any, first: Any, before: Any, reach: Any,
    value: Any, window: Any, beam: Any, cost: Any, entry_cost: Any,
    back: Any, used: int, low: Any, offset: Any, begin: int,
) -> Any:  # fmt: skip
    """Frames from `begin` on, as far as `back` has room; returns the next frame and the room used."""
    for t in range(begin, scores.shape[0]):
        lo, hi = window[0], window[1]
        top = reach[hi - 1] + 1
        if used + top - lo > back.size:
            return t, used
        low[t], offset[t] = lo, used
        highest = _DEAD
        # From the end down: predecessors have smaller numbers and still hold the frame before.
        for j in range(top - 1, lo - 1, -1):
            pick = 0
            if leaf[j] >= 0:
                reached = value[j] + stay[j] + scores[t, 2 * leaf[j] + 1]
                entered = scores[t, 2 * leaf[j]]
            else:
                reached = value[j] + best[t] - cost
                entered = best[t] - cost - entry_cost
            for p in range(first[j], first[j + 1]):
                i = before[p]
                if i < lo:
                    continue
                candidate = value[i] + leave[i] + entered
                if candidate > reached:
                    reached = candidate
                    pick = p - first[j] + 1
            value[j] = reached
            back[used + j - lo] = pick
            highest = max(highest, reached)
        used += top - lo
        new_lo, new_hi = top, lo
        for j in range(lo, top):
            if value[j] < highest - beam:
                value[j] = _DEAD
            else:
                # Relative to the best: sums over an hour would lose their small differences in float32.
                value[j] -= highest
                new_lo = min(new_lo, j)
                new_hi = j + 1
        window[0], window[1] = new_lo, new_hi
    return scores.shape[0], used


@njit(cache=True)
def _came_from(back: Any, low: Any, offset: Any, first: Any, before: Any, t: int, node: int) -> int:
    pick = back[offset[t] + node - low[t]]
    return node if pick == 0 else before[first[node] + pick - 1]


@njit(cache=True)
def _shared_past(back: Any, low: Any, offset: Any, first: Any, before: Any, nodes: Any, last: int) -> Any:
    """The latest frame at which all paths that are in `nodes` at frame `last` were in one node, and that node."""
    count = nodes.size
    t = last
    while count > 1 and t > 0:
        kept = 0
        for k in range(count):
            node = _came_from(back, low, offset, first, before, t, nodes[k])
            # Ancestors of rising nodes need not rise: look through those already there.
            known = False
            for m in range(kept - 1, -1, -1):
                if nodes[m] == node:
                    known = True
                    break
            if not known:
                nodes[kept] = node
                kept += 1
        count = kept
        t -= 1
    return (t, nodes[0]) if count == 1 else (-1, -1)


@njit(cache=True)
def _ancestors(
    back: Any, low: Any, offset: Any, first: Any, before: Any, nodes: Any, last: int, frame: int
) -> Any:
    """Where each path that is in `nodes` at frame `last` was at `frame`."""
    for k in range(nodes.size):
        node = nodes[k]
        for t in range(last, frame, -1):
            node = _came_from(back, low, offset, first, before, t, node)
        nodes[k] = node
    return nodes


@njit(cache=True)
def _trace(back: Any, low: Any, offset: Any, first: Any, before: Any, frame: int, node: int) -> Any:
    path = np.empty(frame + 1, np.int32)
    for t in range(frame, 0, -1):
        path[t] = node
        node = _came_from(back, low, offset, first, before, t, node)
    path[0] = node
    return path
