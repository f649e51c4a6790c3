"""A big back-off model for rescoring: quantised, in flat arrays, memory-mapped and shared by the workers.

``pack`` makes one LZMA file to ship (18 to 22 bits an n-gram), ``unpack`` a folder of arrays that ``load`` maps.
A state is a node of the trie: the longest part of the history that the model continues. Word numbers are the model's
own; ``word_numbers`` maps those of a recognition graph.

Probabilities and back-off weights are replaced by one of ``LEVELS`` values per length of n-gram (:func:`quantised`);
those of single words, which everything backs off to, by one of 256.
"""

from __future__ import annotations

import json
import lzma
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.language.backoff_model import (
    MARKS,
    NEVER,
    NO_WORD,
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN,
    BackoffModel,
)

MAGIC = b"CWNGRAM1"
LEVELS = 64
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 3, "lp": 0, "pb": 0}]
_LENGTH = struct.Struct("<I")
_ARRAYS = ("level", "word", "first", "suffix", "log_probability", "log_backoff")
_WORDS = "words.txt"
_MOST_CHUNK_BYTES = 256 << 20

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


class CompactModelError(ValueError):
    """A packed model is damaged or of another version; the message is one whole sentence."""


@dataclass(frozen=True)
class CompactModel:
    """See the module. All arrays are read only and may be memory maps.

    Attributes
    ----------
    words : tuple of str
        Spelling by the model's word number; the marks first, see :mod:`recognizer.language.backoff_model`.
    level : int64[order + 1]
    word : int32[nodes]
    first : int64[internal + 1]
        Continuations of each node below the highest level.
    suffix : int32[internal]
        State after dropping a node's first word; for single words the empty state.
    log_probability : float32[nodes]
    log_backoff : float32[internal]
    """

    words: tuple[str, ...]
    level: Int64
    word: Int32
    first: Int64
    suffix: Int32
    log_probability: Float32
    log_backoff: Float32

    @classmethod
    def of(cls, model: BackoffModel) -> CompactModel:
        """Return the model unquantised, in single precision: for the small model that a graph was built from."""
        return cls(
            model.words, model.level, model.word, model.first,
            _suffixes(model.level, model.word, model.parent, model.first),
            model.log_probability.astype(np.float32), model.log_backoff.astype(np.float32),
        )  # fmt: skip

    def restored(self) -> BackoffModel:
        """Return a back-off model of the same n-grams and values, to measure or to write; frequencies are unknown."""
        internal = int(self.level[-2])
        parent = np.full(int(self.level[-1]), -1, np.int32)
        parent[self.level[1] :] = np.repeat(np.arange(internal, dtype=np.int32), np.diff(self.first))
        return BackoffModel(
            self.words, self.level, self.word, parent, self.first,
            self.log_probability.astype(np.float64), self.log_backoff.astype(np.float64), np.zeros(internal),
        )  # fmt: skip

    @property
    def start(self) -> int:
        """State at the start of a sentence."""
        return SENTENCE_START

    def step(self, state: int, word: int) -> tuple[int, float]:
        """Return the state after `word` (a number of the model's) and the word's natural log probability.

        Words outside the model's vocabulary have the number of ``<unk>`` (:meth:`word_numbers`).
        """
        after, value = step(
            state, word, self.word, self.first, self.suffix, self.log_probability, self.log_backoff
        )
        return int(after), float(value)

    def end(self, state: int) -> float:
        """Log probability that the sentence ends here."""
        return self.step(state, SENTENCE_END)[1]

    def word_numbers(self, words: Sequence[str]) -> Int32:
        """Number of each spelling, that of ``<unk>`` for one the model lacks, 0 for ``<eps>``: int32[words]."""
        number = {word: i for i, word in enumerate(self.words)}
        unknown = number.get(UNKNOWN, NO_WORD)
        return np.array([number.get(word, unknown) for word in words], np.int32)

    def sentence_log_probability(self, words: Sequence[str]) -> float:
        """Log probability of a whole sentence, its end included."""
        state, total = self.start, 0.0
        for number in self.word_numbers(words).tolist():
            state, value = self.step(state, number)
            total += value
        return total + self.end(state)


EMPTY_STATE = 0


