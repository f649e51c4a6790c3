"""How a vocabulary's words are said, and which words rulebooks look for."""

from __future__ import annotations

import pytest

from recognizer.grapheme_to_phoneme import GraphemeToPhoneme
from recognizer.lexicon import read_lexicon
from recognizer.model_pack import DEFAULT_PACK, PHONES, PackSources
from recognizer.vocabulary import VocabularyEntry
from recognizer.vocabulary_speech import MOST_WAYS, Pronouncer, rule_phrases, spoken_entry

LABEL = {phone: i + 1 for i, phone in enumerate(PHONES)}


@pytest.fixture(scope="module")
def pronouncer() -> Pronouncer:
    return Pronouncer(read_lexicon(PackSources.of(DEFAULT_PACK).lexicon, PHONES), GraphemeToPhoneme.load())


def said(pronouncer: Pronouncer, word: str) -> list[str]:
    return [" ".join(way) for way in pronouncer.ways(word)]


@pytest.mark.parametrize(("word", "first"), [
    ("aardvark", "AA R D V AA R K"),
    ("XKCD", "EH K S K EY S IY D IY"),
    ("i.r.a.", "AY AA R EY"),
    ("401k", "F AO R Z IH R OW W AH N K EY"),
    ("42", "F AO R T IY T UW"),
    ("1999", "N AY N T IY N N AY N T IY N AY N"),
    ("at&t", "AE T AH N D T IY"),
    ("northwind", "N AO R TH W IH N D"),
])  # fmt: skip
def test_words_are_said_as_people_say_them(pronouncer: Pronouncer, word: str, first: str) -> None:
    assert said(pronouncer, word)[0] == first


def test_capitals_may_be_spelled_or_said(pronouncer: Pronouncer) -> None:
    assert "AY EH S EY" in said(pronouncer, "ISA")
    assert "AY EH S EY" not in said(pronouncer, "Isa")
    assert len(said(pronouncer, "ISA")) > 1
    assert said(pronouncer, "US")[0] == said(pronouncer, "us")[0]
    assert "Y UW EH S" in said(pronouncer, "US")
    assert "F AO R OW W AH N K EY" in said(pronouncer, "401k")


@pytest.mark.parametrize("word", ["", "日本", "😀", "1" * 60, "a-b-c-d-e-f-g-h-i-j", "q" * 60, "'", "&&&&"])
def test_no_word_is_too_strange(pronouncer: Pronouncer, word: str) -> None:
    ways = pronouncer.ways(word)
    assert len(ways) <= MOST_WAYS
    assert all(phone in LABEL for way in ways for phone in way)


def test_an_entry_brings_its_new_words_alone_too(pronouncer: Pronouncer) -> None:
    phrases = spoken_entry(VocabularyEntry.checked("Northwind energy", 4.0), pronouncer, LABEL, {"energy"})
    assert [(phrase.words, phrase.bonus) for phrase in phrases] == [
        (("northwind", "energy"), 4.0),
        (("northwind",), 0.0),
    ]
    assert spoken_entry(VocabularyEntry.checked("日本"), pronouncer, LABEL, set()) == []


def test_written_pronunciations_replace_guesses_but_not_the_graphs(pronouncer: Pronouncer) -> None:
    (new,) = spoken_entry(VocabularyEntry.checked("Nguyen", 3, ("W IH N",)), pronouncer, LABEL, set())
    assert new.pronunciations == ((tuple(LABEL[p] for p in ("W", "IH", "N")),),)
    (old,) = spoken_entry(VocabularyEntry.checked("energy", 3, ("W IH N",)), pronouncer, LABEL, {"energy"})
    assert len(old.pronunciations[0]) == 2
    assert spoken_entry(VocabularyEntry.checked("energy", 3, ("QQ",)), pronouncer, LABEL, {"energy"}) == []


def test_patterns_become_the_words_that_they_mean() -> None:
    words = ("<eps>", "guarantee", "guaranteed", "guarantees", "guarantor", "guarantee's", "line", "recorded")
    sequences = [("recorded", "line"), ("guarantee*", "*", "line"), ("[card_number]", "recorded"), ("*",)]
    found = rule_phrases(sequences, words, set(words[1:]))
    assert found == [
        ("recorded", "line"),
        ("guarantee",),
        ("guaranteed",),
        ("guarantees",),
        ("guarantee's",),
        ("line",),
        ("recorded",),
    ]


def test_a_pattern_that_fits_too_much_is_bounded() -> None:
    words = tuple(f"a{i:04}" for i in range(5000))
    assert len(rule_phrases([("a*", "a*", "a*")], words, words)) <= 64
    assert len(rule_phrases([("a*",)], words, words)) <= 12
    assert rule_phrases([("zzz*", "line")], words, words) == []
