"""Live pages and alerts: what the event log says is on the page at once, and answered once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from compliance.audit.audit_log import AuditFilter
from console.users import UserRole
from console.web.live_feed import LiveFeed
from console.web.live_turn import LiveTurn, last_line
from events.audit_entry import Action
from events.call_document import CallDocument, CallState
from events.codec import Record
from events.finding import Alert, AlertAnswered
from events.identity import CallId, Role, record_id
from events.lifecycle import CallEnded, CallSourceKind, CallStarted, EndReason, LegAdded, LegHeld
from events.log import Group
from events.sqlite_log import SqliteLog
from events.topics import ALERT, CALL_LIFECYCLE, TRANSCRIPT_PARTIAL, TRANSCRIPT_REDACTED, Topic
from events.transcript import RedactedSegment, SegmentStatus, Word
from tests.builders.made_calls import made_call
from tests.builders.made_console import NAMES, PASSWORD, MadeConsole, ServedConsole, served
from tests.builders.web_visitor import Visitor, text_of


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeConsole]:
    made = MadeConsole(tmp_path)
    yield made
    made.close()


@pytest.fixture
def feed(made: MadeConsole) -> LiveFeed:
    """The feed without its thread: records are handed to it."""
    return made.services.feed


DOCUMENT = made_call(0)


def started(document: CallDocument) -> list[Record]:
    return [
        CallStarted(document.call, document.started_at_ms, CallSourceKind.SIP, document.from_uri, document.to_uri),
        LegAdded(document.call, 0, 0, Role.AGENT, True, speaker_name="Laura Bennett"),
        LegAdded(document.call, 1, 0, Role.CUSTOMER, True),
    ]


def partial(segment: RedactedSegment, words: int, revision: int, stable: int = 0) -> RedactedSegment:
    return replace(
        segment,
        status=SegmentStatus.PARTIAL,
        words=segment.words[:words],
        revision=revision,
        stable_words=stable,
    )


def saying(text: str, place: int = 0) -> RedactedSegment:
    """A made call's segment with other words, without pauses between."""
    segment, texts = DOCUMENT.segments[place], text.split()
    at_ms = [segment.start_ms + 200 * number for number in range(len(texts))]
    words = tuple(Word(word, start, start + 200, 0.9) for word, start in zip(texts, at_ms, strict=True))
    return replace(segment, words=words)


def ended(document: CallDocument) -> CallEnded:
    return CallEnded(document.call, document.started_at_ms + 1, document.duration_ms, EndReason.HUNG_UP)


class TestFeed:
    def test_partials_are_replaced_by_finals(self, feed: LiveFeed) -> None:
        for record in started(DOCUMENT):
            feed.take(record)
        segment = DOCUMENT.segments[0]
        feed.take(partial(segment, 2, 0))
        feed.take(partial(segment, 5, 1))
        feed.take(partial(segment, 3, 0))
        (turn,) = feed.call(DOCUMENT.call).turns()  # type: ignore[union-attr]
        assert len(turn.segment.words) == 5, "an older partial does not replace a newer one"
        feed.take(segment)
        feed.take(segment)
        feed.take(partial(segment, 4, 9))
        (turn,) = feed.call(DOCUMENT.call).turns()  # type: ignore[union-attr]
        assert turn.final

    def test_what_is_found_to_be_personal_later_is_hidden_on_the_page_too(self, feed: LiveFeed) -> None:
        told = saying("i am jane smith")
        hidden = replace(saying("i am [PERSON_NAME]"), revision=1)
        feed.take(told)
        feed.take(hidden)
        feed.take(told)
        live = feed.call(DOCUMENT.call)
        assert live is not None
        assert [turn.segment.text for turn in live.turns()] == ["i am [PERSON_NAME]"]

    def test_records_may_come_in_any_order_between_topics(self, feed: LiveFeed) -> None:
        feed.take(DOCUMENT.segments[0])
        feed.take(started(DOCUMENT)[0])
        live = feed.call(DOCUMENT.call)
        assert live is not None
        assert live.started_at_ms == DOCUMENT.started_at_ms
        feed.take(ended(DOCUMENT))
        feed.take(partial(DOCUMENT.segments[1], 3, 0))
        assert len(live.turns()) == 1, "nobody speaks after the end"

    def test_ended_calls_leave_and_do_not_come_back(self, feed: LiveFeed, made: MadeConsole) -> None:
        feed.take(started(DOCUMENT)[0])
        feed.take(LegHeld(DOCUMENT.call, 0, 5))
        feed.take(ended(DOCUMENT))
        assert [live.call for live in feed.calls()] == [DOCUMENT.call], "shown for a moment more"
        made.clock.advance(60_001)
        assert feed.calls() == []
        feed.take(DOCUMENT.segments[0])
        assert feed.calls() == []

    def test_memory_is_bounded(self, feed: LiveFeed) -> None:
        for number in range(2_100):
            feed.take(replace(DOCUMENT.segments[0], id=record_id(DOCUMENT.call, "segment", 0, number)))
        assert len(feed.call(DOCUMENT.call).segments) == 2_000  # type: ignore[union-attr]
        for number in range(250):
            feed.take(replace(DOCUMENT.alerts[0], id=record_id(DOCUMENT.call, "alert", number)))
        assert len(feed.alerts()) == 200

    def test_the_first_answer_stands_also_when_it_comes_before_its_alert(self, feed: LiveFeed) -> None:
        alert = DOCUMENT.alerts[0]
        answers = [
            AlertAnswered(record_id(alert.call, "a", by), alert.id, alert.call, by, 1) for by in ("sonja", "sam")
        ]
        feed.take(answers[0])
        feed.take(alert)
        feed.take(answers[1])
        (item,) = feed.alerts()
        assert item.answer is not None
        assert item.answer.by == "sonja"

    def test_a_restarted_console_knows_calls_in_progress_and_open_alerts(self, made: MadeConsole) -> None:
        going = replace(
            made_call(4, recorded=False), state=CallState.IN_PROGRESS, ended_at_ms=None, transcript_ended=False
        )
        made.keep(going)
        made.keep(made_call(8))
        made.services.feed.seed()
        (live,) = made.services.feed.calls()
        assert live.call == going.call
        assert len(live.turns()) == len(going.segments)
        assert len(made.services.feed.alerts()) == 4


