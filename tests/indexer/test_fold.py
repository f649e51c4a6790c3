"""The fold: order-free, idempotent, newest and first answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.call_document import CallState
from events.codec import Record
from events.identity import Role
from events.lifecycle import CallEnded, EndReason, LegAdded, LegHeld, LegResumed, MetadataReceived
from events.transcript import LegProgress, SegmentStatus
from indexer.fold import fold
from tests.indexer.call_records import STARTED_AT_MS, awkward_records, call_id, call_records, document_of, segment

CALL = call_id(1)
AWKWARD = awkward_records(CALL)


@settings(max_examples=300, deadline=None)
@given(st.permutations(AWKWARD), st.lists(st.sampled_from(AWKWARD), max_size=15))
def test_any_order_and_any_doubles_give_the_same_document(order: list[Record], again: list[Record]) -> None:
    expected = document_of(AWKWARD)
    folded = document_of([*order[: len(order) // 2], *again, *order[len(order) // 2 :]])
    assert replace(folded, revision=0) == replace(expected, revision=0)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)), st.randoms())
def test_holds_come_out_the_same_in_any_order(held: set[int], resumed: set[int], dice: object) -> None:
    records: list[Record] = [LegHeld(CALL, 0, at) for at in held] + [LegResumed(CALL, 0, at) for at in resumed]
    if not records:
        return
    shuffled = records[:]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert document_of(shuffled).legs == document_of(sorted(records, key=lambda item: item.at_ms)).legs  # type: ignore


def test_a_hold_ends_at_the_first_resume_behind_it() -> None:
    records = [LegHeld(CALL, 0, 1000), LegResumed(CALL, 0, 2000), LegHeld(CALL, 0, 7000)]
    assert document_of(records).legs[0].holds == ((1000, 2000), (7000, None))


def test_the_same_record_twice_changes_nothing_and_counts_no_revision() -> None:
    document = document_of(AWKWARD)
    for record in AWKWARD:
        assert fold(document, record) is document


def test_each_change_counts_one_revision() -> None:
    records = call_records(CALL, [(0, "hello")])
    document = document_of(records[:1])
    assert document.revision == 1
    assert fold(document, records[1]).revision == 2


def test_a_call_is_complete_when_ended_transcribed_and_recorded() -> None:
    records = call_records(CALL, [(0, "hello"), (1, "hi")])
    states = []
    document = None
    for record in records:
        document = fold(document, record)
        states.append(document.state)
    assert states[-3:] == [CallState.IN_PROGRESS, CallState.ENDED, CallState.COMPLETE]
    assert document is not None
    assert document.duration_ms == records[-2].duration_ms  # type: ignore[union-attr]


def test_the_higher_revision_of_a_segment_stands() -> None:
    new, old = segment(CALL, 0, 500, "new words", revision=3), segment(CALL, 0, 500, "old words", revision=1)
    assert document_of([new, old]).segments == (new,)
    assert document_of([old, new]).segments == (new,)


def test_of_two_segments_of_one_revision_the_one_that_hides_more_stands() -> None:
    open_, hidden = segment(CALL, 0, 500, "zzz four two"), segment(CALL, 0, 500, "is [CARD_NUMBER]")
    assert document_of([open_, hidden]).segments == (hidden,)
    assert document_of([hidden, open_]).segments == (hidden,)


def test_partial_segments_are_not_kept() -> None:
    assert document_of([segment(CALL, 0, 500, "hel", status=SegmentStatus.PARTIAL)]).segments == ()


def test_segments_are_ordered_by_start_then_leg() -> None:
    late, second, first = (segment(CALL, leg, at, "a") for leg, at in ((0, 900), (1, 500), (0, 500)))
    assert document_of([late, second, first]).segments == (first, second, late)


def test_a_named_role_beats_the_role_of_the_transcript_also_when_it_comes_later() -> None:
    heard = LegProgress(CALL, 0, Role.MIXED, 1000)
    named = LegAdded(CALL, 0, 0, Role.CUSTOMER, True)
    for records in ([heard, named], [named, heard]):
        leg = document_of(records).legs[0]
        assert (leg.role, leg.role_verified, leg.transcribed_to_ms) == (Role.CUSTOMER, True, 1000)


def test_the_newest_description_of_a_leg_stands() -> None:
    first = LegAdded(CALL, 0, 0, Role.UNKNOWN, False)
    later = LegAdded(CALL, 0, 800, Role.AGENT, True, speaker_name="Ann")
    assert document_of([later, first]).legs[0].speaker_name == "Ann"


def test_the_duration_follows_the_words_until_the_call_has_ended() -> None:
    going_on = document_of([LegProgress(CALL, 0, Role.AGENT, 4_000)])
    assert going_on.duration_ms == 4_000
    ended = fold(going_on, CallEnded(CALL, STARTED_AT_MS + 3_900, 3_900, EndReason.HUNG_UP))
    assert ended.duration_ms == 3_900
    assert fold(ended, LegProgress(CALL, 0, Role.AGENT, 4_100)).duration_ms == 3_900


def test_what_a_document_does_not_hold_is_passed_over() -> None:
    document = document_of([LegProgress(CALL, 0, Role.AGENT, 4_000)])
    assert fold(document, MetadataReceived(CALL, 10, "<recording/>")) is document


def test_a_record_of_another_call_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="another call's document"):
        fold(document_of(AWKWARD), LegHeld(call_id(2), 0, 5))
