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
    """Align two word sequences with the fewest errors and count them; see :func:`align_words`."""
    edits = align_words(said, recognised)
    of_said, of_heard = edits[:, 0], edits[:, 1]
    deletions, insertions = int((of_heard < 0).sum()), int((of_said < 0).sum())
    wrong = sum(said[i] != recognised[j] for i, j in edits if i >= 0 and j >= 0)
    return WordErrors(len(said), wrong, deletions, insertions)


def align_words(said: Sequence[str], recognised: Sequence[str]) -> NDArray[np.int32]:
    """Align two word sequences with the fewest errors.

    Of alignments with equally many errors the one with the most substitutions is taken, as sclite's costs do.

    Returns
    -------
    int32[edits, 2]
        Places in `said` and in `recognised` that stand opposite each other, in order; -1 in the second column is a
        deletion, in the first an insertion. Together the places that are not -1 count each sequence through once.
    """
    number: dict[str, int] = {}
    reference = np.array([number.setdefault(word, len(number)) for word in said], np.int64)
    hypothesis = np.array([number.setdefault(word, len(number)) for word in recognised], np.int64)
    return np.asarray(_align(reference, hypothesis), np.int32)


@njit(cache=True)
def _align(reference: NDArray[np.int64], hypothesis: NDArray[np.int64]) -> NDArray[np.int32]:
    """Levenshtein's distance, row by row, with the way back."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    came = np.empty((rows, columns), np.int8)  # 0 through both, 1 over a said word, 2 over a recognised one
    above = np.arange(columns)
    row = np.empty(columns, np.int64)
    came[0, :] = 2
    for i in range(1, rows):
        row[0] = i
        came[i, 0] = 1
        for j in range(1, columns):
            through = above[j - 1] + (0 if reference[i - 1] == hypothesis[j - 1] else 1)
            down = above[j] + 1
            right = row[j - 1] + 1
            if through <= down and through <= right:
                row[j] = through
                came[i, j] = 0
            elif down <= right:
                row[j] = down
                came[i, j] = 1
            else:
                row[j] = right
                came[i, j] = 2
        above, row = row, above
    edits = np.full((rows + columns, 2), -1, np.int32)
    i, j, at = rows - 1, columns - 1, len(edits)
    while i > 0 or j > 0:
        at -= 1
        step = came[i, j]
        if step != 2:
            i -= 1
            edits[at, 0] = i
        if step != 1:
            j -= 1
            edits[at, 1] = j
    return edits[at:]
