"""Word error rate: the least number of substitutions, deletions and insertions between two texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})
_BETWEEN_WORDS = re.compile(r"[-–—/_]")
_PUNCTUATION = re.compile(r"[^\w\s']")
_ONLY_APOSTROPHES = re.compile(r"^'+$")


@dataclass(frozen=True)
class WordErrors:
    """Counts; they can be added.

    Attributes
    ----------
    words : int
        Words that were said.
    substitutions, deletions, insertions : int
    """

    words: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per word said; may exceed 1; 0 where nothing was said and nothing recognised."""
        if not self.words:
            return float(self.errors > 0)
        return self.errors / self.words


def normalised_words(text: str) -> list[str]:
    """Return the words of `text` as they are compared.

    Lower case; punctuation goes, apostrophes stay; a hyphen or slash separates words. Numbers stay as written.
    """
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    text = _PUNCTUATION.sub("", _BETWEEN_WORDS.sub(" ", text))
    return [word for word in text.split() if not _ONLY_APOSTROPHES.match(word)]


def count_errors(said: Sequence[str], recognised: Sequence[str]) -> WordErrors:
    """Align two word sequences with the fewest errors and count them.

    Of alignments with equally many errors the one with the most substitutions is taken, as sclite's costs do.
    """
    number: dict[str, int] = {}
    reference = np.array([number.setdefault(word, len(number)) for word in said], np.int64)
    hypothesis = np.array([number.setdefault(word, len(number)) for word in recognised], np.int64)
    substitutions, deletions, insertions = _align(reference, hypothesis)
    return WordErrors(len(reference), int(substitutions), int(deletions), int(insertions))


@njit(cache=True)
def _align(reference: NDArray[np.int64], hypothesis: NDArray[np.int64]) -> tuple[int, int, int]:
    """Levenshtein distance, row by row; each cell carries its errors and how many of them are not substitutions."""
    columns = len(hypothesis) + 1
    above = np.empty((columns, 3), np.int64)  # substitutions, deletions, insertions
    row = np.empty((columns, 3), np.int64)
    for j in range(columns):
        above[j, 0], above[j, 1], above[j, 2] = 0, 0, j
    for i in range(len(reference)):
        row[0, 0], row[0, 1], row[0, 2] = 0, i + 1, 0
        for j in range(1, columns):
            wrong = 0 if reference[i] == hypothesis[j - 1] else 1
            through = above[j - 1].sum() + wrong
            down = above[j].sum() + 1
            right = row[j - 1].sum() + 1
            if through <= down and through <= right:
                row[j] = above[j - 1]
                row[j, 0] += wrong
            elif down <= right:
                row[j] = above[j]
                row[j, 1] += 1
            else:
                row[j] = row[j - 1]
                row[j, 2] += 1
        above, row = row, above
    return above[-1, 0], above[-1, 1], above[-1, 2]
