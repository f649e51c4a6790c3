"""The stages' loop on a real log: order, retries, dead letters, positions, take-over, stopping."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from events.clock import ManualClock
from events.consumer import ConsumerSettings, OpenCalls, Opened, Output, StageLoop, run_stage
from events.dead_letter import read_dead_letter
from events.errors import LogUnavailable, NeverRetry, RetryLater, StopConsumer, TooManyBad
from events.identity import CallId, Role, new_call_id
from events.key_store import KeyStore, MasterKey
from events.log import Delivery, Event, EventLog, Group, Position, TopicPartition
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import (
    CALL_AUDIO,
    TOPICS,
    TRANSCRIPT_RAW,
    TRANSCRIPT_REDACTED,
    Key,
    Topic,
)
from events.transcript import CallTranscriptEnded, LegProgress

GROUP = Group("redaction")
QUICK = ConsumerSettings(wait_s=0.01)


class Engine:
    """A log, keys and calls in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SqliteLog(folder / "log")
        self.keys = KeyStore(folder / "keys", MasterKey(bytes(32)))
        self.sealer = Sealer(self.keys)

    def call(self, partition: int | None = None) -> CallId:
        """Return a new call with keys, in the given partition."""
        call = new_call_id()
        while partition is not None and zlib.crc32(call.encode()) % TRANSCRIPT_RAW.partitions != partition:
            call = new_call_id()
        self.keys.create(call)
        return call

    def say(self, call: CallId, *times: int, topic: Topic = TRANSCRIPT_RAW) -> None:
        records = [LegProgress(call, 0, Role.AGENT, ms) for ms in times]
        self.log.append(topic, [self.sealer.event(topic, record) for record in records])

    def end(self, call: CallId) -> None:
        record = CallTranscriptEnded(call, (0,), 9000)
        self.log.append(TRANSCRIPT_RAW, [self.sealer.event(TRANSCRIPT_RAW, record)])

    def written(self, topic: Topic, group: str = "check") -> list[Event]:
        got: list[Event] = []
        with contextlib.closing(SqliteLog(self.folder / "log")) as log:
            while batch := log.read([topic], Group(f"{group}-{topic.name}"), 500, 0.0):
                got += [delivery.event for delivery in batch]
        return got

    def lag(self) -> int:
        return sum(self.log.lag(GROUP, [TRANSCRIPT_RAW]).values())

    def close(self) -> None:
        self.log.close()
        self.keys.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with contextlib.closing(Engine(tmp_path)) as made:
        yield made


class Copying:
    """Copies progress to the redacted transcript; pins open calls; can be told what to do with a record."""

    name = "redaction"
    topics: Sequence[Topic] = (TRANSCRIPT_RAW,)

    def __init__(self, pins: bool = True) -> None:
        self.pins = pins
        self.calls = OpenCalls()
        self.seen: list[tuple[CallId, int]] = []
        self.did: list[str] = []
        self.on_record: Callable[[LegProgress], None] = lambda record: None
        self.between: Callable[[], Iterable[Output]] = lambda: ()

    def handle(self, opened: Opened) -> Iterable[Output]:
        record = opened.record
        self.calls.note(opened.delivery)
        if isinstance(record, CallTranscriptEnded):
            self.calls.done(record.call)
            return
        assert isinstance(record, LegProgress)
        self.on_record(record)
        self.seen.append((record.call, record.up_to_ms))
        self.did.append("handle")
        yield TRANSCRIPT_REDACTED, record

    def after_batch(self) -> Iterable[Output]:
        return self.between()

    def made_durable(self) -> None:
        self.did.append("durable")

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return self.calls.unfinished(partition) if self.pins else None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.did.append("revoked")
        self.calls.revoked(partitions)


def loop_of(
    engine: Engine,
    handler: Copying,
    settings: ConsumerSettings = QUICK,
    log: EventLog | None = None,
    clock: ManualClock | None = None,
    stop: threading.Event | None = None,
) -> StageLoop:
    return StageLoop(log or engine.log, engine.sealer, handler, GROUP, settings, stop, clock)


