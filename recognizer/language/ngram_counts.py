"""Count n-grams in numbered text with sorted arrays: no dictionary, about 30 bytes a token while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import SENTENCE_END, SENTENCE_START, UNKNOWN

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
_LINES_AT_ONCE = 200_000


@dataclass(frozen=True)
class NgramLevel:
    """The different n-grams of one length, sorted by (parent, word).

    Attributes
    ----------
    parent : int64[n]
        Place of the first n - 1 words in the level below; 0 for single words.
    word : int64[n]
    suffix : int64[n]
        Place of the last n - 1 words in the level below; 0 for single words.
    count : int64[n]
        Occurrences.
    before : int64[n]
        Different words seen before it (what Kneser and Ney count); for the longest n-grams, zero.
    starts_sentence : bool[n]
        Its first word is ``<s>``.
    """

    parent: Int64
    word: Int64
    suffix: Int64
    count: Int64
    before: Int64
    starts_sentence: NDArray[np.bool_]


def word_numbers(words: tuple[str, ...]) -> dict[str, int]:
    """Number by spelling."""
    return {word: i for i, word in enumerate(words)}


def numbered_text(lines: Iterable[str], number: Mapping[str, int]) -> Int32:
    """Return sentences as one array ``<s> w w w </s> <s> ...``; words outside the vocabulary become ``<unk>``."""
    unknown = number[UNKNOWN]
    blocks, block = [], []
    for line in lines:
        block.append("<s> " + line + " </s>")
        if len(block) == _LINES_AT_ONCE:
            blocks.append(_numbered_block(block, number, unknown))
            block = []
    blocks.append(_numbered_block(block, number, unknown))
    return np.concatenate(blocks)


def _numbered_block(block: list[str], number: Mapping[str, int], unknown: int) -> Int32:
    tokens = chain.from_iterable(line.split() for line in block)
    return np.fromiter((number.get(token, unknown) for token in tokens), np.int32)


def count_ngrams(tokens: Int32, order: int, vocabulary: int) -> list[NgramLevel]:
    """Count all n-grams of up to `order` words that lie within a sentence.

    Parameters
    ----------
    tokens : int32[n]
        As :func:`numbered_text` returns them.
    order : int
    vocabulary : int
        Number of word numbers, words that do not occur included.
    """
    ends = tokens.astype(np.int64)
    single = np.bincount(tokens, minlength=vocabulary)
    nothing = np.zeros(vocabulary, np.int64)
    is_start = np.arange(vocabulary) == SENTENCE_START
    levels = [NgramLevel(nothing, np.arange(vocabulary), nothing, single, nothing, is_start)]
    within = tokens != SENTENCE_START
    for _ in range(2, order + 1):
        inside = np.flatnonzero(within[1:] & (ends[:-1] >= 0)) + 1
        keys = ends[inside - 1] * vocabulary + tokens[inside]
        by_key = np.argsort(keys, kind="stable")
        ordered = keys[by_key]
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, bool)
        group_first = np.flatnonzero(new)
        unique = ordered[group_first]
        of_sorted = np.cumsum(new) - 1
        suffix = ends[inside[by_key[group_first]]]
        next_ends = np.full(len(tokens), -1, np.int64)
        next_ends[inside[by_key]] = of_sorted
        count = np.diff(np.concatenate([group_first, [len(ordered)]]))
        below = levels[-1]
        levels[-1] = NgramLevel(
            below.parent, below.word, below.suffix, below.count,
            np.bincount(suffix, minlength=len(below.word)), below.starts_sentence,
        )  # fmt: skip
        parent = unique // vocabulary
        levels.append(
            NgramLevel(
                parent,
                unique % vocabulary,
                suffix,
                count,
                np.zeros(len(unique), np.int64),
                levels[-1].starts_sentence[parent],
            )
        )
        ends = next_ends
    return levels


def sentence_count(tokens: Int32) -> int:
    """Number of sentences in numbered text."""
    return int((tokens == SENTENCE_END).sum())
