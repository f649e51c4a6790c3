"""Keep what a test reads out of what a language model learns.

The index holds every run of ``RUN`` words of the held-out transcripts, hashed to 64 bits. A training sentence that
shares one run is left out. A document (a book, a dialogue) that shares many is what was read aloud for the test, and
is left out as a whole; chance alone gives a long novel a few ("at the end of the day").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recognizer.language.text_sources import Document

RUN = 6
DOCUMENT_RUNS = 12
"""Most shared runs that begin within a hundred words and still count as chance."""
_NEAR = 100
DUPLICATE_RUN = 8
DUPLICATE_SHARE = 0.2
_KEEP_ONE_OF = 64
_PART = re.compile(r"(?i)\([^)]*\)|[,:]? (?:book|part|vol(?:ume)?)\.? \w+.*$")
_MIX = np.uint64(0x9E3779B97F4A7C15)

UInt64 = NDArray[np.uint64]


class WordNumbers:
    """Numbers for words, given in the order in which they come."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def of(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Return int64[words]; a new word gets the next number."""
        number = self._number
        return np.array([number.setdefault(word, len(number)) for word in words], np.int64)


def run_hashes(numbers: NDArray[np.int64], run: int) -> UInt64:
    """Hash every run of `run` numbers: uint64[max(0, numbers - run + 1)]."""
    count = len(numbers) - run + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    hashed = np.zeros(count, np.uint64)
    for i in range(run):
        hashed = (hashed ^ (numbers[i : i + count].astype(np.uint64) + np.uint64(1))) * _MIX
        hashed ^= hashed >> np.uint64(29)
    return hashed


@dataclass
class Screening:
    """What a screening left out."""

    documents_read_in_tests: list[str] = field(default_factory=list)
    duplicate_documents: list[str] = field(default_factory=list)
    sentences_shared: int = 0
    sentences_unspoken: int = 0
    documents: int = 0
    sentences: int = 0
    words: int = 0


class HeldOut:
    """Decides what of the documents may be learned; remembers the documents it has passed, to drop duplicates.

    Parameters
    ----------
    transcripts : iterable of str
        Held-out sentences as spoken words.
    titles : iterable of str
        Titles of held-out books; a document whose name holds one as a whole (letters and digits compared, at least
        eight of them) is left out.
    """

    def __init__(self, transcripts: Iterable[str], titles: Iterable[str] = ()) -> None:
        self._numbers = WordNumbers()
        runs = [run_hashes(self._numbers.of(line.split()), RUN) for line in transcripts]
        self._held = np.unique(np.concatenate([np.zeros(0, np.uint64), *runs]))
        self._titles = {plain for plain in (_letters(_PART.sub("", title)) for title in titles) if len(plain) >= 8}
        self._passed: set[int] = set()

    def screen(self, documents: Iterable[Document], report: Screening) -> Iterator[list[str]]:
        """Yield the sentences that may be learned, one list per document."""
        for document in documents:
            report.documents += 1
            report.sentences_unspoken += sum(sentence is None for sentence in document.sentences)
            lines = [line for line in document.sentences if line]
            if not lines:
                continue
            split = [line.split() for line in lines]
            flat = self._numbers.of([word for words in split for word in words])
            held = self._is_held(run_hashes(flat, RUN))
            if self._is_titled(document.name) or _most_within(held, _NEAR) > DOCUMENT_RUNS:
                report.documents_read_in_tests.append(document.name)
                continue
            if self._is_duplicate(flat):
                report.duplicate_documents.append(document.name)
                continue
            starts = np.cumsum([0, *map(len, split)])
            touched = _touched(held, len(flat))
            shared = touched[starts[1:]] > touched[starts[:-1]]
            kept = [line for line, is_shared in zip(lines, shared, strict=True) if not is_shared]
            report.sentences_shared += len(lines) - len(kept)
            report.sentences += len(kept)
            report.words += sum(line.count(" ") + 1 for line in kept)
            yield kept

    def _is_held(self, hashed: UInt64) -> NDArray[np.bool_]:
        if not len(self._held):
            return np.zeros(len(hashed), bool)
        place = np.minimum(np.searchsorted(self._held, hashed), len(self._held) - 1)
        found: NDArray[np.bool_] = self._held[place] == hashed
        return found

    def _is_titled(self, name: str) -> bool:
        last = _letters(name.rsplit("/", 1)[-1])
        return any(title in last for title in self._titles)

    def _is_duplicate(self, flat: NDArray[np.int64]) -> bool:
        hashed = run_hashes(flat, DUPLICATE_RUN)
        sample = set(hashed[hashed % np.uint64(_KEEP_ONE_OF) == 0].tolist())
        shared = len(sample & self._passed)
        if len(sample) >= 8 and shared > DUPLICATE_SHARE * len(sample):
            return True
        self._passed |= sample
        return False


def _touched(held: NDArray[np.bool_], words: int) -> NDArray[np.int64]:
    """Running count of the words that lie in a shared run: int64[words + 1]."""
    depth = np.zeros(words + 1, np.int64)
    depth[: len(held)] += held
    depth[RUN : RUN + len(held)] -= held[: words + 1 - RUN]
    return np.concatenate([[0], np.cumsum(np.cumsum(depth[:words]) > 0)])


def _most_within(held: NDArray[np.bool_], words: int) -> int:
    """Most shared runs that begin within so many successive words."""
    sums = np.concatenate([[0], np.cumsum(held)])
    window = min(words, len(held))
    return int((sums[window:] - sums[: len(sums) - window]).max())


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
