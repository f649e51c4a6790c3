"""Which letters of a word make which of its phones: joint units ("graphones") found by expectation maximisation.

A graphone is one letter with no, one or two phones, or two letters with one phone. Their probabilities are learnt so
that the dictionary as a whole becomes likely; then each word is cut in its likeliest way. (Bisani and Ney: "Joint-
sequence models for grapheme-to-phoneme conversion", Speech Communication 50, 2008, with the unigram EM of
Jiampojamarn et al., 2007, for many-to-many alignments.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]

LETTERS = "'abcdefghijklmnopqrstuvwxyz"
SIDE = len(LETTERS) + 1
"""Base of letter pairs; letters count from 1."""

_FLOOR = 1e-12


@dataclass(frozen=True)
class Spelled:
    """Words as numbers, one behind the other.

    Attributes
    ----------
    letters, phones : int32[...]
        Letters count from 1 in ``LETTERS``, phones from 1.
    first_letter, first_phone : int32[words + 1]
    """

    letters: Int32
    first_letter: Int32
    phones: Int32
    first_phone: Int32

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, Sequence[int]]]) -> Spelled:
        """Pack (word, phones); every character of a word must be in ``LETTERS``."""
        letters = [LETTERS.index(c) + 1 for word, _ in pairs for c in word]
        phones = [phone for _, one in pairs for phone in one]
        return cls(
            np.array(letters, np.int32),
            np.cumsum([0, *(len(word) for word, _ in pairs)]).astype(np.int32),
            np.array(phones, np.int32),
            np.cumsum([0, *(len(one) for _, one in pairs)]).astype(np.int32),
        )


def align(
    words: Spelled, phones: int, rounds: int = 12, progress: Callable[[], None] = lambda: None
) -> list[Int32]:
    """Return each word's graphones; none for a word that cannot be cut so (two phones per letter at most).

    Parameters
    ----------
    words : Spelled
    phones : int
        Highest phone number.
    rounds : int
        Of expectation maximisation.
    progress : callable
        Called after each round.

    Returns
    -------
    list of int32[graphones]
        ``letters * (phones + 1) ** 2 + sounds`` with letters ``a * SIDE + b`` (b 0: one letter) and sounds
        ``p * (phones + 1) + q`` (0: none).
    """
    side = phones + 1
    table = np.full((SIDE * SIDE, side * side), 1.0)
    for _ in range(rounds):
        counts = np.zeros_like(table)
        _expect(words.letters, words.first_letter, words.phones, words.first_phone, side, table, counts)
        table = np.maximum(counts / max(_FLOOR, counts.sum()), _FLOOR)
        progress()
    with np.errstate(divide="ignore"):
        costs = -np.log(table)
    flat, lengths = _cut(words.letters, words.first_letter, words.phones, words.first_phone, side, costs)
    return np.split(flat, np.cumsum(lengths)[:-1])


@njit(cache=True)
def _unit(letters: Int32, i: int, two: int, phones: Int32, j: int, sounds: int, side: int) -> tuple[int, int]:
    a = letters[i] * SIDE + (letters[i + 1] if two else 0)
    if sounds == 0:
        return a, 0
    return a, phones[j] * side + (phones[j + 1] if sounds == 2 else 0)


@njit(cache=True)
def _expect(
    letters: Int32,
    first_letter: Int32,
    phones: Int32,
    first_phone: Int32,
    side: int,
    table: Float64,
    counts: Float64,
) -> None:
    """Add each word's expected numbers of graphones to `counts`: forward-backward on letters by phones."""
    for w in range(len(first_letter) - 1):
        word = letters[first_letter[w] : first_letter[w + 1]]
        spoken = phones[first_phone[w] : first_phone[w + 1]]
        n, m = len(word), len(spoken)
        ahead, behind = np.zeros((n + 1, m + 1)), np.zeros((n + 1, m + 1))
        ahead[0, 0] = behind[n, m] = 1.0
        for i in range(n):
            for j in range(m + 1):
                if ahead[i, j] == 0.0:
                    continue
                for move in range(4):
                    two, sounds = (1, 1) if move == 3 else (0, move)
                    if i + 1 + two <= n and j + sounds <= m:
                        a, b = _unit(word, i, two, spoken, j, sounds, side)
                        ahead[i + 1 + two, j + sounds] += ahead[i, j] * table[a, b]
        if ahead[n, m] <= 0.0:
            continue
        for i in range(n - 1, -1, -1):
            for j in range(m, -1, -1):
                for move in range(4):
                    two, sounds = (1, 1) if move == 3 else (0, move)
                    if i + 1 + two <= n and j + sounds <= m:
                        a, b = _unit(word, i, two, spoken, j, sounds, side)
                        share = table[a, b] * behind[i + 1 + two, j + sounds]
                        behind[i, j] += share
                        counts[a, b] += ahead[i, j] * share / ahead[n, m]


@njit(cache=True)
def _cut(
    letters: Int32, first_letter: Int32, phones: Int32, first_phone: Int32, side: int, costs: Float64
) -> tuple[Int32, Int32]:
    """Return the cheapest graphones of all words and how many each word has."""
    found = np.empty(len(letters), np.int32)
    lengths = np.zeros(len(first_letter) - 1, np.int32)
    total = 0
    for w in range(len(first_letter) - 1):
        word = letters[first_letter[w] : first_letter[w + 1]]
        spoken = phones[first_phone[w] : first_phone[w + 1]]
        n, m = len(word), len(spoken)
        best = np.full((n + 1, m + 1), np.inf)
        came = np.zeros((n + 1, m + 1), np.int8)
        best[0, 0] = 0.0
        for i in range(n):
            for j in range(m + 1):
                for move in range(4):
                    two, sounds = (1, 1) if move == 3 else (0, move)
                    if i + 1 + two <= n and j + sounds <= m and best[i, j] < np.inf:
                        a, b = _unit(word, i, two, spoken, j, sounds, side)
                        cost = best[i, j] + costs[a, b]
                        if cost < best[i + 1 + two, j + sounds]:
                            best[i + 1 + two, j + sounds], came[i + 1 + two, j + sounds] = cost, move
        if best[n, m] == np.inf:
            continue
        i, j, begin = n, m, total
        while i > 0:
            move = came[i, j]
            two, sounds = (1, 1) if move == 3 else (0, move)
            i, j = i - 1 - two, j - sounds
            a, b = _unit(word, i, two, spoken, j, sounds, side)
            found[total] = a * side * side + b
            total += 1
        found[begin:total] = found[begin:total][::-1].copy()
        lengths[w] = total - begin
    return found[:total], lengths
