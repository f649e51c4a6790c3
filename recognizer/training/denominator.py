"""The denominator of LF-MMI: every phone sequence that the training speech makes plausible, over whole chunks.

After Povey et al., "Purely sequence-trained neural networks for ASR based on lattice-free MMI" (Interspeech 2016),
with its *leaky* HMM: after each frame a little probability may jump from any state to any other, in proportion to
the states' stationary probabilities, which stands for everything that the phone model has not seen and lets chunks
begin in the middle of a phone.

A state is a pair (left phone, phone); its arcs are the phone trigrams seen in the alignments, without smoothing: for
a small corpus the sparse model trains better and faster. `LANES` sequences of equal length run side by side, one
in each lane of the processor's vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.hmm_topology import HmmTopology
from recognizer.training.lane_kernels import LANES, UNROLL, add_weighted_rows

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

_SILENCE: Final = 1


@dataclass(frozen=True)
class Arcs:
    """Weighted arcs by row: row ``i`` has the entries ``first[i]`` to ``first[i + 1]``, a multiple of four.

    What is missing to the multiple has weight 0: the kernels take four arcs at a time.
    """

    first: Int32
    state: Int32
    weight: Float32


@dataclass(frozen=True)
class DenominatorGraph:
    """Phone trigram model as an HMM.

    Attributes
    ----------
    leaf : int32[states]
        Leaf of the state's phone in its left context; the outputs are ``2 leaf`` (first frame), ``2 leaf + 1``.
    stay : float32[states]
        Self-loop probability.
    initial : float32[states]
        Stationary probabilities; also the weights of the leaky jumps.
    leaving, entering : Arcs
        The same arcs by source and by target; a weight contains the probability of leaving the source.
    """

    leaf: Int32
    stay: Float32
    initial: Float32
    leaving: Arcs
    entering: Arcs

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.leaf)

    @classmethod
    def of(cls, phone_sequences: Iterable[NDArray[np.integer[Any]]], topology: HmmTopology) -> DenominatorGraph:
        """Count the phone trigrams of aligned utterances.

        Parameters
        ----------
        phone_sequences : iterable of int[phones]
            Phone labels (1 is silence) of each utterance in order.
        topology : HmmTopology

        Raises
        ------
        ValueError
            There is no utterance with two phones.
        """
        counts: Counter[tuple[tuple[int, int], tuple[int, int]]] = Counter()
        for sequence in phone_sequences:
            phones = [int(phone) for phone in sequence]
            if len(phones) < 2:
                continue
            before = (_SILENCE, phones[0])
            for left, phone in pairwise(phones):
                counts[before, (left, phone)] += 1
                before = (left, phone)
        if not counts:
            raise ValueError("The alignments hold no sequence of phones to count.")
        states: dict[tuple[int, int], int] = {}
        for source, target in counts:
            states.setdefault(source, len(states))
            states.setdefault(target, len(states))
        leaf = np.array([topology.leaf[left, phone] for left, phone in states], np.int32)
        stay = topology.self_loop[leaf].astype(np.float64)
        rows = np.array([states[source] for source, _ in counts])
        columns = np.array([states[target] for _, target in counts])
        weights = np.array(list(counts.values()), np.float64)
        weights *= (1.0 - stay[rows]) / np.bincount(rows, weights, len(states))[rows]
        initial = np.full(len(states), 1.0 / len(states))
        for _ in range(100):
            initial = np.bincount(columns, weights * initial[rows], len(states)) + initial * stay
            initial /= initial.sum()
        return cls(
            leaf,
            stay.astype(np.float32),
            initial.astype(np.float32),
            _arcs(rows, columns, weights, len(states)),
            _arcs(columns, rows, weights, len(states)),
        )


def _arcs(rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64], states: int) -> Arcs:
    order = np.lexsort((columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    counts = np.bincount(rows, minlength=states)
    padded = -(-counts // UNROLL) * UNROLL
    first = np.concatenate([[0], np.cumsum(padded)])
    places = np.arange(len(rows)) + np.repeat(first[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    state = np.zeros(first[-1], np.int32)
    weight = np.zeros(first[-1], np.float32)
    state[places], weight[places] = columns, weights
    return Arcs(first.astype(np.int32), state, weight)


class Denominator:
    """Forward-backward over a :class:`DenominatorGraph`; keeps its working arrays between calls.

    Parameters
    ----------
    graph : DenominatorGraph
    leak : float
        Probability mass of the leaky jumps.
    """

    def __init__(self, graph: DenominatorGraph, leak: float = 0.1) -> None:
        self.graph = graph
        self._leak = np.float32(leak)
        self._work: dict[int, tuple[Float32, Float32]] = {}

    def add_posteriors(self, likelihoods: Float32, posteriors: Float32) -> NDArray[np.float64]:
        """Add the posterior of every output in every frame to `posteriors`.

        Parameters
        ----------
        likelihoods : float32[frames, pdfs, LANES]
            Exponentials of the network's outputs, per frame scaled at will.
        posteriors : float32[frames, pdfs, LANES]
            Increased in place; each frame of each lane by 1 in sum.

        Returns
        -------
        float64[LANES]
            Log probability of each lane.
        """
        frames = len(likelihoods)
        if frames not in self._work:
            shape = (frames, self.graph.states, LANES)
            self._work[frames] = np.empty(shape, np.float32), np.empty(shape, np.float32)
        graph = self.graph
        log_probability: NDArray[np.float64] = _forward_backward(
            likelihoods,
            graph.leaving.first,
            graph.leaving.state,
            graph.leaving.weight,
            graph.entering.first,
            graph.entering.state,
            graph.entering.weight,
            graph.leaf,
            graph.stay,
            graph.initial,
            self._leak,
            *self._work[frames],
            posteriors,
        )
        return log_probability


@njit(cache=True, fastmath=True, nogil=True, boundscheck=False)
def _forward_backward(  # type: ignore[no-untyped-def]
    x, out_first, out_state, out_weight, in_first, in_state, in_weight, leaf, stay, initial, leak,
    alpha, entered, posteriors,
):  # fmt: skip
    """alpha: scaled forward probabilities; entered: the part of them that entered its phone in this frame."""
    frames = x.shape[0]
    states = len(leaf)
    log_probability = np.zeros(LANES)
    start = np.empty((states, LANES), np.float32)
    scale = np.empty((frames, LANES), np.float32)
    acc = np.empty(LANES, np.float32)
    total = np.empty(LANES, np.float32)
    for j in range(states):
        for b in range(LANES):
            start[j, b] = initial[j]
    for t in range(frames):
        before = start if t == 0 else alpha[t - 1]
        now = alpha[t]
        new = entered[t]
        for b in range(LANES):
            total[b] = 0
        for j in range(states):
            leaked = leak * initial[j]
            for b in range(LANES):
                acc[b] = leaked
            add_weighted_rows(acc, before, in_state, in_weight, in_first[j], in_first[j + 1])
            pdf = 2 * leaf[j]
            s = stay[j]
            for b in range(LANES):
                value = acc[b] * x[t, pdf, b]
                new[j, b] = value
                value += before[j, b] * s * x[t, pdf + 1, b]
                now[j, b] = value
                total[b] += value
        for b in range(LANES):
            scale[t, b] = np.float32(1) / total[b]
            log_probability[b] += np.log(total[b])
        for j in range(states):
            for b in range(LANES):
                now[j, b] *= scale[t, b]
                new[j, b] *= scale[t, b]
    beta = np.ones((states, LANES), np.float32)
    other = np.empty((states, LANES), np.float32)
    entering = np.empty((states, LANES), np.float32)
    leaked_back = np.empty(LANES, np.float32)
    for t in range(frames - 1, -1, -1):
        now = alpha[t]
        new = entered[t]
        for b in range(LANES):
            total[b] = 0
        for j in range(states):
            for b in range(LANES):
                total[b] += now[j, b] * beta[j, b]
        for b in range(LANES):
            total[b] = np.float32(1) / total[b]
        for j in range(states):
            pdf = 2 * leaf[j]
            for b in range(LANES):
                w = beta[j, b] * total[b]
                first = new[j, b] * w
                posteriors[t, pdf, b] += first
                posteriors[t, pdf + 1, b] += now[j, b] * w - first
        if t == 0:
            break
        for b in range(LANES):
            leaked_back[b] = 0
        for j in range(states):
            pdf = 2 * leaf[j]
            leaked = leak * initial[j]
            for b in range(LANES):
                value = beta[j, b] * x[t, pdf, b]
                entering[j, b] = value
                leaked_back[b] += leaked * value
        for i in range(states):
            for b in range(LANES):
                acc[b] = leaked_back[b]
            add_weighted_rows(acc, entering, out_state, out_weight, out_first[i], out_first[i + 1])
            pdf = 2 * leaf[i] + 1
            s = stay[i]
            for b in range(LANES):
                other[i, b] = (acc[b] + s * beta[i, b] * x[t, pdf, b]) * scale[t, b]
        beta, other = other, beta
    return log_probability
