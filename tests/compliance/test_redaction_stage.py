"""The redacting stage on a real event log with real keys: hold-back, order, replay after a crash, partials."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.finished_calls import FinishedCalls
from compliance.redaction.settings import RedactionSettings
from compliance.redaction.stage import RedactionStage
from events import metrics
from events.clock import ManualClock
from events.codec import Record
from events.consumer import ConsumerSettings, Opened, StageLoop
from events.identity import CallId, RecordId, Role
from events.key_store import KeyStore, MasterKey
from events.log import Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import TRANSCRIPT_PARTIAL, TRANSCRIPT_RAW, TRANSCRIPT_REDACTED, Topic
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    PiiKind,
    RedactedSegment,
    SegmentStatus,
    TranscriptSegment,
    Word,
)
from tests.compliance.redaction_dialogues import (
    CALL,
    CUSTOMER,
    ROLES,
    card_dialogue,
    finders,
    luhn_number,
    records,
)

OTHER_CALL = CallId("d" * 32)


class Rig:
    """A log, keys, and members of the redaction group that are stepped by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.keys = KeyStore(folder / "keys", MasterKey(bytes(32)))
        self.sealer = Sealer(self.keys, self.clock)
        self.writer = SqliteLog(folder / "log")
        self.members: list[SqliteLog] = []
        self.readers = 0

    def write(self, raw: Iterable[Record]) -> None:
        raw = list(raw)
        for call in {CallId(record.call) for record in raw}:  # type: ignore[union-attr]
            self.keys.create(call)
        self.writer.append(TRANSCRIPT_RAW, [self.sealer.event(TRANSCRIPT_RAW, record) for record in raw])

    def member(self, most_records: int = 256) -> StageLoop:
        log = SqliteLog(self.folder / "log")
        self.members.append(log)
        stage = RedactionStage(FinishedCalls(self.folder / "state"), make_finders=finders, clock=self.clock)
        settings = ConsumerSettings(most_records=most_records, wait_s=0.01)
        return StageLoop(log, self.sealer, stage, Group("redaction"), settings, clock=self.clock)

    def crash(self) -> None:
        while self.members:
            self.members.pop().close()

    def step(self, loop: StageLoop, times: int) -> None:
        for _ in range(times):
            loop.step()

    def out(self, topic: Topic = TRANSCRIPT_REDACTED) -> list[Record]:
        log = SqliteLog(self.folder / "log")
        found: list[Record] = []
        self.readers += 1
        group = Group(f"test-{self.readers}")
        while deliveries := log.read([topic], group, 5_000, 0.0):
            found += [self.sealer.record(topic, delivery.event) for delivery in deliveries]
        log.close()
        return found

    def close(self) -> None:
        self.crash()
        self.writer.close()
        self.keys.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def segment(
    text: str, start_ms: int, leg: int = CUSTOMER, status: SegmentStatus = SegmentStatus.FINAL, call: CallId = CALL,
    revision: int = 0,
) -> TranscriptSegment:  # fmt: skip
    words = tuple(
        Word(word, start_ms + 300 * place, start_ms + 300 * place + 280, 0.9)
        for place, word in enumerate(text.split())
    )
    return TranscriptSegment(
        RecordId(f"{call}:segment:{leg}:{start_ms * 8}"), call, leg, ROLES[leg], status, start_ms * 8, start_ms,
        words[-1].end_ms, words, revision,
    )  # fmt: skip


def progress(up_to_ms: int) -> list[Record]:
    return [LegProgress(CALL, leg, role, up_to_ms) for leg, role in ROLES.items()]


def texts(out: Iterable[Record]) -> list[str]:
    return [record.text for record in out if isinstance(record, RedactedSegment)]


def unique(out: Iterable[Record]) -> list[Record]:
    """Drop what a reader that ignores what it has seen would drop."""
    seen: set[object] = set()
    kept: list[Record] = []
    for record in out:
        name = (record.id, record.revision) if isinstance(record, RedactedSegment) else record
        if name not in seen:
            seen.add(name)
            kept.append(record)
    return kept


