"""Counting word errors: by hand, and against exhaustive alignment."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.evaluation.word_errors import WordErrors, count_errors, normalised_words

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=7)


def fewest(said: tuple[str, ...], recognised: tuple[str, ...]) -> int:
    """Levenshtein's recursion, straight from its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j - 1) + (said[i - 1] != recognised[j - 1]),
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
        )

    return distance(len(said), len(recognised))


@settings(deadline=None)
@given(WORDS, WORDS)
def test_errors_are_the_fewest_and_add_up(said: list[str], recognised: list[str]) -> None:
    found = count_errors(said, recognised)
    assert found.errors == fewest(tuple(said), tuple(recognised))
    assert found.words == len(said)
    assert len(said) - found.deletions + found.insertions == len(recognised)


@pytest.mark.parametrize(
    ("said", "recognised", "expected"),
    [
        ("the card number is", "the card number is", WordErrors(4, 0, 0, 0)),
        ("the card number is", "the cart number", WordErrors(4, 1, 1, 0)),
        ("yes", "oh yes yes", WordErrors(1, 0, 0, 2)),
        ("", "oh", WordErrors(0, 0, 0, 1)),
        ("one two", "", WordErrors(2, 0, 2, 0)),
        ("one two", "two one", WordErrors(2, 2, 0, 0)),
    ],
)
def test_errors_of_known_pairs(said: str, recognised: str, expected: WordErrors) -> None:
    assert count_errors(said.split(), recognised.split()) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don’t STOP!", ["don't", "stop"]),
        ("a well-known / either/or", ["a", "well", "known", "either", "or"]),
        ("'cause it's 5,000.50", ["'cause", "it's", "500050"]),
        ("« Café » … ''", ["café"]),
        ("", []),
    ],
)
def test_texts_are_compared_without_case_and_punctuation(text: str, words: list[str]) -> None:
    assert normalised_words(text) == words


def test_counts_add_up_and_give_a_rate() -> None:
    total = WordErrors(10, 1, 2, 3) + WordErrors(10, 0, 0, 2)
    assert (total.words, total.errors, total.rate) == (20, 8, 0.4)
    assert WordErrors(0, 0, 0, 3).rate == 1.0
    assert WordErrors().rate == 0.0