def put(made: MadeConsole, topic: Topic, *records: Record) -> None:
    made.log.append(topic, [made.sealer.event(topic, record) for record in records])


class Stream:
    """Reads server-sent events on a thread; `wait` finds one."""

    def __init__(self, served_console: ServedConsole, path: str, name: str) -> None:
        self.client = httpx.Client(base_url=served_console.url, timeout=30)
        token = Visitor.token(self.client.get("/login"))
        self.client.post("/login", data={"csrf": token, "name": name, "password": PASSWORD})
        self.messages: list[dict[str, object]] = []
        self.open = threading.Event()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, args=(path,), daemon=True)
        self.thread.start()
        assert self.open.wait(20)

    def _read(self, path: str) -> None:
        with self.client.stream("GET", path) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                self.open.set()
                if line.startswith("data: "):
                    with self.changed:
                        self.messages.append(json.loads(line[6:]))
                        self.changed.notify_all()

    def wait(self, **wanted: object) -> dict[str, object]:
        def found() -> dict[str, object] | None:
            return next((m for m in self.messages if all(m.get(k) == v for k, v in wanted.items())), None)

        with self.changed:
            assert self.changed.wait_for(lambda: found() is not None, 20), (wanted, self.messages)
            return found()  # type: ignore[return-value]


def test_the_stream_follows_the_event_log(made: MadeConsole) -> None:
    made.keys.create(DOCUMENT.call)
    other = made_call(1)
    made.keys.create(other.call)
    with served(made) as console:
        put(made, CALL_LIFECYCLE, *started(DOCUMENT), *started(other))
        _until(lambda: made.services.feed.call(DOCUMENT.call) and made.services.feed.call(other.call))
        everything = Stream(console, "/live/events", NAMES[UserRole.SUPERVISOR])
        one = Stream(console, f"/live/{DOCUMENT.call}/events", NAMES[UserRole.SUPERVISOR])
        card = DOCUMENT.segments[10]
        put(made, TRANSCRIPT_PARTIAL, partial(card, 2, 0))
        put(made, TRANSCRIPT_REDACTED, other.segments[0], card)
        put(made, ALERT, DOCUMENT.alerts[0])
        put(made, CALL_LIFECYCLE, ended(DOCUMENT))
        final = one.wait(type="segment", id=card.id, final=True)
        assert final["spoken"] == [
            ["it", "", False, True, ""],
            ["is", "", False, True, ""],
            ["card number", "", True, True, ""],
        ]
        assert final["reading"] == [
            ["It", "", False, True, ""],
            ["is", "", False, True, ""],
            ["card number", ".", True, True, ""],
        ]
        assert one.wait(type="alert")["title"] == "Promise of a certain gain"
        one.wait(type="ended")
        line = everything.wait(type="segment", call=other.call)["reading"]
        assert line[0][0] == "Welcome"  # type: ignore[index]
        assert "spoken" not in everything.wait(type="segment", call=other.call)
        everything.wait(type="ended", call=DOCUMENT.call)
        assert {message["call"] for message in one.messages if message["type"] != "now"} == {DOCUMENT.call}
    one.thread.join(20)
    everything.thread.join(20)
    assert not one.thread.is_alive(), "streams end when the console stops"
    subjects = [e.entry.subject for e in made.audit_log.page(AuditFilter(action=Action.VIEW_LIVE), None, 9)]
    assert subjects == [DOCUMENT.call, "live stream"]