def test_an_ordinary_segment_leaves_at_once(rig: Rig) -> None:
    rig.write([segment("i would like to pay my bill", 1_000)])
    rig.step(rig.member(), 3)
    assert texts(rig.out()) == ["i would like to pay my bill"]


def test_a_tail_of_digits_waits_until_the_window_has_passed_on_both_legs(rig: Rig) -> None:
    settings = RedactionSettings()
    loop = rig.member()
    tail = segment("it says four two", 1_000)
    rig.write([*progress(500), tail, LegProgress(CALL, CUSTOMER, Role.CUSTOMER, tail.end_ms + 9_000)])
    rig.step(loop, 3)
    assert texts(rig.out()) == [], "the other leg has not been heard yet"
    rig.write([LegProgress(CALL, 0, Role.AGENT, tail.end_ms + settings.hold_back_ms - 1)])
    rig.step(loop, 3)
    assert texts(rig.out()) == []
    rig.write([LegProgress(CALL, 0, Role.AGENT, tail.end_ms + settings.hold_back_ms)])
    rig.step(loop, 3)
    assert texts(rig.out()) == ["it says four two"]


def test_a_held_segment_is_hidden_when_the_number_goes_on(rig: Rig) -> None:
    rig.write(
        [
            *progress(500), segment("it says four two", 1_000), *progress(3_000),
            segment("four two four two", 4_000), *progress(20_000),
        ]
    )  # fmt: skip
    rig.step(rig.member(), 3)
    assert texts(rig.out()) == ["it says [NUMBER]", "[NUMBER]"]


def test_no_progress_overtakes_a_held_segment_of_its_leg(rig: Rig) -> None:
    tail = segment("it says four two", 1_000)
    rig.write([*progress(500), tail, *progress(3_000)])
    loop = rig.member()
    rig.step(loop, 3)
    assert [r for r in rig.out() if getattr(r, "leg", None) == CUSTOMER] == [
        LegProgress(CALL, CUSTOMER, Role.CUSTOMER, 500)
    ]
    rig.write(progress(30_000))
    rig.step(loop, 3)
    legs = [type(r).__name__ for r in rig.out() if getattr(r, "leg", None) == CUSTOMER]
    assert legs == ["LegProgress", "RedactedSegment", "LegProgress", "LegProgress"]


def test_the_end_of_the_call_lets_go_everything_in_order(rig: Rig) -> None:
    ends = [LegTranscriptEnded(CALL, leg, role, 3_000) for leg, role in ROLES.items()]
    rig.write(
        [
            *progress(500),
            segment("it says four two", 1_000),
            ends[1],
            ends[0],
            CallTranscriptEnded(CALL, (0, 1), 3_000),
        ]
    )
    rig.step(rig.member(), 3)
    out = rig.out()
    assert texts(out) == ["it says four two"]
    assert isinstance(out[-1], CallTranscriptEnded)
    names = [type(r).__name__ for r in out if getattr(r, "leg", None) == CUSTOMER]
    assert names == ["LegProgress", "RedactedSegment", "LegTranscriptEnded"]


def test_a_segment_that_was_let_go_comes_again_with_a_higher_revision(rig: Rig) -> None:
    first = segment("it goes like four two one", 1_000)
    rig.write([*progress(500), first, *progress(first.end_ms + 5_000)])
    loop = rig.member()
    rig.step(loop, 3)
    assert texts(rig.out()) == ["it goes like four two one"]
    rig.write([segment("seven seven eight", first.end_ms + 6_000), *progress(40_000)])
    rig.step(loop, 3)
    versions = [(r.revision, r.text) for r in rig.out() if isinstance(r, RedactedSegment) and r.id == first.id]
    assert versions == [(0, "it goes like four two one"), (1, "it goes like [NUMBER]")]


