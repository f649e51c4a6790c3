"""Phrases: what they expand to, and finding them in words, against a search that tries everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.rules.matcher import FILLERS, PhraseMatcher
from compliance.rules.phrase import PhraseError, read_phrase, words_of
from compliance.rules.timing import LegHeard, Span
from events.identity import Role
from tests.compliance.judged_calls import segment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Risk-Free", {"risk free"}),
        ("guarantee(d|s)?", {"guarantee", "guaranteed", "guarantees"}),
        ("(can't|can not) lose", {"can't lose", "can not lose"}),
        ("(a (b|c)?|d) e", {"a b e", "a c e", "a e", "d e"}),
        ("guarant* (of|on)? return*", {"guarant* of return*", "guarant* on return*", "guarant* return*"}),
        ("(record|monitor)*", {"record*", "monitor*"}),
        ("you * lose", {"you * lose"}),
        ("my {card_number} is", {"my [card_number] is"}),
        ("can\u2019t", {"can't"}),
        ("at&t u.s. 24 zoë", {"at&t u.s. 24 zoë"}),
    ],
)
def test_a_phrase_stands_for_these_words(text: str, expected: set[str]) -> None:
    assert {" ".join(sequence) for sequence in read_phrase(text).sequences} == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least one word"),
        ("a|b", "outside of parentheses"),
        ("(a", "does not close"),
        ("a)", "did not open"),
        ("a?", "question mark"),
        ("(a)?", "can be empty"),
        ("* *", "beside the asterisks"),
        ("{CARD}", "an entity that does not exist"),
        ("wh*t", "not a word"),
        ("50%", "not a word"),
        ("(a|b)" * 12, "more than 512"),
        ("a " * 30, "at most 24 words"),
        ("((((((a))))))", "more than five parentheses"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, reason: str) -> None:
    with pytest.raises(PhraseError, match=reason):
        read_phrase(text)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("risk-free", ("risk", "free")),
        ("[CARD_NUMBER]", ("[card_number]",)),
        ("-", ()),
        ("Can\u2019t", ("can't",)),
    ],
)
def test_a_recognised_word_counts_as_these(word: str, parts: tuple[str, ...]) -> None:
    assert words_of(word) == parts


def spans(
    phrases: list[str], texts: list[str], gap_ms: int = 0, longest_pause_ms: int = 2_500
) -> set[tuple[str, int, int]]:
    """(phrase, first word, last word) of every hit, the words split into segments as given."""
    matcher = PhraseMatcher([read_phrase(phrase) for phrase in phrases])
    leg = LegHeard(0, Role.AGENT)
    scan = matcher.scan(leg, longest_pause_ms)
    now_ms, found = 0, set()
    names = {number: phrase.text for phrase, number in matcher.numbers.items()}
    for text in texts:
        piece = segment(0, now_ms, text)
        now_ms = piece.end_ms + gap_ms
        for number, span in scan.segment(piece):
            assert isinstance(span, Span)
            found.add((names[number], span.first, span.last))
    return found


def tried(phrases: list[str], words: list[str]) -> set[tuple[str, int, int]]:
    """The same by trying every sequence at every place."""

    def fits(pattern: str, word: str) -> bool:
        return pattern == "*" or pattern == word or (pattern.endswith("*") and word.startswith(pattern[:-1]))

    found = set()
    for text in phrases:
        for sequence in read_phrase(text).sequences:
            for start in range(len(words) - len(sequence) + 1):
                if all(fits(pattern, words[start + place]) for place, pattern in enumerate(sequence)):
                    found.add((read_phrase(text).text, start, start + len(sequence) - 1))
    return found


WORDS = st.sampled_from(["a", "b", "c", "ab", "abc"])
PATTERNS = st.sampled_from(["a", "b", "ab", "a*", "ab*", "*", "(a|b)", "(b c|a)", "(b)?"])
PHRASES = st.lists(PATTERNS, min_size=1, max_size=4).map(lambda parts: "a " + " ".join(parts)) | st.sampled_from(
    ["a", "b*", "(a|c) b", "a a"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PHRASES, min_size=1, max_size=4, unique=True), st.lists(WORDS, max_size=14), st.data())
def test_all_and_only_the_hits_are_found_however_the_words_are_split(
    phrases: list[str], words: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(words)), max_size=4)))
    edges = [0, *cuts, len(words)]
    texts = [" ".join(words[begin:end]) for begin, end in itertools.pairwise(edges)]
    assert spans(phrases, texts) == tried(phrases, words)


def test_fillers_end_no_phrase_and_count_nowhere() -> None:
    assert spans(["risk free"], ["this is risk uh um free"]) == {("risk free", 2, 3)}
    assert "uh" in FILLERS


def test_a_long_pause_ends_a_phrase() -> None:
    assert spans(["risk free"], ["it is risk", "free of charge"], gap_ms=2_500) == {("risk free", 2, 3)}
    assert spans(["risk free"], ["it is risk", "free of charge"], gap_ms=2_501) == set()


def test_a_hyphenated_word_counts_as_two() -> None:
    assert spans(["risk free", "free lunch"], ["risk-free lunch"]) == {("risk free", 0, 0), ("free lunch", 0, 1)}


def test_placeholders_match_their_entity_only() -> None:
    found = spans(["{CARD_NUMBER}", "card*", "my *"], ["my [CARD_NUMBER] and [SSN]"])
    assert found == {("{CARD_NUMBER}", 1, 1), ("my *", 0, 1)}
