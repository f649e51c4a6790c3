"""The two ends of a recognition graph: G (which words follow which) and L (how words are pronounced).

Both carry *disambiguation symbols*, without which their composition could not be determinised: ``#0`` on G's
back-off arcs, ``#1``, ``#2``... behind pronunciations that several words share or that begin another one, and one
behind silence.
(Mohri, Pereira, Riley: "Speech Recognition with Weighted Finite-State Transducers", 2008.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recognizer.flat_fst import FlatFst
from recognizer.language_model import FIRST_WORD, SENTENCE_END, SENTENCE_START, LanguageModel
from recognizer.lexicon import Lexicon

SILENCE_PROBABILITY = 0.5
"""Of a pause before, between and behind words."""

_BACKOFF_STATE = 0


@dataclass(frozen=True)
class LexiconFst:
    """L, and the phone labels in it that are no phones."""

    fst: FlatFst
    disambiguation: tuple[int, ...]


def build_grammar(model: LanguageModel) -> FlatFst:
    """Return G: one state per history that has followers, `len(model.words)` as the input label of backing off."""
    size = len(model.words)
    histories = np.unique(model.trigram_keys // size)
    states = size + len(histories)

    def after(pairs: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(histories, pairs), max(0, len(histories) - 1))
        known = histories[place] == pairs if len(histories) else np.zeros(len(pairs), np.bool_)
        return np.where(known, size + place, pairs % size)

    final = np.full(states, np.inf, np.float32)
    final[_BACKOFF_STATE] = -model.unigram[SENTENCE_END]
    words = np.arange(FIRST_WORD, size)
    columns = [(np.full(len(words), _BACKOFF_STATE), words, -model.unigram[words], words)]

    history, word = model.bigram_keys // size, model.bigram_keys % size
    ends = word == SENTENCE_END
    final[history[ends]] = -model.bigram[ends]
    columns.append((history[~ends], word[~ends], -model.bigram[~ends], after(model.bigram_keys[~ends])))

    pair, word = model.trigram_keys // size, model.trigram_keys % size
    place = size + np.searchsorted(histories, pair)
    ends = word == SENTENCE_END
    final[place[ends]] = -model.trigram[ends]
    following = (pair % size) * size + word
    columns.append((place[~ends], word[~ends], -model.trigram[~ends], after(following[~ends])))

    singles = np.concatenate([[SENTENCE_START], words])
    backoff = np.full(len(singles), size)
    columns.append((singles, backoff, -model.unigram_backoff[singles], np.full(len(singles), _BACKOFF_STATE)))
    backoff_weight = -model.bigram_backoff[np.searchsorted(model.bigram_keys, histories)]
    place = size + np.arange(len(histories))
    columns.append((place, np.full(len(histories), size), backoff_weight, histories % size))

    source, label, weight, target = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    output = np.where(label == size, 0, label)
    return FlatFst(source, target, label, output, weight.astype(np.float32), final, SENTENCE_START)


def build_lexicon(
    words: Sequence[str], lexicon: Lexicon, phones: Sequence[str], silence_probability: float = SILENCE_PROBABILITY
) -> LexiconFst:
    """Return L: phones to words, with optional silence before, between and after words.

    Parameters
    ----------
    words : sequence of str
        By word id; ids below ``FIRST_WORD`` are marks without pronunciation.
    lexicon : mapping of str to pronunciations
    phones : sequence of str
        Phone ``i`` has label ``i + 1``; the first is silence.
    silence_probability : float
    """
    label = {phone: i + 1 for i, phone in enumerate(phones)}
    spoken = [(i, p) for i, word in enumerate(words) if i >= FIRST_WORD for p in lexicon[word]]
    uses = Counter(p for _, p in spoken)
    beginnings = {p[:k] for p in uses for k in range(1, len(p))}
    first_mark = len(phones) + 1
    numbered: Counter[tuple[str, ...]] = Counter()
    pause, no_pause = -np.log(silence_probability), -np.log1p(-silence_probability)
    start, loop, pausing, paused = range(4)
    silence = 1
    arcs: list[tuple[int, int, int, float, int]] = [
        (start, 0, 0, no_pause, loop),
        (start, 0, 0, pause, pausing),
        (pausing, silence, 0, 0.0, paused),
        (loop, first_mark, len(words), 0.0, loop),
    ]
    states = 4
    for word, pronunciation in spoken:
        labels = [label[phone] for phone in pronunciation]
        if uses[pronunciation] > 1 or pronunciation in beginnings:
            numbered[pronunciation] += 1
            labels.append(first_mark + numbered[pronunciation])
        here = loop
        for j, phone in enumerate(labels[:-1]):
            arcs.append((here, phone, word if j == 0 else 0, 0.0, states))
            here, states = states, states + 1
        output = word if len(labels) == 1 else 0
        arcs.append((here, labels[-1], output, no_pause, loop))
        arcs.append((here, labels[-1], output, pause, pausing))
    silence_mark = first_mark + max(numbered.values(), default=0) + 1
    arcs.append((paused, silence_mark, 0, 0.0, loop))
    source, inputs, outputs, weight, target = (np.array(column) for column in zip(*arcs, strict=True))
    final = np.full(states, np.inf, np.float32)
    final[loop] = 0.0
    fst = FlatFst(source, target, inputs, outputs, weight.astype(np.float32), final, start)
    return LexiconFst(fst, tuple(range(first_mark, silence_mark + 1)))