@pytest.mark.parametrize("crashes", range(4))
def test_a_crash_anywhere_changes_nothing_but_duplicates(rig: Rig, crashes: int) -> None:
    rng = random.Random(crashes)
    raw = records(card_dialogue(rng, luhn_number(rng), asked=crashes % 2 == 0, read_back=True), rng)
    rig.write(raw)
    loop = rig.member(most_records=7)
    for _ in range(crashes):
        rig.step(loop, rng.randrange(1, 6))
        rig.crash()
        loop = rig.member(most_records=7)
    rig.step(loop, len(raw))
    crashed = unique(rig.out())
    clean = RedactionStage(FinishedCalls(rig.folder / "clean"), make_finders=finders, clock=rig.clock)
    expected = [record for opened in _opened(rig) for _, record in clean.handle(opened)]
    assert crashed == unique(expected)
    assert len(expected) >= len(raw)


def _opened(rig: Rig) -> list[Opened]:
    log = SqliteLog(rig.folder / "log")
    deliveries = log.read([TRANSCRIPT_RAW], Group("redaction-again"), 5_000, 0.0)
    log.close()
    return [Opened(delivery, rig.sealer.record(TRANSCRIPT_RAW, delivery.event)) for delivery in deliveries]


def test_an_open_call_holds_its_partitions_position_and_a_finished_one_does_not(rig: Rig) -> None:
    rig.write([segment("hello there", 1_000)])
    (opened,) = _opened(rig)
    stage = RedactionStage(FinishedCalls(rig.folder / "state"), make_finders=finders, clock=rig.clock)
    stage.handle(opened)
    assert stage.unfinished(opened.delivery.partition) == opened.delivery.position
    rig.write([CallTranscriptEnded(CALL, (1,), 5_000)])
    stage.handle(_opened(rig)[1])
    assert stage.unfinished(opened.delivery.partition) == opened.delivery.position, "not before it is written down"
    stage.made_durable()
    assert stage.unfinished(opened.delivery.partition) is None


def test_the_tail_of_a_finished_call_is_not_redacted_alone(rig: Rig) -> None:
    """Where another call holds the position, a finished one comes again after a crash, without its beginning."""
    rig.write([segment("what is your card number", 1_000, leg=0)])
    rig.write([segment("good morning", 2_000, call=OTHER_CALL)])
    rig.write([segment("it ends in four two four", 3_000), CallTranscriptEnded(CALL, (1,), 5_000)])
    tail = [opened for opened in _opened(rig) if opened.record.call == CALL][1:]  # type: ignore[union-attr]
    rig.step(rig.member(), 3)
    rig.crash()
    before = rig.out()
    assert "four two four" not in " ".join(texts(before))
    successor = RedactionStage(FinishedCalls(rig.folder / "state"), make_finders=finders, clock=rig.clock)
    assert [made for opened in tail for made in successor.handle(opened)] == []


def test_a_segment_that_comes_twice_is_taken_once(rig: Rig) -> None:
    once = segment("hello there", 1_000)
    rig.write([once, once, CallTranscriptEnded(CALL, (1,), 5_000), once])
    rig.step(rig.member(), 3)
    assert texts(rig.out()) == ["hello there"]


def test_revoked_calls_are_forgotten(rig: Rig) -> None:
    rig.write([segment("four two four two", 1_000)])
    (opened,) = _opened(rig)
    stage = RedactionStage(FinishedCalls(rig.folder / "state"), make_finders=finders, clock=rig.clock)
    assert [*stage.handle(opened)] == []
    stage.revoked(frozenset({opened.delivery.partition}))
    assert stage.unfinished(opened.delivery.partition) is None
    assert [*stage.handle(opened)] == []
    assert stage.unfinished(opened.delivery.partition) == opened.delivery.position


