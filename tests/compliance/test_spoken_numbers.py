"""The normaliser: how people say numbers, and which words every written character came from."""

from __future__ import annotations

import pytest

from compliance.redaction.normalised_text import SpokenText, normalise
from compliance.redaction.spans import Conversation
from compliance.redaction.spoken_numbers import Sort, lex, luhn_valid
from events.identity import CallId, RecordId, Role
from events.transcript import SegmentStatus, TranscriptSegment, Word


def heard(*segments: str) -> Conversation:
    """One leg's segments, a word every 300 ms, half a second between segments."""
    made = []
    now = 0
    for number, text in enumerate(segments):
        words = tuple(Word(word, now + 300 * i, now + 300 * i + 280, 0.9) for i, word in enumerate(text.split()))
        made.append(
            TranscriptSegment(
                RecordId(f"s{number}"), CallId("c" * 32), 0, Role.CUSTOMER, SegmentStatus.FINAL, now * 8, now,
                words[-1].end_ms, words,
            )
        )  # fmt: skip
        now = words[-1].end_ms + 500
    return Conversation(made)


def written(*segments: str) -> SpokenText:
    return normalise(heard(*segments).legs[0])


# The forms are those of the issue (digit by digit, double, pairs, hundreds, corrections, spelled addresses);
# the sentences are ours.
FORMS = [
    ("four two four two", "4242"),
    ("four oh four", "404"),
    ("four o four", "404"),
    ("zero nine", "09"),
    ("double four two", "442"),
    ("triple oh seven", "0007"),
    ("triple six", "666"),
    ("quadruple one two", "11112"),
    ("forty four eleven", "4411"),
    ("forty two forty two forty two", "424242"),
    ("nineteen eighty two", "1982"),
    ("twenty ten", "2010"),
    ("four hundred", "400"),
    ("four hundred and five", "405"),
    ("four hundred twelve", "412"),
    ("eight hundred five five five one two", "80055512"),
    ("twelve hundred", "1200"),
    ("two thousand", "2000"),
    ("two thousand and twelve", "2012"),
    ("two thousand four hundred and six", "2406"),
    ("twenty one", "21"),
    ("twenty oh one", "2001"),
    ("ninety nine point five", "99 point 5"),
    ("four to four two", "4242"),
    ("two for one ate three", "24183"),
    ("five nein five won five", "59515"),
    ("one two uh three um four", "1234"),
    ("one two okay three", "123"),
    ("four two no five two", "52"),
    ("four two four sorry five two", "452"),
    ("one two three i mean four five six", "456"),
    ("my card is 4242 4242", "my card is 42424242"),
    ("4242-4242-4242-4242", "4242424242424242"),
    ("b as in boy four", "b 4"),
    ("j o h n", "john"),
    ("double u", "w"),
    ("j o h n at gmail dot com", "john@gmail.com"),
    ("j o h n underscore smith at gmail dot com", "john_smith@gmail.com"),
    ("mary dash ann at example dot org", "mary-ann@example.org"),
    ("nothing to see here", "nothing to see here"),
    ("thanks for calling", "thanks for calling"),
    ("oh i see", "oh i see"),
]


@pytest.mark.parametrize(("said", "figures"), FORMS, ids=[said.replace(" ", "_") for said, _ in FORMS])
def test_spoken_form_is_written_in_figures(said: str, figures: str) -> None:
    assert written(said).text == figures


@pytest.mark.parametrize("said", [said for said, _ in FORMS], ids=lambda said: said.replace(" ", "_"))
def test_every_character_names_words_that_exist_in_order(said: str) -> None:
    spoken = written(said)
    count = len(said.split())
    assert len(spoken.sources) == len(spoken.text)
    assert all(0 <= first <= last < count for first, last in spoken.sources)
    assert list(spoken.sources) == sorted(spoken.sources)


def test_digits_map_to_the_words_that_said_them() -> None:
    spoken = written("it is double four eleven and forty two")
    start = spoken.text.index("4")
    assert spoken.text == "it is 441142"
    assert spoken.words(start, start + 2) == (2, 3)
    assert spoken.words(start + 2, start + 4) == (4, 4)
    assert spoken.words(start + 4, start + 6) == (6, 7)


def test_a_corrected_number_maps_to_the_wrong_digits_too() -> None:
    spoken = written("four two no five two")
    assert spoken.words(0, 2) == (0, 4)


def test_a_number_goes_on_over_segments() -> None:
    assert written("my number is four two", "four two nine nine").text == "my number is 424299"


def test_a_long_silence_ends_a_number() -> None:
    conversation = heard("four two four two")
    later = heard("five five five five").segments[0]
    moved = tuple(Word(w.text, w.start_ms + 60_000, w.end_ms + 60_000, 0.9) for w in later.words)
    second = TranscriptSegment(
        RecordId("s9"), later.call, 0, later.role, later.status, 480_000, 60_000, moved[-1].end_ms, moved
    )
    assert normalise(Conversation([*conversation.segments, second]).legs[0]).text == "4242 5555"


@pytest.mark.parametrize(
    ("said", "sort"),
    [
        ("uh huh", Sort.FILLER),
        ("i mean", Sort.CORRECTION),
        ("scratch that", Sort.CORRECTION),
        ("b as in boy", Sort.LETTER),
        ("b for bravo", Sort.LETTER),
        ("double u", Sort.LETTER),
    ],
)
def test_several_words_make_one_token(said: str, sort: Sort) -> None:
    (token,) = lex(said.split())
    assert token.sort is sort
    assert (token.first, token.last) == (0, len(said.split()) - 1)


def test_luhn_agrees_with_published_test_numbers() -> None:
    # Test numbers that Stripe, Adyen and PayPal publish.
    for number in (
        "4242424242424242",
        "5555555555554444",
        "378282246310005",
        "6011111111111117",
        "30569309025904",
    ):
        assert luhn_valid(number)
        assert not luhn_valid(number[:-1] + str((int(number[-1]) + 1) % 10))
