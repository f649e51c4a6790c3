"""ARPA files of any order, read into and written from :class:`recognizer.language.backoff_model.BackoffModel`."""

from __future__ import annotations

import io
import lzma
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from recognizer.language.backoff_model import (
    NEVER,
    NO_WORD,
    SENTENCE_START,
    UNKNOWN,
    BackoffModel,
    numbered,
    trie,
)
from recognizer.lexicon import LexiconError

_LN10 = math.log(10.0)
_LONGEST = 5
_LINES_AT_ONCE = 200_000


def _opened(path: Path, mode: Literal["r", "w"]) -> TextIO:
    packed = (lzma.LZMAFile if path.suffix == ".xz" else io.FileIO)(path, mode)
    return io.TextIOWrapper(cast(BinaryIO, packed), encoding="utf-8", newline="\n")


def write_arpa(model: BackoffModel, path: Path, digits: int = 4) -> None:
    """Write a model (compressed if the name ends in ``.xz``), log probabilities to so many decimal places."""
    with _opened(path, "w") as file:
        file.write("\\data\\\n")
        for order, count in enumerate(model.counts, 1):
            file.write(f"ngram {order}={count - (order == 1)}\n")
        for order in range(1, model.order + 1):
            file.write(f"\n\\{order}-grams:\n")
            begin, end = int(model.level[order - 1]), int(model.level[order])
            rows = model.ngrams(order)
            for low in range(0, end - begin, _LINES_AT_ONCE):
                part = slice(begin + low, min(end, begin + low + _LINES_AT_ONCE))
                file.write(_lines(model, order, rows[low : low + _LINES_AT_ONCE], part, digits))
        file.write("\n\\end\\\n")


def _lines(model: BackoffModel, order: int, rows: NDArray[np.int32], part: slice, digits: int) -> str:
    words = model.words
    values = (model.log_probability[part] / _LN10).tolist()
    spelled = [" ".join([words[i] for i in row]) for row in rows.tolist()]
    form = f"%.{digits}f"
    if order == model.order:
        return "".join(f"{form % v}\t{text}\n" for v, text in zip(values, spelled, strict=True))
    backoffs = (model.log_backoff[part] / _LN10).tolist()
    triples = zip(values, spelled, backoffs, strict=True)
    return "".join(f"{form % v}\t{text}\t{form % b}\n" for v, text, b in triples if text != "<eps>")


def read_arpa(path: Path, vocabulary: Collection[str] | None = None) -> BackoffModel:
    """Read an ARPA file of up to five words per n-gram.

    Parameters
    ----------
    path : Path
    vocabulary : collection of str, optional
        The model's words; n-grams with others are left out, words that the file lacks get no probability. Without it
        the words are the file's own and ``<unk>``.

    Raises
    ------
    LexiconError
        If the file is no ARPA file, is cut short, or an n-gram's history is missing.
    """
    try:
        with _opened(path, "r") as file:
            sections = dict(_sections(file))
    except (UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
        raise LexiconError("The language model is no complete ARPA file.") from error
    if 1 not in sections:
        raise LexiconError("The language model is no complete ARPA file.")
    spellings = [fields[1] for fields in sections[1]]
    words = numbered([*spellings, UNKNOWN] if vocabulary is None else [*vocabulary, UNKNOWN])
    number = {word: i for i, word in enumerate(words)}
    size = len(words)
    levels = [(np.zeros(size, np.int64), np.arange(size))]
    probabilities, backoffs = [np.full(size, NEVER)], [np.zeros(size)]
    for fields in sections[1]:
        i = number.get(fields[1], NO_WORD)
        if i != NO_WORD:
            probabilities[0][i] = max(NEVER, float(fields[0]) * _LN10)
            backoffs[0][i] = float(fields[2]) * _LN10 if len(fields) > 2 else 0.0
    for order in range(2, max(sections) + 1):
        rows, value, backoff = _numbers(sections.get(order, []), order, number)
        parent = _places(levels, rows)
        by_key = np.lexsort((rows[:, -1], parent))
        levels.append((parent[by_key], rows[by_key, -1]))
        probabilities.append(value[by_key])
        backoffs.append(backoff[by_key])
    model = trie(words, levels)
    model.log_probability[:] = np.concatenate(probabilities)
    model.log_backoff[:] = np.concatenate(backoffs)[: len(model.log_backoff)]
    _estimate_frequencies(model)
    return model


def _sections(file: TextIO) -> Iterator[tuple[int, list[list[str]]]]:
    order, ended = 0, False
    rows: list[list[str]] = []
    for line in file:
        if line.startswith("\\"):
            if order:
                yield order, rows
            mark, rows, order = line.strip(), [], 0
            ended = mark == "\\end\\"
            if mark.endswith("-grams:") and mark[1:-7].isdigit():
                order = int(mark[1:-7])
            if order > _LONGEST:
                raise LexiconError(
                    f"The language model has n-grams of {order} words; up to {_LONGEST} can be used."
                )
        elif order and not line.isspace():
            fields = line.split()
            if not order + 1 <= len(fields) <= order + 2:
                raise LexiconError(f"The language model has a malformed line among its {order}-grams.")
            rows.append(fields)
    if not ended:
        raise LexiconError("The language model is no complete ARPA file.")


def _numbers(
    rows: list[list[str]], order: int, number: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    kept = [fields for fields in rows if all(word in number for word in fields[1 : order + 1])]
    ids = np.array([[number[word] for word in fields[1 : order + 1]] for fields in kept], np.int64)
    try:
        value = np.array([float(fields[0]) for fields in kept]) * _LN10
        backoff = np.array([float(f[order + 1]) if len(f) > order + 1 else 0.0 for f in kept]) * _LN10
    except ValueError as error:
        raise LexiconError(f"The language model has a malformed line among its {order}-grams.") from error
    return ids.reshape(-1, order), np.maximum(value, NEVER), backoff


def _places(
    levels: list[tuple[NDArray[np.int64], NDArray[np.int64]]], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Place of each row's history in the level below."""
    if len(levels) == 1:
        return rows[:, 0]
    below = trie(("",) * len(levels[0][0]), levels)
    nodes = below.find(rows[:, :-1].astype(np.int32))
    if (nodes < 0).any():
        raise LexiconError("The language model has an n-gram whose history it lacks.")
    return nodes - int(below.level[-2])


def _estimate_frequencies(model: BackoffModel) -> None:
    """Chain rule over the model's own probabilities; a sentence start is as frequent as a sentence end."""
    for order in range(1, model.order):
        begin, end = int(model.level[order - 1]), int(model.level[order])
        p = np.exp(model.log_probability[begin:end])
        if order == 1:
            p[SENTENCE_START] = p[SENTENCE_START + 1]
            model.frequency[begin:end] = p
        else:
            model.frequency[begin:end] = model.frequency[model.parent[begin:end]] * p