@njit(cache=True)
def step(
    state: int,
    wanted: int,
    word: Int32,
    first: Int64,
    suffix: Int32,
    log_probability: Float32,
    log_backoff: Float32,
) -> tuple[int, float]:
    """Jitted :meth:`CompactModel.step`; call it from other kernels.

    The longest n-gram gives the probability, the longest one that can be continued the next state.
    """
    internal = len(suffix)
    given, value, found = 0.0, 0.0, False
    node = state
    while node != 0:
        low, high = first[node], first[node + 1]
        end = high
        while low < high:
            middle = (low + high) // 2
            if word[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        if low < end and word[low] == wanted:
            if not found:
                value, found = given + log_probability[low], True
            if low < internal:
                return _useful(low, first, suffix, log_backoff), value
        if not found:
            given += log_backoff[node]
        node = suffix[node]
    if not found:
        value = given + log_probability[wanted]
    return _useful(wanted, first, suffix, log_backoff), value


@njit(cache=True)
def _useful(node: int, first: Int64, suffix: Int32, log_backoff: Float32) -> int:
    """The node, or its longest suffix with continuations: states that cannot differ any more are one."""
    while node != 0 and first[node] == first[node + 1] and log_backoff[node] == 0.0:
        node = suffix[node]
    return node


@njit(cache=True)
def _suffixes(level: Int64, word: Int32, parent: Int32, first: Int64) -> Int32:
    internal = level[len(level) - 2]
    suffix = np.zeros(internal, np.int32)
    for node in range(level[1], internal):
        wanted, below = word[node], suffix[parent[node]]
        while True:
            if below == 0:
                suffix[node] = wanted
                break
            low, high = first[below], first[below + 1]
            end = high
            while low < high:
                middle = (low + high) // 2
                if word[middle] < wanted:
                    low = middle + 1
                else:
                    high = middle
            if low < end and word[low] == wanted:
                suffix[node] = low
                break
            below = suffix[below]
    return suffix


def quantised(values: NDArray[np.float64], levels: int = LEVELS) -> tuple[NDArray[np.uint8], Float32]:
    """Return the code of each value and the values of the codes: uint8[n], float32[at most `levels`].

    Codes are equally wide steps, each standing for the mean of what falls into it, so that no value moves by more
    than a step. (Equally full steps would put the few frequent words, whose values lie far apart, into one.) 0 and
    ``NEVER`` keep codes of their own.
    """
    special = np.unique(values[(values == 0.0) | (values <= NEVER)])
    rest = values[(values != 0.0) & (values > NEVER)]
    table = special
    if len(rest):
        low, high = float(rest.min()), float(rest.max())
        steps = levels - len(special)
        place = np.minimum(((rest - low) * (steps / max(high - low, 1e-9))).astype(np.int64), steps - 1)
        count = np.bincount(place, minlength=steps)
        mean = np.bincount(place, rest, steps)[count > 0] / count[count > 0]
        table = np.unique(np.concatenate([special, mean]))
    between = (table[1:] + table[:-1]) / 2
    codes = np.searchsorted(between, values)
    exact = (values == 0.0) | (values <= NEVER)
    codes[exact] = np.searchsorted(table, values[exact])
    return codes.astype(np.uint8), table.astype(np.float32)


def pack(model: BackoffModel, levels: int = LEVELS) -> bytes:
    """Return a model as bytes to ship, with so many (at most 256) different values per length of n-gram."""
    chunks = [json.dumps({"level": model.level.tolist()}).encode(), "\n".join(model.words).encode()]
    counts = np.diff(model.first)[: model.level[-2]] if model.order > 1 else np.zeros(0, np.int64)
    for order in range(1, model.order + 1):
        begin, end = int(model.level[order - 1]), int(model.level[order])
        fine = 256 if order == 1 else levels
        codes, table = quantised(np.maximum(model.log_probability[begin:end], NEVER), fine)
        chunks += [table.tobytes(), codes.tobytes()]
        if order > 1:
            chunks += _planes(_gaps(model.word[begin:end], model.parent[begin:end]))
        if order < model.order:
            codes, table = quantised(model.log_backoff[begin:end], fine)
            chunks += [table.tobytes(), codes.tobytes(), *_planes(counts[begin:end])]
    packed = [lzma.compress(chunk, lzma.FORMAT_RAW, filters=_FILTERS) for chunk in chunks]
    return MAGIC + b"".join(_LENGTH.pack(len(chunk)) + chunk for chunk in packed)


def _gaps(word: Int32, parent: Int32) -> Int64:
    """Differences between neighbouring words of one history; the first word as it is."""
    same = np.concatenate([[False], parent[1:] == parent[:-1]])
    return word.astype(np.int64) - np.where(same, np.concatenate([[0], word[:-1]]), 0)


def _planes(values: Int64) -> list[bytes]:
    return [((values >> shift) & 255).astype(np.uint8).tobytes() for shift in (0, 8, 16)]


def _joined(planes: Sequence[bytes]) -> Int64:
    parts = [np.frombuffer(plane, np.uint8).astype(np.int64) for plane in planes]
    return parts[0] | parts[1] << 8 | parts[2] << 16


def unpacked(data: bytes) -> CompactModel:
    """Return the model that :func:`pack` made bytes of.

    Raises
    ------
    CompactModelError
        If the bytes are no packed model, or damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CompactModelError("The packed language model has another format than this version reads.")
    try:
        return _unpacked(_Chunks(data))
    except (lzma.LZMAError, struct.error, ValueError, IndexError, KeyError, TypeError) as error:
        raise CompactModelError("The packed language model is damaged.") from error


class _Chunks:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), len(MAGIC)

    def next(self) -> bytes:
        (length,) = _LENGTH.unpack_from(self._data, self._at)
        self._at += _LENGTH.size + length
        opened = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        chunk = opened.decompress(bytes(self._data[self._at - length : self._at]), _MOST_CHUNK_BYTES)
        if not opened.eof:  # cut short, or larger than any model is
            raise ValueError
        return chunk

    def values(self) -> Float32:
        table = np.frombuffer(self.next(), np.float32)
        return table[np.frombuffer(self.next(), np.uint8)]

    def integers(self) -> Int64:
        return _joined([self.next() for _ in range(3)])


def _unpacked(chunks: _Chunks) -> CompactModel:
    level = np.array(json.loads(chunks.next())["level"], np.int64)
    words = tuple(chunks.next().decode().split("\n"))
    if words[: len(MARKS)] != MARKS or len(words) != level[1] or (np.diff(level) < 0).any():
        raise ValueError
    order = len(level) - 1
    probabilities, backoffs, counts = [], [], []
    word = [np.arange(level[1])]
    parent = [np.full(level[1], -1, np.int64)]
    for n in range(1, order + 1):
        probabilities.append(chunks.values())
        if n > 1:
            gaps, parents = chunks.integers(), parent[-1]
            word.append(_from_gaps(gaps, parents))
        if n < order:
            backoffs.append(chunks.values())
            counts.append(chunks.integers())
            parent.append(np.repeat(np.arange(level[n - 1], level[n]), counts[-1]))
    first = np.concatenate([[level[1]], level[1] + np.cumsum(np.concatenate(counts))])
    all_words, all_parents = np.concatenate(word).astype(np.int32), np.concatenate(parent).astype(np.int32)
    probability, backoff = np.concatenate(probabilities), np.concatenate(backoffs)
    whole = len(probability) == len(all_words) == level[-1] == first[-1] and len(backoff) == level[-2]
    # Level by level: kernels trust what they are given.
    whole &= level[0] == 0 and [len(own) for own in word] == np.diff(level).tolist()
    whole &= [len(own) for own in counts] == np.diff(level)[:-1].tolist()
    if not whole or all_words.min() < 0 or all_words.max() >= len(words):
        raise ValueError
    if not (np.isfinite(probability).all() and np.isfinite(backoff).all()):
        raise ValueError
    suffix = _suffixes(level, all_words, all_parents, first)
    return CompactModel(words, level, all_words, first, suffix, probability, backoff)


def _from_gaps(gaps: Int64, parents: Int64) -> Int64:
    starts = np.concatenate([[True], parents[1:] != parents[:-1]]) if len(parents) else np.zeros(0, bool)
    sums = np.cumsum(gaps)
    before = (sums - gaps)[np.flatnonzero(starts)]
    return sums - before[np.cumsum(starts) - 1] if len(gaps) else sums


def save(model: CompactModel, folder: Path) -> None:
    """Write a model as files that :func:`load` maps."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(model, name))
    (folder / _WORDS).write_text("\n".join(model.words), "utf-8")


def load(folder: Path) -> CompactModel:
    """Map a model that :func:`save` wrote.

    Raises
    ------
    CompactModelError
        If a file is missing or damaged.
    """
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        words = tuple((folder / _WORDS).read_text("utf-8").split("\n"))
    except (OSError, ValueError, EOFError) as error:
        raise CompactModelError("The language model for rescoring cannot be read.") from error
    return CompactModel(words=words, **arrays)
