"""The beginning of an utterance that goes on, for reading: what is shown of it once stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.transcript import PiiKind, Word
from recognizer.reading_text.open_end import NotSaidYet, OpenEnd
from recognizer.reading_text.reading import reading_tokens
from recognizer.reading_text.reading_token import as_text
from recognizer.reading_text.settled import settled_tokens
from recognizer.reading_text.written_form import settled_form, written_form


def split(text: str) -> list[str]:
    return text.split()


TELLING = split(
    "one two five nine ten twelve twenty thirty forty oh zero double hundred thousand million and a point percent per "
    "cent dollars cents euros first third twenty fifth of march may december nineteen eighty in the morning at o'clock "
    "p m a.m. dot com gmail www w underscore email jane smith is my i i'm s t h four k e mail doctor mister et cetera "
    "monday harbor mutual okay what can you do number extension code until fi wi"
) + [kind.placeholder for kind in PiiKind]
utterances = st.lists(st.sampled_from(TELLING), min_size=1, max_size=24)


def timed(words: list[str], pauses: list[int]) -> list[Word]:
    found, at_ms = [], 0
    for word, pause in zip(words, pauses, strict=True):
        found.append(Word(word, at_ms, at_ms + 200, 0.9))
        at_ms += 200 + pause
    return found


@settings(max_examples=200)
@given(st.data())
def test_what_is_settled_is_so_in_the_final_segment(data: st.DataObject) -> None:
    words = data.draw(utterances)
    stable = data.draw(st.integers(0, len(words)))
    unsure = data.draw(utterances)
    pauses = data.draw(st.lists(st.sampled_from((0, 200, 500, 900)), min_size=len(words), max_size=len(words)))
    tokens = settled_tokens(words[:stable] + unsure, stable)
    final = reading_tokens(timed(words, pauses))
    assert [(token.first, token.last) for token in tokens] == [
        (token.first, token.last) for token in final[: len(tokens)]
    ]
    for token, later in zip(tokens, final, strict=False):
        assert later.text in (token.text, token.text[:1].upper() + token.text[1:])
        assert token.mark == ""


@given(utterances, st.data())
def test_what_is_settled_stays_while_more_is_said(words: list[str], data: st.DataObject) -> None:
    less = data.draw(st.integers(0, len(words)))
    before, after = settled_tokens(words, less), settled_tokens(words, len(words))
    assert after[: len(before)] == before
    assert [token.first for token in after] == [0, *(token.last for token in after)][: len(after)]
    assert not after or after[-1].last <= len(words)


@given(utterances)
def test_pieces_of_an_open_end_are_those_of_the_whole(words: list[str]) -> None:
    settled = settled_form(words)
    assert written_form([*words, "thank", "you"])[: len(settled)] == settled
    assert written_form(words)[: len(settled)] == settled


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", ""),
        ("it", ""),
        ("it is twenty", "It"),
        ("it is twenty three", "It"),
        ("it is twenty three dollars", "It"),
        ("it is twenty three dollars and", "It"),
        ("it is twenty three dollars and fifty cents per month", "It is $23.50"),
        ("it is twenty three dollars per month", "It is $23"),
        ("on march third", ""),
        ("on march third we", "On March"),
        ("on march third we meet", "On March 3rd"),
        ("the card is [CARD_NUMBER] thank you", "The card is [CARD_NUMBER]"),
        ("write to jane dot smith at gmail dot", "Write"),
        ("write to jane dot smith at gmail dot com please do", "Write to jane.smith@gmail.com"),
        ("yes i'm here now", "Yes I'm"),
        ("my 401k has ten dollars in it", "My 401k has $10"),
        ("10 is ten or so", "10 is ten or"),
        ("Hello there we are", "Hello there we are"),
    ],
)
def test_numbers_are_written_as_soon_as_nothing_can_change_them(said: str, shown: str) -> None:
    words = said.split()
    assert as_text(settled_tokens(words, len(words))).replace("\u00a0", " ") == shown


def test_very_long_utterances_are_read_to_a_bound() -> None:
    words = ["twenty", "five", "dollars", "please"] * 600
    tokens = settled_tokens(words, len(words))
    assert tokens == reading_tokens(timed(words, [0] * len(words)))[: len(tokens)]
    assert 1_990 <= tokens[-1].last <= 2_000


def test_an_open_end_gives_no_word_that_was_not_said() -> None:
    words = OpenEnd(["a", "b"])
    assert (words[0], words[1], words[0:2]) == ("a", "b", ["a", "b"])
    for beyond in (2, slice(1, 3)):
        with pytest.raises(NotSaidYet):
            words[beyond]
