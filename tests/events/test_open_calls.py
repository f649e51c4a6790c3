"""From where a successor would have to read: the smallest first position of unfinished calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from events.identity import CallId, RecordId
from events.log import Delivery, Event, Position, TopicPartition
from events.open_calls import OpenCalls, OpenCallsSettings
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Topic

HOUR_MS = 3_600_000
AUDIO, LIFECYCLE = TopicPartition(CALL_AUDIO.name, 3), TopicPartition(CALL_LIFECYCLE.name, 3)


def delivery(call: str, offset: int, at_ms: int = 0, topic: Topic = CALL_AUDIO, part: int = 3) -> Delivery:
    event = Event(RecordId(f"{call}:{offset}"), call, "kind", at_ms, b"")
    return Delivery(topic, TopicPartition(topic.name, part), offset, event)


def test_the_first_position_of_the_oldest_unfinished_call_counts() -> None:
    calls = OpenCalls()
    assert calls.unfinished(AUDIO) is None
    for offset, call in enumerate("aabbca", start=10):
        assert calls.note(delivery(call, offset))
    assert calls.unfinished(AUDIO) == Position(AUDIO, 10)
    calls.done(CallId("b"))
    assert calls.unfinished(AUDIO) == Position(AUDIO, 10)
    calls.done(CallId("a"))
    assert calls.unfinished(AUDIO) == Position(AUDIO, 14)
    calls.done(CallId("c"))
    assert calls.unfinished(AUDIO) is None


def test_a_call_pins_every_topic_it_was_seen_in() -> None:
    calls = OpenCalls()
    calls.note(delivery("a", 5))
    calls.note(delivery("a", 9, topic=CALL_LIFECYCLE))
    assert calls.unfinished(AUDIO) == Position(AUDIO, 5)
    assert calls.unfinished(LIFECYCLE) == Position(LIFECYCLE, 9)
    assert len(calls) == 1
    calls.done(CallId("a"))
    assert calls.unfinished(AUDIO) is None
    assert calls.unfinished(LIFECYCLE) is None
    assert CallId("a") not in calls


def test_late_records_of_a_finished_call_do_not_open_it_again() -> None:
    calls = OpenCalls(OpenCallsSettings(remembered=2))
    calls.note(delivery("a", 1))
    calls.done(CallId("a"))
    assert not calls.note(delivery("a", 2, topic=CALL_LIFECYCLE))
    assert calls.is_done(CallId("a"))
    assert calls.unfinished(LIFECYCLE) is None
    calls.done(CallId("b"))
    calls.done(CallId("c"))
    assert calls.note(delivery("a", 3)), "Only so many finished calls are known."


def test_what_is_revoked_is_forgotten_and_told() -> None:
    calls = OpenCalls()
    calls.note(delivery("a", 1))
    calls.note(delivery("a", 2, topic=CALL_LIFECYCLE))
    calls.note(delivery("b", 3, part=4))
    assert calls.revoked([AUDIO]) == {"a"}
    assert calls.unfinished(AUDIO) is None
    assert calls.unfinished(LIFECYCLE) is None, "The call is another member's now, with all its topics."
    assert "b" in calls
    assert calls.note(delivery("a", 1)), "It may come back."
    assert calls.unfinished(AUDIO) == Position(AUDIO, 1)


def test_a_call_that_never_ends_lets_go_at_last() -> None:
    calls = OpenCalls(OpenCallsSettings(longest_h=12, silent_h=12))
    calls.note(delivery("endless", 1, at_ms=0))
    for hour in range(1, 13):
        calls.note(delivery("endless", 10 * hour, at_ms=hour * HOUR_MS))
        calls.note(delivery(f"short-{hour}", 10 * hour + 1, at_ms=hour * HOUR_MS))
    assert calls.unfinished(AUDIO) == Position(AUDIO, 1)
    assert calls.expired() == []
    calls.note(delivery("next", 500, at_ms=12 * HOUR_MS + 1))
    assert calls.expired() == ["endless"]
    assert calls.expired() == []
    assert calls.unfinished(AUDIO) == Position(AUDIO, 11)
    assert not calls.note(delivery("endless", 501, at_ms=12 * HOUR_MS + 2))


def test_a_call_that_fell_silent_lets_go_and_one_that_goes_on_does_not() -> None:
    calls = OpenCalls(OpenCallsSettings(longest_h=12, silent_h=2))
    calls.note(delivery("silent", 1, at_ms=0))
    calls.note(delivery("speaking", 2, at_ms=0))
    calls.note(delivery("speaking", 3, at_ms=2 * HOUR_MS + 1))
    assert calls.expired() == ["silent"]
    assert calls.unfinished(AUDIO) == Position(AUDIO, 2)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2), st.booleans()), max_size=60))
def test_it_agrees_with_looking_through_everything(doings: list[tuple[str, int, bool]]) -> None:
    calls = OpenCalls()
    seen: list[tuple[str, int, int]] = []
    done: set[str] = set()
    for offset, (call, part, ends) in enumerate(doings):
        if call not in done:
            seen.append((call, part, offset))
        calls.note(delivery(call, offset, part=part))
        if ends:
            done.add(call)
            calls.done(CallId(call))
        for asked in range(3):
            where = TopicPartition(CALL_AUDIO.name, asked)
            needed = [at for who, in_part, at in seen if in_part == asked and who not in done]
            assert calls.unfinished(where) == (Position(where, min(needed)) if needed else None)
