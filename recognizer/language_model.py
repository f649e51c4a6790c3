"""A back-off n-gram model of up to three words as sorted arrays, read from an ARPA file or a packed model (``.lm``).

Words are numbered: 0 is no word, 1 is ``<s>``, 2 is ``</s>``, the others follow in alphabetical order. With ``n`` such
numbers the pair (a, b) has the key ``a * n + b``, the triple (a, b, c) ``(a * n + b) * n + c``. Probabilities and
back-off weights are natural logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.language.compact_model import CompactModel, CompactModelError, unpacked
from recognizer.lexicon import LexiconError, read_text

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NO_WORD, SENTENCE_START, SENTENCE_END, FIRST_WORD = 0, 1, 2, 3
MARKS = ("<eps>", "<s>", "</s>")
_NEVER = -50.0
_ORDERS = 3
_LN10 = math.log(10.0)


@dataclass(frozen=True)
class LanguageModel:
    """N-grams by sorted key; see the module for keys and numbers.

    Attributes
    ----------
    words : tuple of str
        Spelling by number, the three marks first.
    unigram, unigram_backoff : float64[words]
    bigram_keys, bigram, bigram_backoff : int64/float64[bigrams]
    trigram_keys, trigram : int64/float64[trigrams]
    """

    words: tuple[str, ...]
    unigram: Float64
    unigram_backoff: Float64
    bigram_keys: Int64
    bigram: Float64
    bigram_backoff: Float64
    trigram_keys: Int64
    trigram: Float64

    def log_probability(self, history: tuple[int, ...], word: int) -> float:
        """Log probability of `word` after the last (at most two) words of `history`; for tests and small jobs."""
        size = len(self.words)
        if len(history) >= 2:
            pair = history[-2] * size + history[-1]
            place = int(np.searchsorted(self.trigram_keys, pair * size + word))
            if place < len(self.trigram_keys) and self.trigram_keys[place] == pair * size + word:
                return float(self.trigram[place])
            place = int(np.searchsorted(self.bigram_keys, pair))
            known = place < len(self.bigram_keys) and self.bigram_keys[place] == pair
            backoff = float(self.bigram_backoff[place]) if known else 0.0
            return backoff + self.log_probability(history[-1:], word)
        if history:
            key = history[-1] * size + word
            place = int(np.searchsorted(self.bigram_keys, key))
            if place < len(self.bigram_keys) and self.bigram_keys[place] == key:
                return float(self.bigram[place])
            return float(self.unigram_backoff[history[-1]]) + float(self.unigram[word])
        return float(self.unigram[word])


def read_arpa(path: Path, vocabulary: Collection[str] | None = None) -> LanguageModel:
    """Read an ARPA file (may be xz-compressed) or a packed model; leave out n-grams with words outside `vocabulary`.

    Parameters
    ----------
    path : Path
        A name ending in ``.lm`` means what :func:`recognizer.language.compact_model.pack` made.
    vocabulary : collection of str, optional

    Raises
    ------
    LexiconError
        If the file is no such file, is cut short, has n-grams longer than three words, or none at all.
    """
    if path.suffix == ".lm":
        try:
            return _from_packed(unpacked(path.read_bytes()), vocabulary)
        except CompactModelError as error:
            raise LexiconError(str(error)) from error
    sections = _sections(read_text(path))
    spellings = [fields[1] for fields in sections[1]]
    words = sorted(w for w in spellings if w not in MARKS and (vocabulary is None or w in vocabulary))
    if not words:
        raise LexiconError("The language model and the dictionary have no word in common.")
    number = {word: i for i, word in enumerate((*MARKS, *words))}
    size = len(number)
    unigram, unigram_backoff = np.full(size, _NEVER), np.zeros(size)
    for fields in sections[1]:
        i = number.get(fields[1])
        if i is not None:
            unigram[i] = max(_NEVER, float(fields[0]) * _LN10)
            unigram_backoff[i] = float(fields[2]) * _LN10 if len(fields) > 2 else 0.0
    bigrams = _table(sections.get(2, []), 2, number)
    trigrams = _table(sections.get(3, []), 3, number)
    if not np.isin(np.unique(trigrams[0] // size), bigrams[0]).all():
        raise LexiconError("The language model has a trigram whose first two words are no bigram.")
    return LanguageModel((*MARKS, *words), unigram, unigram_backoff, *bigrams, *trigrams[:2])


def _from_packed(packed: CompactModel, vocabulary: Collection[str] | None) -> LanguageModel:
    if len(packed.level) > _ORDERS + 1:
        raise LexiconError(
            f"The language model has n-grams of {len(packed.level) - 1} words; up to three can be used."
        )
    words = sorted(w for w in packed.words if w not in MARKS and (vocabulary is None or w in vocabulary))
    if not words:
        raise LexiconError("The language model and the dictionary have no word in common.")
    number = {word: i for i, word in enumerate((*MARKS, *words))}
    size = len(number)
    new = np.array([number.get(word, -1) for word in packed.words], np.int64)
    unigram, unigram_backoff = np.full(size, _NEVER), np.zeros(size)
    kept = np.flatnonzero(new >= 0)
    unigram[new[kept]] = np.maximum(packed.log_probability[kept], _NEVER)
    unigram_backoff[new[kept]] = packed.log_backoff[kept] if len(packed.log_backoff) else 0.0
    keys, tables = new, []
    for order in range(2, _ORDERS + 1):
        begin, end = (int(packed.level[min(n, len(packed.level) - 1)]) for n in (order - 1, order))
        histories = np.arange(packed.level[min(order, len(packed.level) - 1) - 2], begin if end > begin else 0)
        counts = np.diff(packed.first)[histories] if end > begin else np.zeros(0, np.int64)
        history, last = np.repeat(keys[: len(counts)], counts), new[packed.word[begin:end]]
        keys = np.where((history >= 0) & (last >= 0), history * size + last, -1)
        nodes = begin + np.flatnonzero(keys >= 0)
        backoff = packed.log_backoff[nodes] if end <= len(packed.log_backoff) else np.zeros(len(nodes))
        tables.append(
            (keys[keys >= 0], packed.log_probability[nodes].astype(np.float64), backoff.astype(np.float64))
        )
    bigrams, trigrams = tables
    return LanguageModel((*MARKS, *words), unigram, unigram_backoff, *bigrams, *trigrams[:2])


def _sections(text: str) -> dict[int, list[list[str]]]:
    sections: dict[int, list[list[str]]] = {}
    order, ended = 0, False
    for line in text.splitlines():
        if line.startswith("\\"):
            mark = line.strip()
            ended = mark == "\\end\\"
            order = int(mark[1]) if mark.endswith("-grams:") and mark[1].isdigit() else 0
            if order > _ORDERS:
                raise LexiconError(f"The language model has n-grams of {order} words; up to three can be used.")
            continue
        fields = line.split()
        if order and fields:
            if not order + 1 <= len(fields) <= order + 2 or not _numbers(fields[0], *fields[order + 1 :]):
                raise LexiconError(f"The language model has a malformed line among its {order}-grams.")
            sections.setdefault(order, []).append(fields)
    if not ended or 1 not in sections:
        raise LexiconError("The language model is no complete ARPA file.")
    return sections


def _numbers(*texts: str) -> bool:
    try:
        return all(math.isfinite(float(text)) for text in texts)
    except ValueError:
        return False


def _table(rows: list[list[str]], order: int, number: dict[str, int]) -> tuple[Int64, Float64, Float64]:
    size = len(number)
    keys, values, backoffs = [], [], []
    for fields in rows:
        key = 0
        for word in fields[1 : order + 1]:
            i = number.get(word, -1)
            if i < 0:
                break
            key = key * size + i
        else:
            keys.append(key)
            values.append(float(fields[0]) * _LN10)
            backoffs.append(float(fields[order + 1]) * _LN10 if len(fields) > order + 1 else 0.0)
    sorted_keys = np.array(keys, np.int64)
    by_key = np.argsort(sorted_keys, kind="stable")
    return sorted_keys[by_key], np.array(values, np.float64)[by_key], np.array(backoffs, np.float64)[by_key]