def _until(look: object) -> None:
    deadline, pause = time.monotonic() + 20, threading.Event()
    while not look():  # type: ignore[operator]
        assert time.monotonic() < deadline
        pause.wait(0.02)


def test_a_stream_begins_with_the_state_so_that_nothing_falls_between_page_and_stream(made: MadeConsole) -> None:
    feed = made.services.feed
    with served(made) as console:
        for record in (*started(DOCUMENT), *DOCUMENT.segments[:4], *DOCUMENT.alerts, *started(made_call(1))):
            feed.take(record)
        feed.take(ended(DOCUMENT))
        one = Stream(console, f"/live/{DOCUMENT.call}/events", NAMES[UserRole.SUPERVISOR])
        one.wait(type="alert", alert=DOCUMENT.alerts[1].id)
        kinds = [message["type"] for message in one.messages]
        assert kinds == ["now", "call", *["segment"] * 4, "ended", "alert", "alert"]
        assert one.messages[0]["alerts"] == [alert.id for alert in reversed(DOCUMENT.alerts)]
        everything = Stream(console, "/live/events", NAMES[UserRole.SUPERVISOR])
        everything.wait(type="alert", alert=DOCUMENT.alerts[1].id)
        assert everything.messages[0]["calls"] == sorted([DOCUMENT.call, made_call(1).call])
        assert sum(message["type"] == "segment" for message in everything.messages) == 2


def test_a_stream_ends_when_its_person_is_disabled(made: MadeConsole) -> None:
    settings = replace(made.services.settings, stream_check_s=0.05)
    made.services = replace(made.services, settings=settings)
    with served(made) as console:
        stream = Stream(console, "/live/events", NAMES[UserRole.SUPERVISOR])
        made.clock.advance(1)
        made.users.change(NAMES[UserRole.SUPERVISOR], disabled=True)
        stream.wait(type="logged_out")
        stream.thread.join(20)
        assert not stream.thread.is_alive()


def test_a_second_run_goes_on_where_the_first_one_stopped(made: MadeConsole) -> None:
    made.keys.create(DOCUMENT.call)
    with served(made):
        put(made, CALL_LIFECYCLE, *started(DOCUMENT))
        _until(lambda: made.services.feed.call(DOCUMENT.call))
    put(made, CALL_LIFECYCLE, LegAdded(DOCUMENT.call, 0, 9, Role.AGENT, True, speaker_name="Somebody Else"))
    log = SqliteLog(made.folder / "log")
    again = LiveFeed(lambda: log, made.sealer, made.index, made.clock)
    again.start()
    try:
        _until(lambda: again.call(DOCUMENT.call))
        assert again.call(DOCUMENT.call).speakers == {0: (Role.AGENT, "Somebody Else")}  # type: ignore[union-attr]
    finally:
        again.stop()


def test_live_pages_read_well_without_scripts(made: MadeConsole, feed: LiveFeed) -> None:
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    assert "No calls in progress" in text_of(visitor.get("/live"))
    for record in (
        *started(DOCUMENT),
        *DOCUMENT.segments[:11],
        partial(DOCUMENT.segments[11], 3, 0),
        *DOCUMENT.alerts,
    ):
        feed.take(record)
    words = text_of(visitor.get("/live"))
    assert "Laura Bennett and Customer" in words
    assert "It is card number ." in words
    assert "Promise of a certain gain" in words
    page = visitor.get(f"/live/{DOCUMENT.call}")
    assert '<span class="w gone">card number</span>' in page.text
    assert "partial" in page.text
    assert "There is" not in text_of(page)
    assert visitor.get(f"/live/{made_call(5).call}").status_code == 404
    assert visitor.get("/live/nonsense").status_code == 404


