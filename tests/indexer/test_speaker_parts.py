"""Words and turns joined by time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from events.call_document import CallDocument
from events.identity import Role
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from events.transcript import RedactedSegment, Word
from indexer.speaker_parts import parts_of
from tests.indexer.call_records import call_id, segment

CALL = call_id(1)
Lengths = list[tuple[int, int]]


def turns(lengths: Lengths, first_ms: int = 0) -> tuple[SpeakerTurn, ...]:
    """Turns of both speakers in alternation, from (pause before, length) of each."""
    made, at = [], first_ms
    for number, (pause, length) in enumerate(lengths):
        at += pause
        made.append(SpeakerTurn(number % 2, at, at + length))
        at += length
    return tuple(made)


def said(lengths: Lengths) -> RedactedSegment:
    words, at = [], 300
    for number, (pause, length) in enumerate(lengths):
        at += pause
        words.append(Word(f"w{number}", at, at + length, 0.9))
        at += length
    return replace(segment(CALL, 0, 300, "x", Role.MIXED), words=tuple(words), end_ms=at)


def document(segments: tuple[RedactedSegment, ...], *spoken: SpeakerTurns) -> CallDocument:
    return CallDocument(CALL, segments=segments, speaker_turns=spoken)


lengths = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 900)), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(lengths, lengths, st.integers(0, 3000))
def test_every_word_stays_once_and_in_order_and_goes_to_who_speaks_longest_in_it(
    spoken: Lengths, changes: Lengths, first_ms: int
) -> None:
    one, voices = said(spoken), turns(changes, first_ms)
    parts = list(parts_of(document((one,), SpeakerTurns(CALL, 0, voices))))
    assert tuple(word for part in parts for word in part.words) == one.words
    assert all(part.words for part in parts)
    assert all(before.speaker != after.speaker for before, after in pairwise(parts))
    assert parts[0].start_ms == one.start_ms
    for part in parts:
        for word in part.words:
            common = [min(t.end_ms, word.end_ms) - max(t.start_ms, word.start_ms) for t in voices]
            mine = max(c for c, turn in zip(common, voices, strict=True) if turn.speaker == part.speaker)
            assert mine == max(common)


def test_a_word_between_two_turns_goes_to_the_nearer_one_and_the_earlier_when_in_doubt() -> None:
    voices = SpeakerTurns(CALL, 0, (SpeakerTurn(0, 0, 1000), SpeakerTurn(1, 2000, 3000)))
    for start_ms, speaker in ((1100, 0), (1450, 0), (1451, 1), (1800, 1), (5000, 1)):
        one = replace(segment(CALL, 0, start_ms, "x"), words=(Word("x", start_ms, start_ms + 100, 1.0),))
        (part,) = parts_of(document((one,), voices))
        assert part.speaker == speaker, start_ms


def test_a_placeholder_is_a_word_like_any_other() -> None:
    one = segment(CALL, 0, 0, "number please [CARD_NUMBER] thanks")
    voices = SpeakerTurns(CALL, 0, (SpeakerTurn(0, 0, 590), SpeakerTurn(1, 590, 900), SpeakerTurn(0, 900, 1200)))
    parts = [(part.name, part.text) for part in parts_of(document((one,), voices))]
    assert parts == [("Speaker A", "number please"), ("Speaker B", "[CARD_NUMBER]"), ("Speaker A", "thanks")]


def test_other_legs_and_calls_without_turns_stay_as_they_are() -> None:
    segments = (
        segment(CALL, 0, 0, "one two three"),
        segment(CALL, 1, 400, "four five"),
        segment(CALL, 0, 2000, ""),
    )
    voices = SpeakerTurns(CALL, 0, turns([(0, 300), (0, 900)]))
    cut = list(parts_of(document(segments, voices)))
    assert [(part.segment.leg, part.name, part.text) for part in cut] == [
        (0, "Speaker A", "one"),
        (0, "Speaker B", "two three"),
        (1, "", "four five"),
    ]
    for spoken in ((), (SpeakerTurns(CALL, 0, ()),)):
        whole = list(parts_of(document(segments, *spoken)))
        assert [part.words for part in whole] == [segments[0].words, segments[1].words]
        assert {part.speaker for part in whole} == {None}
