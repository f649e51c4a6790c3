"""How probable it is that a phrase was said in a span of time, whatever the best guess is.

The phrase is laid over the whole lattice: the sum over all paths that contain it, by the lattice's costs, divided by
the sum over all paths. A path with the phrase in two places counts once: while paths are summed up, what of the
phrase each of them may stand in is kept as a set of positions (the subset construction, on the fly), so the result
is exact, not a bound.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.lattice import Lattice
from recognizer.lattice_posteriors import log_add

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_POSITIONS = 62
_MATCHED = np.int64(1) << 62


@dataclass(frozen=True)
class Phrase:
    """What to look for.

    Attributes
    ----------
    words : tuple of tuples of int
        Per place of the phrase the word ids that may stand there.
    most_between : int
        Up to so many words may stand between two places ...
    fillers : frozenset of int, optional
        ... if they are among these; None: any words.
    """

    words: tuple[tuple[int, ...], ...]
    most_between: int = 0
    fillers: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if not self.words or not all(self.words):
            raise ValueError("A phrase needs at least one word in each of its places.")
        if self.most_between < 0 or len(self.words) * (self.most_between + 1) > _POSITIONS:
            raise ValueError(f"A phrase has at most {_POSITIONS} positions, places times words between counted.")

    @classmethod
    def of(
        cls, spellings: Sequence[str], number: dict[str, int], most_between: int = 0, fillers: Collection[str] = ()
    ) -> Phrase | None:
        """Return the phrase of `spellings`; None if a word is not in `number` (spelling to word id)."""
        if any(spelling not in number for spelling in spellings):
            return None
        known = frozenset(number[filler] for filler in fillers if filler in number) if fillers else None
        return cls(tuple((number[spelling],) for spelling in spellings), most_between, known)


def phrase_posterior(
    lattice: Lattice,
    phrase: Phrase,
    first_frame: int = 0,
    end_frame: int | None = None,
    scale: float = 0.5,
) -> float:
    """Return the probability that `phrase` was said within a span.

    Parameters
    ----------
    lattice : Lattice
    phrase : Phrase
    first_frame, end_frame : int, optional
        Only words that are told apart (``lattice.frames`` of the node they lead to) from `first_frame` on and before
        `end_frame` count, also those between the phrase's. Leave a margin of about a word on either side.
    scale : float
        Of all costs; 0.5 as for the confidence, 1 for the search's own (overconfident) sums.
    """
    arcs = lattice.arcs
    wanted = sorted({word for place in phrase.words for word in place})
    present = np.isin(wanted, arcs["word"])
    if not all(any(present[wanted.index(word)] for word in place) for place in phrase.words):
        return 0.0
    stride = phrase.most_between + 1
    fits = np.zeros(len(arcs), np.int64)
    for i, place in enumerate(phrase.words):
        fits[np.isin(arcs["word"], place)] |= np.int64(1) << i
    filler = np.ones(len(arcs), np.bool_)
    if phrase.fillers is not None:
        filler = np.isin(arcs["word"], sorted(phrase.fillers))
    moments = lattice.frames[arcs["target"]]
    inside = (moments >= first_frame) & (moments < (lattice.heard + 1 if end_frame is None else end_frame))
    matched, total = _matched(
        arcs,
        lattice.first_arcs(),
        lattice.arc_costs(scale),
        lattice.final_costs(scale),
        fits,
        filler,
        inside,
        len(phrase.words),
        stride,
    )
    return math.exp(min(0.0, matched - total)) if math.isfinite(total) else 0.0


@njit(cache=True)
def _advanced(positions: Any, fits: Any, filler: Any, places: Any, stride: Any) -> Any:
    """Positions after a word. Bit ``i * stride + g``: `i` places are filled (at least one), `g` words since."""
    one = np.int64(1)
    after = np.int64(0)
    if fits & one:
        if places == 1:
            return _MATCHED
        after |= one << stride
    for i in range(1, places):
        for g in range(stride):
            if positions & (one << (i * stride + g)):
                if fits & (one << i):
                    if i + 1 == places:
                        return _MATCHED
                    after |= one << ((i + 1) * stride)
                if filler and g + 1 < stride:
                    after |= one << (i * stride + g + 1)
    return after


@njit(cache=True)
def _matched(
    arcs: Any,
    first: Any,
    costs: Float64,
    finals: Float64,
    fits: Int64,
    filler: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    places: int,
    stride: int,
) -> tuple[float, float]:
    """Log of the summed weights of the paths with the phrase, and of all paths."""
    size = 1024
    positions, weight, sibling = np.zeros(size, np.int64), np.zeros(size), np.full(size, -1, np.int64)
    chain = np.full(len(finals), -1, np.int64)
    chain[0] = 0
    items = 1
    matched, total = -np.inf, -np.inf
    for n in range(len(finals)):
        item = chain[n]
        while item >= 0:
            ended = weight[item] - finals[n]
            total = log_add(total, ended)
            if positions[item] == _MATCHED:
                matched = log_add(matched, ended)
            for a in range(first[n], first[n + 1]):
                if positions[item] == _MATCHED:
                    after = _MATCHED
                elif inside[a]:
                    after = _advanced(positions[item], fits[a], filler[a], places, stride)
                else:
                    after = np.int64(0)
                to = arcs[a].target
                there = chain[to]
                while there >= 0 and positions[there] != after:
                    there = sibling[there]
                if there < 0:
                    if items == size:
                        size *= 2
                        positions = np.concatenate((positions, np.zeros(items, np.int64)))
                        weight = np.concatenate((weight, np.zeros(items)))
                        sibling = np.concatenate((sibling, np.full(items, -1, np.int64)))
                    there = items
                    items += 1
                    positions[there], weight[there] = after, -np.inf
                    sibling[there] = chain[to]
                    chain[to] = there
                weight[there] = log_add(weight[there], weight[item] - costs[a])
            item = sibling[item]
    return matched, total
