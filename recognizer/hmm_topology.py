"""The HMM behind a phone: which output of the acoustic model scores which frame of it.

"Chain" topology: a phone takes at least one frame. Phones are told apart by their left neighbour; (left, phone) is
clustered into *leaves*. Leaf ``l`` has two outputs ("pdfs"): ``2 l`` scores a phone's first frame, ``2 l + 1`` every
further one. After each frame it goes on with the leaf's self-loop probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.flat_fst import FlatFst
from recognizer.graph import Graph, graph_from_arcs

NO_PHONE = 0
_MOST_COPIED = 6


@dataclass(frozen=True)
class HmmTopology:
    """Phones, leaves, and how long they last.

    Attributes
    ----------
    phones : tuple of str
        Phone ``i + 1`` is ``phones[i]``; phone 0 is "no left neighbour". The first one is silence.
    leaf : int16[phones + 1, phones + 1]
        Leaf by left neighbour and phone. Column 0 has no meaning.
    self_loop : float32[leaves]
        Probability of one more frame.
    """

    phones: tuple[str, ...]
    leaf: NDArray[np.int16]
    self_loop: NDArray[np.float32]

    def __post_init__(self) -> None:
        side = len(self.phones) + 1
        if self.leaf.shape != (side, side):
            raise ValueError(
                f"The table of leaves has shape {self.leaf.shape}, {len(self.phones)} phones need {(side, side)}."
            )
        if int(self.leaf[:, 1:].max()) != self.leaves - 1 or int(self.leaf[:, 1:].min()) < 0:
            raise ValueError("The table of leaves and the self-loop probabilities do not belong together.")
        if not ((self.self_loop > 0) & (self.self_loop < 1)).all():
            raise ValueError("Self-loop probabilities must lie between zero and one.")

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return len(self.self_loop)

    @property
    def pdfs(self) -> int:
        """Number of acoustic model outputs."""
        return 2 * self.leaves

    @property
    def silence_pdfs(self) -> tuple[int, ...]:
        """Outputs that score silence."""
        leaves = sorted({int(leaf) for leaf in self.leaf[:, 1]})
        return tuple(pdf for leaf in leaves for pdf in (2 * leaf, 2 * leaf + 1))

    @classmethod
    def load(cls, acoustic: Path, phones: Sequence[str]) -> HmmTopology:
        """Read ``leaf`` and ``self_loop`` from an acoustic model's file."""
        with np.load(acoustic, allow_pickle=False) as arrays:
            leaf = arrays["leaf"].astype(np.int16)
            leaf[:, NO_PHONE] = 0
            return cls(tuple(phones), leaf, arrays["self_loop"].astype(np.float32))


def add_self_loops(fst: FlatFst, topology: HmmTopology, words: Sequence[str]) -> Graph:
    """Let every phone last: turn a graph with one arc per phone into one with a path per duration.

    Parameters
    ----------
    fst : FlatFst
        Input labels are leaf + 1, 0 for none; output labels are word ids.
    topology : HmmTopology
    words : sequence of str

    Notes
    -----
    The state behind an arc gets the loop of the arc's leaf. Where arcs of different leaves meet in a state, each leaf
    gets a state of its own with copies of the arcs that lead on; only where these are many, or arcs without input
    lead into the state too, an arc without labels leads from there to them.
    """
    states = len(fst.final)
    emitting = fst.input > 0
    key = fst.target[emitting] * (topology.leaves + 1) + fst.input[emitting]
    entries, entry = np.unique(key, return_inverse=True)
    entered, leaf = entries // (topology.leaves + 1), entries % (topology.leaves + 1) - 1

    silent_entry = np.zeros(states, np.bool_)
    silent_entry[fst.target[~emitting]] = True
    silent_entry[fst.start] = True
    onward = np.bincount(fst.source, minlength=states)
    few = (onward <= _MOST_COPIED) | (np.bincount(entered, minlength=states) == 1)
    direct = (few & ~silent_entry)[entered]
    first = np.concatenate([[True], entered[1:] != entered[:-1]])[: len(entered)]
    stays = direct & first
    extra = int((~stays).sum())
    looping = np.where(stays, entered, 0)
    looping[~stays] = states + np.arange(extra)

    target = fst.target.copy()
    target[emitting] = looping[entry]
    stay = -np.log(topology.self_loop[leaf])
    leave = -np.log1p(-topology.self_loop[leaf])
    leaving = np.zeros(states, np.float32)
    leaving[entered[stays]] = leave[stays]
    pdf = np.where(emitting, 2 * (fst.input - 1), -1)
    copied = np.flatnonzero(direct & ~first)
    arcs, copies = _arcs_of(entered[copied], fst.source, onward)
    linked = ~direct
    final = np.full(extra, np.inf, np.float32)
    final[looping[copied] - states] = fst.final[entered[copied]] + leave[copied]
    none = np.zeros(len(entries), np.int64)
    return graph_from_arcs(
        source=np.concatenate([fst.source, looping[copied][copies], looping, looping[linked]]),
        target=np.concatenate([target, target[arcs], looping, entered[linked]]),
        pdf=np.concatenate([pdf, pdf[arcs], 2 * leaf + 1, none[linked] - 1]),
        word=np.concatenate([fst.output, fst.output[arcs], none, none[linked]]),
        weight=np.concatenate(
            [fst.weight + leaving[fst.source], fst.weight[arcs] + leave[copied][copies], stay, leave[linked]]
        ).astype(np.float32),
        final=np.concatenate([fst.final + leaving, final]).astype(np.float32),
        start=fst.start,
        pdfs=topology.pdfs,
        silence_pdfs=topology.silence_pdfs,
        words=words,
    )


def _arcs_of(
    wanted: NDArray[np.int64], source: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the arcs that leave the states `wanted`, and for each the place of its state among them."""
    by_source = np.argsort(source, kind="stable")
    begin = np.cumsum(counts) - counts
    number = counts[wanted]
    place = np.repeat(np.arange(len(wanted)), number)
    within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    return by_source[begin[wanted][place] + within], place