def test_what_is_being_said_is_for_reading_as_far_as_it_is_settled(made: MadeConsole, feed: LiveFeed) -> None:
    said = saying("that is twenty three dollars per month at the [PERSON_NAME] address")
    feed.take(partial(said, 9, 3, stable=7))
    turn = feed.call(DOCUMENT.call).turns()[0]  # type: ignore[union-attr]
    firm = [(word.text, word.firm) for word in turn.reading()]
    assert firm == [
        *(("That", True), ("is", True), ("$23", True)),
        *(("per", False), ("month", False), ("at", False), ("the", False)),
    ]
    assert turn.reading()[2].said == "twenty three dollars"
    assert [word.firm for word in turn.spoken()] == [True] * 7 + [False] * 2
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    page = visitor.get(f"/live/{DOCUMENT.call}").text
    assert (
        '<span class="w" title="Said: twenty three dollars">$23</span> <span class="w unsure">per</span>' in page
    )
    assert '<span class="w">dollars</span>' in page, "as spoken stands beside it"
    assert "That is $23 per month at the" in text_of(visitor.get("/live"))
    feed.take(said)
    final = feed.call(DOCUMENT.call).turns()[0].reading()  # type: ignore[union-attr]
    assert "".join(word.text + word.mark + " " for word in final) == (
        "That is $23 per month at the person name address. "
    )
    assert all(word.firm for word in final)


def test_coarse_words_are_masked_where_that_is_set(made: MadeConsole, feed: LiveFeed) -> None:
    feed.take(saying("this shit costs twenty dollars"))
    feed.take(partial(saying("oh shit", 1), 2, 0))
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    assert visitor.get(f"/live/{DOCUMENT.call}").text.count(">shit<") == 4
    made.services = replace(made.services, settings=replace(made.services.settings, mask_profanity=True))
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    for path in ("/live", f"/live/{DOCUMENT.call}"):
        page = visitor.get(path).text
        assert "shit" not in page
        assert "s***" in page
    with served(made) as console:
        stream = Stream(console, f"/live/{DOCUMENT.call}/events", NAMES[UserRole.SUPERVISOR])
        message = stream.wait(type="segment", final=True)
        assert "shit" not in str(message)
        assert message["spoken"][1][0] == "s***"  # type: ignore[index]


def test_a_card_shows_the_end_of_what_was_said_last() -> None:
    words = LiveTurn(
        saying(" ".join(f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyzabcdefghijklm"))
    ).spoken()
    line = last_line(words)
    assert (line[0].text, line[-1].text) == ("…", "wordm")
    assert 80 < sum(len(word.text) + 1 for word in line) <= 115
    assert last_line(words[:4]) == words[:4]
    assert last_line([]) == []
    endless = words[0]._replace(text="a" * 500)
    assert [word.text[:3] for word in last_line([*words[:2], endless])] == ["…", "aaa"], "one word at least"


def _alerts_in_log(made: MadeConsole) -> list[Record]:
    deliveries = made.log.read([ALERT], Group("looking"), 100, 0.5)
    return [made.sealer.record(ALERT, delivery.event) for delivery in deliveries]


def test_an_alert_is_answered_once(made: MadeConsole, feed: LiveFeed) -> None:
    document = made.keep(made_call(0))
    alert: Alert = document.alerts[0]
    feed.take(alert)
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    assert alert.title in visitor.get("/alerts").text
    fields = {"alert": alert.id, "back": "https://evil.example"}
    assert visitor.post("/alerts/acknowledge", fields).headers["location"] == "/alerts"
    assert visitor.post("/alerts/acknowledge", fields | {"back": "/live"}).headers["location"] == "/live"
    answers = [record for record in _alerts_in_log(made) if isinstance(record, AlertAnswered)]
    assert {answer.id for answer in answers} == {answers[0].id}, "a second answer has the same id"
    assert (answers[0].alert, answers[0].by, answers[0].at_ms) == (alert.id, "sonja", made.clock.now_ms())
    entry = made.audit_log.page(AuditFilter(action=Action.ACKNOWLEDGE_ALERT), None, 1)[0].entry
    assert (entry.actor, entry.subject) == ("sonja", alert.id)
    words = text_of(visitor.get("/alerts"))
    assert "1 open" in words
    assert "Acknowledged" in words


def test_alerts_of_the_index_are_history_and_can_be_answered(made: MadeConsole) -> None:
    document = made.keep(made_call(0))
    made.keep(made_call(4, answered=True))
    visitor = Visitor(made.app(), UserRole.SUPERVISOR)
    words = text_of(visitor.get("/alerts"))
    assert "2 open" in words
    assert words.count("sonja") >= 2
    assert visitor.post("/alerts/acknowledge", {"alert": document.alerts[1].id}).status_code == 303
    for nothing in ("", "x", "0" * 32 + ":alert:x", document.call):
        assert visitor.post("/alerts/acknowledge", {"alert": nothing}).status_code == 404


def test_answers_to_erased_calls_are_refused_in_a_sentence(made: MadeConsole, feed: LiveFeed) -> None:
    alert = replace(DOCUMENT.alerts[0], call=CallId("f" * 32), id=record_id(CallId("f" * 32), "alert", 1))
    feed.take(alert)
    answer = Visitor(made.app(), UserRole.SUPERVISOR).post("/alerts/acknowledge", {"alert": alert.id})
    assert answer.status_code == 400
