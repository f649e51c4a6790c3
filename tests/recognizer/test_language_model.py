"""Dictionaries and ARPA files, good and broken."""

from __future__ import annotations

import lzma
import math
from pathlib import Path

import pytest

from recognizer.language_model import LanguageModel, read_arpa
from recognizer.lexicon import LexiconError, read_lexicon
from tests.builders.small_graphs import ARPA, LEXICON, PHONES


def arpa(folder: Path, text: str = ARPA) -> Path:
    path = folder / "model.arpa"
    path.write_text(text)
    return path


def log10(model: LanguageModel, history: str, word: str) -> float:
    ids = tuple(model.words.index(w) for w in history.split())
    return model.log_probability(ids, model.words.index(word)) / math.log(10)


@pytest.mark.parametrize(
    ("history", "word", "expected"),
    [
        ("", "cab", -0.6),
        ("<s>", "cab", -0.4),
        ("<s> cab", "a", -0.2),
        ("cab a", "bee", -0.3),
        ("cab a", "</s>", -0.1 - 0.3),  # back-off of "cab a", then the bigram
        ("a bee", "ab", -0.15 - 0.8),  # "a bee" is a bigram without weight, "bee" backs off to ab
        ("be", "cab", -0.6),
        ("ab ab", "cab", -0.3 - 0.1 - 0.6),
    ],
)
def test_probabilities_back_off_as_arpa_says(tmp_path: Path, history: str, word: str, expected: float) -> None:
    assert log10(read_arpa(arpa(tmp_path)), history, word) == pytest.approx(expected)


def test_words_are_numbered_behind_the_marks(tmp_path: Path) -> None:
    assert read_arpa(arpa(tmp_path)).words == ("<eps>", "<s>", "</s>", "a", "ab", "be", "bee", "cab")


def test_words_outside_the_vocabulary_are_left_out_with_their_ngrams(tmp_path: Path) -> None:
    model = read_arpa(arpa(tmp_path), {"a", "ab", "cab"})
    assert "bee" not in model.words
    assert len(model.bigram) == 4
    assert len(model.trigram) == 1


def test_a_compressed_model_is_read_alike(tmp_path: Path) -> None:
    packed = tmp_path / "model.arpa.xz"
    packed.write_bytes(lzma.compress(ARPA.encode()))
    assert read_arpa(packed).words == read_arpa(arpa(tmp_path)).words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The language model is no complete ARPA file."),
        (ARPA.replace("\\end\\", ""), "The language model is no complete ARPA file."),
        (ARPA.replace("-0.4 <s> cab -0.2", "-0.4 <s>"), "The language model has a malformed line among its 2-grams."),
        (
            ARPA.replace("-0.4 <s> cab -0.2", "-0.4 <s> be"),
            "The language model has a trigram whose first two words are no bigram.",
        ),
        (ARPA.replace("\\3-grams", "\\4-grams"), "The language model has n-grams of 4 words; up to three can be used."),
        (ARPA.replace("-0.2 <s> cab a", "low <s> cab a"), "The language model has a malformed line among its 3-grams."),
    ],
)  # fmt: skip
def test_broken_models_are_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(LexiconError) as refused:
        read_arpa(arpa(tmp_path, text))
    assert str(refused.value) == sentence


def test_a_model_without_known_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match="no word in common"):
        read_arpa(arpa(tmp_path), {"zebra"})


def test_pronunciations_keep_their_order_and_are_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("cab C A B\n\nab A B\ncab C B\ncab C A B\n")
    assert read_lexicon(path, PHONES) == {"cab": [("C", "A", "B"), ("C", "B")], "ab": [("A", "B")]}
    assert LEXICON["cab"] == read_lexicon(path, PHONES)["cab"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ab A Q", "Line 2 of the dictionary has the phone 'Q', which the model lacks."),
        ("ab", "Line 2 of the dictionary has a word without phones."),
    ],
)
def test_broken_dictionaries_are_refused_with_the_line(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text(f"a A\n{line}\n")
    with pytest.raises(LexiconError) as refused:
        read_lexicon(path, PHONES)
    assert str(refused.value) == sentence