# Who may read and write


@pytest.mark.parametrize("stage", sorted({reader for topic in TOPICS for reader in topic.readers} - {"redaction"}))
def test_only_redaction_reads_the_raw_transcript_and_its_dead_letters(engine: Engine, stage: str) -> None:
    handler = Copying()
    handler.name = stage
    for topic in (TRANSCRIPT_RAW, TRANSCRIPT_RAW.dead_letter):
        handler.topics = (topic,)
        with pytest.raises(StopConsumer, match=rf"^Stage {stage} may not read topic transcript\.raw"):
            loop_of(engine, handler)


def test_a_stage_writes_its_own_topics_only(engine: Engine) -> None:
    handler = Copying()
    call = engine.call()
    engine.say(call, 100)
    handler.between = lambda: [(CALL_AUDIO, LegProgress(call, 0, Role.AGENT, 1))]
    with pytest.raises(StopConsumer, match=r"^Stage redaction may not write topic call\.audio\.$"):
        loop_of(engine, handler).step()
    assert engine.lag() == 1


# Doing the work


def test_outputs_are_durable_before_positions_move(engine: Engine) -> None:
    handler = Copying()
    call = engine.call()
    engine.say(call, 100, 200)
    engine.end(call)
    loop = loop_of(engine, handler)
    loop.step()
    assert handler.did == ["handle", "handle", "durable"]
    assert [event.id for event in engine.written(TRANSCRIPT_REDACTED)] == [
        f"{call}:leg_progress:0:100",
        f"{call}:leg_progress:0:200",
    ]
    assert engine.lag() == 0


def test_an_unfinished_call_holds_its_partition_and_a_successor_reads_it_again(engine: Engine) -> None:
    handler = Copying()
    done, open_call, later = engine.call(3), engine.call(3), engine.call(3)
    engine.say(done, 1)
    engine.say(open_call, 2)
    engine.say(later, 3)
    engine.end(done)
    engine.end(later)
    loop_of(engine, handler).step()
    assert engine.lag() == 4
    engine.log.close()
    engine.log = SqliteLog(engine.folder / "log")
    successor = Copying()
    loop = loop_of(engine, successor)
    loop.step()
    assert successor.seen == [(open_call, 2), (later, 3)]
    engine.end(open_call)
    loop.step()
    assert engine.lag() == 0
    ids = [event.id for event in engine.written(TRANSCRIPT_REDACTED)]
    assert len(set(ids)) == 3


def test_a_record_to_be_retried_keeps_its_partitions_order_and_lets_others_go_on(engine: Engine) -> None:
    handler, clock = Copying(pins=False), ManualClock()
    slow, other = engine.call(3), engine.call(4)
    away = True

    def on_record(record: LegProgress) -> None:
        if away and record.call == slow and record.up_to_ms == 200:
            raise RetryLater("The dictionary is away.")

    handler.on_record = on_record
    engine.say(slow, 100, 200, 300)
    engine.say(other, 100, 200, 300)
    loop = loop_of(engine, handler, clock=clock)
    loop.step()
    assert handler.seen == [(slow, 100), (other, 100), (other, 200), (other, 300)]
    assert engine.lag() == 2, "What is to be retried is not committed."
    engine.say(slow, 400)
    engine.end(other)
    for _ in range(6):
        clock.advance(10_000)
        loop.step()
    assert engine.lag() == 3
    away = False
    loop.step()
    assert handler.seen[4:] == [], "It waits until the back-off is over."
    clock.advance(10_000)
    loop.step()
    assert handler.seen[4:] == [(slow, 200), (slow, 300), (slow, 400)]
    engine.end(slow)
    loop.step()
    assert engine.lag() == 0


