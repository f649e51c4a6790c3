"""Guessed pronunciations: the alignment against exhaustive search, the n-gram model's laws, and what is guessed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.grapheme_to_phoneme import (
    MOST_LETTERS,
    SHIPPED,
    GraphemeModelError,
    GraphemeToPhoneme,
    main,
    measure,
    parted,
)
from recognizer.graphone_alignment import LETTERS, SIDE, Spelled, align
from recognizer.graphone_model import GraphoneModel, _step, estimate
from recognizer.model_pack import PHONES

SOUND = {"a": "AE", "b": "B", "d": "D", "n": "N", "o": "AA", "t": "T", "c": "K"}


def toy_lexicon() -> dict[str, list[tuple[str, ...]]]:
    """One sound a letter, but for sh, a silent e, and x with two sounds."""
    words = {}
    for letters in itertools.product("bdnt", "ao", "bdnt"):
        word = "".join(letters)
        spoken = tuple(SOUND[c] for c in word)
        words[word] = [spoken]
        words[word + "e"] = [spoken]
        words["sh" + word[1:]] = [("SH", *spoken[1:])]
        words[word[:2] + "x"] = [(*spoken[:2], "K", "S")]
    return words


@pytest.fixture(scope="module")
def toy() -> GraphemeToPhoneme:
    return GraphemeToPhoneme.trained(toy_lexicon(), PHONES[1:])


def cuts(letters: tuple[int, ...], phones: tuple[int, ...]) -> list[list[int]]:
    side = 4
    if not letters:
        return [[]] if not phones else []
    found = []
    for two, sounds in ((0, 0), (0, 1), (0, 2), (1, 1)):
        if 1 + two <= len(letters) and sounds <= len(phones):
            spelt = letters[0] * SIDE + (letters[1] if two else 0)
            sound = 0 if sounds == 0 else phones[0] * side + (phones[1] if sounds == 2 else 0)
            found += [[spelt * 16 + sound, *rest] for rest in cuts(letters[1 + two :], phones[sounds:])]
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=4), st.lists(st.integers(1, 3), max_size=4)),
        min_size=1,
        max_size=4,
    )
)
def test_every_word_is_cut_into_its_letters_and_phones_or_cannot_be(pairs: list[tuple[str, list[int]]]) -> None:
    for (word, phones), units in zip(pairs, align(Spelled.of(pairs), 3, rounds=2), strict=True):
        ways = cuts(tuple(LETTERS.index(c) + 1 for c in word), tuple(phones))
        assert units.tolist() in ways if ways else not len(units)


def test_rounds_of_expectation_make_the_regular_cut_the_likeliest() -> None:
    pairs = [("ab", [1, 2]), ("ba", [2, 1]), ("aa", [1, 1]), ("abb", [1, 2])]
    units = align(Spelled.of(pairs), 3)
    a, b = LETTERS.index("a") + 1, LETTERS.index("b") + 1
    assert units[0].tolist() == [a * SIDE * 16 + 4, b * SIDE * 16 + 8]
    assert units[3].tolist() in (
        [a * SIDE * 16 + 4, (b * SIDE + b) * 16 + 8],
        [a * SIDE * 16 + 4, b * SIDE * 16 + 8, b * SIDE * 16],
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=6), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 2),
)
def test_probabilities_after_every_history_add_up_to_one(words: list[list[int]], order: int, rare: int) -> None:
    model = estimate([np.array(word, np.int32) for word in words], order, (1, *[rare] * (order - 1)))
    units = range(max(max(word) for word in words) + 1)
    tree = (model.children, model.unit, model.cost, model.back_off, model.back_off_cost)
    for node in range(len(model.unit)):
        histories = model.children[node + 1] > model.children[node]
        if histories:
            total = sum(np.exp(-_step(*tree, node, unit)[1]) for unit in units if _step(*tree, node, unit)[0] >= 0)
            assert total == pytest.approx(1.0, abs=0.02)


def test_what_was_regular_is_guessed_for_words_not_seen(toy: GraphemeToPhoneme) -> None:
    assert toy.pronounce("tanbod")[0].phones == ("T", "AE", "N", "B", "AA", "D")
    assert toy.pronounce("shode")[0].phones == ("SH", "AA", "D")
    assert toy.pronounce("bodax")[0].phones == ("B", "AA", "D", "AE", "K", "S")


def test_guesses_differ_and_come_in_order_of_probability(toy: GraphemeToPhoneme) -> None:
    guesses = toy.pronounce("shatode", 5)
    assert len({one.phones for one in guesses}) == len(guesses)
    probabilities = [one.probability for one in guesses]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gets_known_phones_or_none(toy: GraphemeToPhoneme, text: str) -> None:
    for one in toy.pronounce(text):
        assert set(one.phones) <= set(PHONES[1:])


@pytest.mark.parametrize("word", ["", "a b", "1st", "日本", "a" * (MOST_LETTERS + 1), "\x00", "a.b", "%s"])
def test_what_is_no_word_of_letters_gets_none(toy: GraphemeToPhoneme, word: str) -> None:
    assert toy.pronounce(word) == []


def test_accents_and_capitals_do_not_count(toy: GraphemeToPhoneme) -> None:
    assert toy.pronounce("TÁN") == toy.pronounce("tan")


def test_a_saved_model_guesses_the_same(toy: GraphemeToPhoneme, tmp_path: Path) -> None:
    toy.save(tmp_path / "model.xz")
    loaded = GraphemeToPhoneme.load(tmp_path / "model.xz")
    for word in ("tanbod", "shax", "bode"):
        assert [one.phones for one in loaded.pronounce(word, 1)] == [one.phones for one in toy.pronounce(word, 1)]
    for damage in (b"", b"no model", (tmp_path / "model.xz").read_bytes()[:-20]):
        (tmp_path / "broken.xz").write_bytes(damage)
        with pytest.raises(
            GraphemeModelError, match=r"^The model of letters and phones could not be read: \w+\.$"
        ):
            GraphemeToPhoneme.load(tmp_path / "broken.xz")


def test_a_tree_whose_counts_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        GraphoneModel.linked(
            np.array([5]), np.zeros(2, np.int32), np.zeros(2, np.float32), np.zeros(2, np.float32)
        )


def test_the_shipped_model_knows_english_and_is_small() -> None:
    shipped = GraphemeToPhoneme.load()
    assert SHIPPED.stat().st_size < 1_000_000
    assert shipped.pronounce("northwind")[0].phones == ("N", "AO", "R", "TH", "W", "IH", "N", "D")
    assert shipped.pronounce("shorebank")[0].phones == ("SH", "AO", "R", "B", "AE", "NG", "K")


def test_a_words_forms_stay_on_one_side() -> None:
    words = {f"{a}{b}at{end}": [("B",)] for a in "bcdfg" for b in "lrn" for end in ("", "s", "'s")}
    seen, unseen = parted(words, 0.3)
    assert seen
    assert unseen
    assert not seen.keys() & unseen.keys()
    assert {word.removesuffix("'s").removesuffix("s") for word in seen}.isdisjoint(
        word.removesuffix("'s").removesuffix("s") for word in unseen
    )


def test_errors_are_counted_against_the_nearest_way_to_say_it() -> None:
    lexicon = {"a": [("AH",), ("EY",)], "be": [("B", "IY")]}
    told = measure(lambda word: {"a": [("EY",)], "be": [("B",), ("B", "IY")]}[word], lexicon)
    assert (told.phone_error_rate, told.word_error_rate, told.word_error_rate_of_three) == (1 / 3, 0.5, 0.0)


def test_the_command_trains_and_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lexicon = "".join(f"{word} {' '.join(way)}\n" for word, ways in toy_lexicon().items() for way in ways)
    (tmp_path / "words.txt").write_text(lexicon)
    out = tmp_path / "model.xz"
    assert main(["train", "--lexicon", str(tmp_path / "words.txt"), "--out", str(out)]) == 0
    assert "words held out" in capsys.readouterr().out
    assert main(["say", "--model", str(out), "tan"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("T AE N")
    (tmp_path / "words.txt").write_text("a QQ\n")
    assert main(["train", "--lexicon", str(tmp_path / "words.txt"), "--out", str(out)]) == 1
    assert "Line 1 of the dictionary" in capsys.readouterr().err