def test_calls_do_not_lend_each_other_their_requests(rig: Rig) -> None:
    rig.write(
        [
            segment("what is the security code", 1_000, leg=0),
            segment("we have two of four and one here", 3_000, call=OTHER_CALL),
            CallTranscriptEnded(OTHER_CALL, (1,), 9_000),
        ]
    )
    rig.step(rig.member(), 3)
    assert "we have two of four and one here" in texts(rig.out())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("my name is my? called? brown? and i need help", "my name is [PERSON_NAME] and i need help"),
        ("my name is like? the? brown", "my name is [PERSON_NAME]"),
        ("my name is on the card", "my name is on the card"),
        ("my name is on the? card", "my name is on the card"),
    ],
)
def test_unsure_words_behind_my_name_is_are_a_misheard_name(rig: Rig, said: str, shown: str) -> None:
    whole = segment(said.replace("?", ""), 1_000)
    marks = [word.endswith("?") for word in said.split()]
    words = tuple(
        replace(word, confidence=0.4 if unsure else 0.9) for word, unsure in zip(whole.words, marks, strict=True)
    )
    later = segment("my called number is in my file", 9_000)
    rig.write([replace(whole, words=words), later, CallTranscriptEnded(CALL, (1,), 20_000)])
    rig.step(rig.member(), 3)
    assert texts(rig.out()) == [shown, "my called number is in my file"]


def test_partials_go_to_their_own_topic_and_are_masked_early(rig: Rig) -> None:
    said = "my name is laura and my number is four two four two"
    words = said.split()
    partials = [
        segment(" ".join(words[:count]), 1_000, status=SegmentStatus.PARTIAL, revision=count)
        for count in range(1, len(words) + 1)
    ]
    rig.write(partials)
    rig.step(rig.member(), 3)
    assert rig.out() == []
    shown = rig.out(TRANSCRIPT_PARTIAL)
    assert len(shown) == len(partials)
    seen = {word.text for partial in shown if isinstance(partial, RedactedSegment) for word in partial.words}
    assert not seen & {"laura", "four", "two"}
    assert {"my", "name", "is", "[PERSON_NAME]", "number"} <= seen


@pytest.mark.parametrize(("stable", "shown"), [(0, 0), (3, 3), (4, 4), (7, 7), (8, 7), (10, 7), (11, 8)])
def test_stable_words_are_counted_in_the_words_shown(rig: Rig, stable: int, shown: int) -> None:
    partial = segment("my name is laura and my card four two four two", 1_000, status=SegmentStatus.PARTIAL)
    rig.write([replace(partial, stable_words=stable)])
    rig.step(rig.member(), 3)
    (told,) = rig.out(TRANSCRIPT_PARTIAL)
    assert isinstance(told, RedactedSegment)
    assert [word.text for word in told.words] == [
        "my",
        "name",
        "is",
        "[PERSON_NAME]",
        "and",
        "my",
        "card",
        "[NUMBER]",
    ]
    assert told.stable_words == shown


def test_stale_partials_are_dropped_and_partials_behind_their_final_too(rig: Rig) -> None:
    rig.write([segment("hello", 1_000, status=SegmentStatus.PARTIAL)])
    rig.clock.advance(RedactionSettings().partial_stale_ms + 1)
    rig.write([segment("good", 9_000), segment("goo", 9_000, status=SegmentStatus.PARTIAL)])
    rig.step(rig.member(), 3)
    assert rig.out(TRANSCRIPT_PARTIAL) == []


def test_hidden_spans_are_counted_by_kind(rig: Rig) -> None:
    before = metrics.counted(metrics.PII_SPANS, kind=PiiKind.SSN.value)
    rig.write(
        [
            segment("what is your social security number", 1_000, leg=0),
            segment("two one nine oh nine nine nine nine nine", 4_000),
            CallTranscriptEnded(CALL, (0, 1), 9_000),
        ]
    )
    rig.step(rig.member(), 3)
    assert metrics.counted(metrics.PII_SPANS, kind=PiiKind.SSN.value) == before + 1


def test_no_word_of_the_transcript_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig.write(
        [
            segment("zebra what is your card number", 1_000, leg=0),
            segment("four two four two four two four two four two four two four two four two quagga", 4_000),
            segment("mail okapi at gmail dot com", 14_000),
            CallTranscriptEnded(CALL, (0, 1), 19_000),
        ]
    )
    rig.step(rig.member(), 3)
    assert len(texts(rig.out())) == 3
    for word in ("zebra", "quagga", "okapi", "4242"):
        assert word not in caplog.text