def test_nothing_more_is_read_while_too_much_waits(engine: Engine) -> None:
    handler, clock = Copying(), ManualClock()
    call = engine.call()

    def refuse(record: LegProgress) -> None:
        raise RetryLater("Away.")

    handler.on_record = refuse
    engine.say(call, *range(100))
    settings = ConsumerSettings(wait_s=0.01, most_records=10, most_waiting=25)
    loop = loop_of(engine, handler, settings, clock=clock)
    for _ in range(8):
        loop.step()
    ((_, retrying),) = loop._retrying.items()
    assert len(retrying.waiting) == 30
    handler.on_record = lambda record: None
    clock.advance(10_000)
    for _ in range(12):
        loop.step()
    assert handler.seen == [(call, ms) for ms in range(100)]


# Bad records


def test_poison_is_put_aside_with_a_reason_that_quotes_nobody(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Copying()
    call = engine.call()

    def on_record(record: LegProgress) -> None:
        if record.up_to_ms == 200:
            raise KeyError("four one one one")
        if record.up_to_ms == 300:
            raise NeverRetry("A leg has no number.")

    handler.on_record = on_record
    engine.say(call, 100, 200, 300, 400)
    sealed = {event.id: event.value for event in engine.written(TRANSCRIPT_RAW)}
    with caplog.at_level(logging.DEBUG):
        loop_of(engine, handler).step()
    assert [ms for _, ms in handler.seen] == [100, 400]
    events = engine.written(TRANSCRIPT_RAW.dead_letter)
    letters = [read_dead_letter(event) for event in events]
    assert [letter.reason for letter in letters] == ["KeyError (unexpected)", "NeverRetry: A leg has no number."]
    assert [event.kind for event in events] == ["dead:leg_progress"] * 2
    assert [event.id for event in events] == [f"{call}:leg_progress:0:{ms}:dead:redaction" for ms in (200, 300)]
    assert [letter.value for letter in letters] == [sealed[letter.id] for letter in letters]
    assert all(
        (letter.topic, letter.stage, letter.key) == ("transcript.raw", "redaction", call) for letter in letters
    )
    assert "four one" not in caplog.text
    assert b"four one" not in b"".join(event.value for event in events)


def test_bytes_that_are_no_record_are_put_aside(engine: Engine) -> None:
    handler = Copying()
    call = engine.call()
    good = engine.sealer.event(TRANSCRIPT_RAW, LegProgress(call, 0, Role.AGENT, 1))
    engine.log.append(
        TRANSCRIPT_RAW,
        [
            Event(good.id, call, good.kind, 0, b""),
            Event(good.id, call, "other_kind", 0, good.value),
            Event(good.id, new_call_id(), good.kind, 0, good.value),
        ],
    )
    loop_of(engine, handler).step()
    reasons = sorted(read_dead_letter(event).reason for event in engine.written(TRANSCRIPT_RAW.dead_letter))
    assert reasons == [
        "NeverRetry: No keys of this call are known.",
        "SealBroken: A sealed value does not fit its key and record id.",
        "SealBroken: A sealed value is too short to hold a nonce and a tag.",
    ]
    assert engine.lag() == 0


def test_too_many_bad_records_stop_the_stage_and_stay_in_the_topic(engine: Engine) -> None:
    handler = Copying()
    call = engine.call()

    def poison(record: LegProgress) -> None:
        raise ValueError

    handler.on_record = poison
    engine.say(call, *range(10))
    settings = ConsumerSettings(wait_s=0.01, most_bad=3)
    with pytest.raises(TooManyBad, match=r"^Stage redaction met 4 bad records within 60 s and stops"):
        run_stage(engine.log, engine.sealer, handler, GROUP, settings, threading.Event())
    assert engine.lag() == 10
    assert engine.written(TRANSCRIPT_RAW.dead_letter) == []


def test_bad_records_far_apart_do_not_stop_the_stage(engine: Engine) -> None:
    handler, clock = Copying(), ManualClock()
    call = engine.call()

    def poison(record: LegProgress) -> None:
        raise ValueError

    handler.on_record = poison
    loop = loop_of(engine, handler, ConsumerSettings(wait_s=0.01, most_bad=1), clock=clock)
    for number in range(6):
        engine.say(call, number)
        loop.step()
        clock.advance(61_000)
    assert len(engine.written(TRANSCRIPT_RAW.dead_letter)) == 6


def test_failures_between_batches_are_put_off_or_counted(engine: Engine) -> None:
    handler, clock = Copying(), ManualClock()
    calls = 0

    def away() -> Iterable[Output]:
        nonlocal calls
        calls += 1
        raise RetryLater("The webhook is away.")

    handler.between = away
    loop = loop_of(engine, handler, ConsumerSettings(wait_s=0.01, most_bad=1), clock=clock)
    for _ in range(5):
        loop.step()
    assert calls == 1
    clock.advance(6000)
    loop.step()
    assert calls == 2

    def broken() -> Iterable[Output]:
        raise ZeroDivisionError

    handler.between = broken
    clock.advance(6000)
    loop.step()
    with pytest.raises(TooManyBad):
        loop.step()


# Keys that are gone


def test_records_of_a_call_whose_key_was_destroyed_are_skipped(engine: Engine) -> None:
    handler = Copying()
    gone, alive = engine.call(), engine.call()
    engine.say(gone, 100)
    engine.say(alive, 100)
    engine.end(alive)
    engine.keys.destroy(gone, Key.CAPTURE)
    loop_of(engine, handler).step()
    assert handler.seen == [(alive, 100)]
    assert engine.written(TRANSCRIPT_RAW.dead_letter) == []
    assert engine.lag() == 0


def test_outputs_of_an_erased_call_are_dropped(engine: Engine) -> None:
    handler = Copying()
    gone, alive = engine.call(), engine.call()
    engine.say(gone, 100)
    engine.say(alive, 100)
    engine.keys.destroy(gone, Key.RECORD)
    loop_of(engine, handler).step()
    assert len(handler.seen) == 2
    assert [event.key for event in engine.written(TRANSCRIPT_REDACTED)] == [alive]
    assert engine.written(TRANSCRIPT_RAW.dead_letter) == []


# A log that is away


class Ailing:
    """The real log, whose appends or commits fail so many times."""

    def __init__(self, log: SqliteLog, appends: int = 0, commits: int = 0) -> None:
        self._log = log
        self._appends = appends
        self._commits = commits

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self._appends -= 1
        if self._appends >= 0:
            raise LogUnavailable("The disk is full.")
        self._log.append(topic, events)

    def commit(self, group: Group, position: Position) -> None:
        self._commits -= 1
        if self._commits >= 0:
            raise LogUnavailable("The disk is full.")
        self._log.commit(group, position)

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        return self._log.read(topics, group, most, wait_s)

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        return self._log.assignment(group)

    def lag(self, group: Group, topics: Sequence[Topic]) -> dict[TopicPartition, int]:
        return dict(self._log.lag(group, topics))

    def trim(self, topic: Topic, before_ms: int) -> int:
        return self._log.trim(topic, before_ms)

    def close(self) -> None:
        self._log.close()


IMPATIENT = ConsumerSettings(wait_s=0.01, first_back_off_s=0.001, longest_back_off_s=0.002)


def test_the_loop_waits_for_a_log_that_is_away_and_loses_nothing(engine: Engine) -> None:
    handler = Copying()
    call = engine.call()
    engine.say(call, 100, 200)
    engine.end(call)
    loop_of(engine, handler, IMPATIENT, log=Ailing(engine.log, appends=3, commits=2)).step()
    assert handler.did == ["handle", "handle", "durable"]
    assert len(engine.written(TRANSCRIPT_REDACTED)) == 2
    assert engine.lag() == 0


def test_a_loop_told_to_stop_while_the_log_is_away_commits_nothing(engine: Engine) -> None:
    handler, stop = Copying(), threading.Event()
    call = engine.call()
    engine.say(call, 100)
    engine.end(call)
    handler.on_record = lambda record: stop.set()
    ailing = Ailing(engine.log, appends=10**9)
    run_stage(ailing, engine.sealer, handler, GROUP, IMPATIENT, stop)
    assert handler.did == ["handle"]
    assert engine.lag() == 2


# Stopping and taking over


def test_told_to_stop_the_loop_finishes_its_batch(engine: Engine) -> None:
    handler, stop = Copying(), threading.Event()
    call = engine.call()
    engine.say(call, 100, 200, 300)
    engine.end(call)
    handler.on_record = lambda record: stop.set()
    run_stage(engine.log, engine.sealer, handler, GROUP, QUICK, stop)
    assert [ms for _, ms in handler.seen] == [100, 200, 300]
    assert engine.lag() == 0


def test_a_member_forgets_what_it_lost_before_it_handles_more(engine: Engine) -> None:
    first, second = Copying(), Copying()
    calls = [engine.call(partition) for partition in range(TRANSCRIPT_RAW.partitions)]
    for call in calls:
        engine.say(call, 100)
    one = loop_of(engine, first)
    one.step()
    assert len(first.calls) == 16
    lost_in: list[list[str]] = []
    with contextlib.closing(SqliteLog(engine.folder / "log")) as other_log:
        two = loop_of(engine, second, log=other_log)
        times = [100]
        while len(second.calls) < 8:
            assert len(times) < 2000
            times.append(times[-1] + 100)
            for call in calls:
                engine.say(call, times[-1])
            first.did.clear()
            one.step()
            if "revoked" in first.did:
                lost_in.append(list(first.did))
            two.step()
        two.step()
        assert [len(first.calls), len(second.calls)] == [8, 8]
        taken = [call for call in calls if call in second.calls]
        assert not any(call in first.calls for call in taken)
        for call in taken:
            assert [ms for seen, ms in second.seen if seen == call] == times, "All of the call, from its start."
    assert lost_in
    assert all(did[0] == "revoked" for did in lost_in)


def test_a_stage_killed_at_any_moment_writes_everything_in_the_end(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with contextlib.closing(Engine(tmp_path)) as engine:
        calls = [engine.call() for _ in range(12)]
        for step in range(15):
            for call in calls:
                engine.say(call, step)
        for call in calls:
            engine.end(call)
        for records in (30, 20, 25, 100_000):
            end, tell = spawn.Pipe(duplex=False)
            process = spawn.Process(target=_copy_and_tell, args=(tmp_path, tell))
            process.start()
            tell.close()
            told = 0
            with contextlib.suppress(EOFError):
                while told < records:
                    told += end.recv()
            process.kill()
            process.join()
        written = [event.id for event in engine.written(TRANSCRIPT_REDACTED)]
        assert set(written) == {f"{call}:leg_progress:0:{step}" for call in calls for step in range(15)}
        for call in calls:
            firsts = list(dict.fromkeys(identity for identity in written if identity.startswith(call)))
            assert firsts == [f"{call}:leg_progress:0:{step}" for step in range(15)]
        assert engine.lag() == 0


def _copy_and_tell(folder: Path, tell: Connection) -> None:
    engine, handler = Engine(folder), Copying()
    loop = loop_of(engine, handler, ConsumerSettings(wait_s=0.01, most_records=7))
    while engine.lag():
        before = len(handler.seen)
        loop.step()
        tell.send(len(handler.seen) - before)
    tell.close()


@pytest.mark.parametrize(
    "wrong",
    [{"most_records": 0}, {"first_back_off_s": 9.0}, {"wait_s": 0.0}, {"most_waiting": 0}, {"most_bad": -1}],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"consumer"):
        ConsumerSettings(**wrong)  # type: ignore[arg-type]
