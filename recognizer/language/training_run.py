"""From texts to a language model: vocabulary, one model per text, weights, mixture, pruning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.language.arpa_file import read_arpa
from recognizer.language.backoff_model import UNKNOWN, BackoffModel, numbered
from recognizer.language.kneser_ney import train
from recognizer.language.mixture import mixed, weights_by_em
from recognizer.language.ngram_counts import numbered_text, word_numbers
from recognizer.language.perplexity import Perplexity, perplexity
from recognizer.language.vocabulary import chosen_words, word_counts

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How a model is made of texts.

    Attributes
    ----------
    order : int
        Longest n-gram in words, 2 to 4.
    words : int
        Size of the vocabulary without those that are always in it.
    least : tuple of int
        Fewest occurrences, by length, of an n-gram that is kept of the biggest text; rarer ones of other texts are
        kept, but for single four-word ones.
    vocabulary_weights : mapping of text name to float
        How much a text's word frequencies count when the vocabulary is chosen; 1 for the others.
    fixed_weights : tuple of float
        Weights of the texts and then the bases, in place of those found on the development texts.
    most : mapping of component name to float
        Highest weight of a component; what is above goes to the others.
    """

    order: int = 3
    words: int = 64_000
    least: tuple[int, ...] = (1, 1, 2, 2)
    vocabulary_weights: Mapping[str, float] = field(default_factory=dict)
    fixed_weights: tuple[float, ...] = ()
    most: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What a run gives.

    Attributes
    ----------
    model : BackoffModel
        Not pruned.
    weights : dict of component name to float
    """

    model: BackoffModel
    weights: dict[str, float]


def read_lines(paths: Sequence[Path]) -> list[str]:
    """Lines with words of normalised text files."""
    return [line for path in paths for line in path.read_text("utf-8").splitlines() if line.strip()]


def train_mixture(
    texts: Mapping[str, Sequence[Path]],
    bases: Mapping[str, Path],
    develop: Mapping[str, tuple[Path, float]],
    pronounced: Mapping[str, object],
    recipe: Recipe = Recipe(),
    always: Sequence[str] = (),
    progress: Progress = lambda step: None,
) -> Trained:
    """Train a model on each text, and mix them and the ready models as the development texts want it.

    Parameters
    ----------
    texts : mapping of name to files
        One normalised sentence per line.
    bases : mapping of name to ARPA file
    develop : mapping of name to (file, share)
        No part of `texts`. A share says how much a text counts, whatever its length.
    pronounced : mapping of word to anything
        A dictionary; other words become ``<unk>``.
    recipe : Recipe
    always : sequence of str
        Words that are in the vocabulary however rare.
    progress : callable
        Called with what is about to be done.

    Raises
    ------
    ValueError
        If there is nothing to mix, or weights are wanted without development text.
    """
    if not texts and not bases:
        raise ValueError("There is neither a text nor a ready language model to train from.")
    if len(texts) + len(bases) > 1 and not develop and not recipe.fixed_weights:
        raise ValueError("Several texts need a development text that their weights are found on.")
    progress("choose the words")
    counts = {name: word_counts(read_lines(paths)) for name, paths in texts.items()}
    known = list(always)
    if bases and not texts:
        known += [word for path in bases.values() for word in read_arpa(path).words if word in pronounced]
    chosen = chosen_words(counts, recipe.vocabulary_weights, pronounced, recipe.words, known)
    words = numbered([*chosen, UNKNOWN])
    number = word_numbers(words)
    biggest = max(counts, key=lambda name: counts[name].total(), default="")
    components: dict[str, BackoffModel] = {}
    for name, paths in texts.items():
        progress(f"count {name}")
        least = recipe.least if name == biggest else (1, 1, 1, 2)
        components[name] = train(numbered_text(read_lines(paths), number), words, recipe.order, least)
    for name, path in bases.items():
        progress(f"read {name}")
        components[name] = read_arpa(path, words)
    progress("weigh")
    if len(components) == 1:
        weights = np.ones(1)
    elif recipe.fixed_weights:
        if len(recipe.fixed_weights) != len(components):
            raise ValueError("There must be as many weights as texts and ready models.")
        weights = np.array(recipe.fixed_weights)
    else:
        tokens = [numbered_text(read_lines([path]), number) for path, _ in develop.values()]
        weights = weights_by_em(list(components.values()), tokens, [share for _, share in develop.values()])
    weights = _capped(weights, [recipe.most.get(name, 1.0) for name in components])
    progress("mix")
    found = dict(zip(components, weights.tolist(), strict=True))
    return Trained(mixed(list(components.values()), weights.tolist()), found)


def _capped(weights: NDArray[np.float64], most: Sequence[float]) -> NDArray[np.float64]:
    caps = np.array(most)
    over = weights > caps
    if not over.any() or over.all():
        return weights
    kept: NDArray[np.float64] = np.minimum(weights, caps)
    kept[~over] *= (1.0 - kept[over].sum()) / kept[~over].sum()
    return kept


def measured(model: BackoffModel, texts: Mapping[str, Path]) -> dict[str, Perplexity]:
    """Perplexity and unknown words of a model on each text."""
    number = word_numbers(model.words)
    return {name: perplexity(model, _tokens(path, number)) for name, path in texts.items()}


def _tokens(path: Path, number: Mapping[str, int]) -> NDArray[np.int32]:
    return numbered_text(read_lines([path]), number)
