"""The journal: a crash at any step, a log that is away, a backlog that is full."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from events.audio import AudioBlock, CallAudioEnded, Encoding, GapCause
from events.errors import LogUnavailable
from events.identity import CallId, Role, new_call_id
from events.key_store import KeyStore, MasterKey
from events.lifecycle import CallSourceKind, CallStarted
from events.log import Event, Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Key, Topic
from telephony.call_store import CallState, CallStore, LegState
from telephony.journal import Batch, Journal, JournalSettings
from telephony.live_call import Kept
from telephony.plan import CallPlan
from tests.builders.capture_bench import until

CALL = CallId("0" * 31 + "1")


class Crash(BaseException):
    """The process dies here: nothing behind this point is done."""


@dataclass
class World:
    """What lies on the disk; a journal is one process's."""

    folder: Path
    master: MasterKey = field(default_factory=lambda: MasterKey(os.urandom(32)))

    def __post_init__(self) -> None:
        self.keys = KeyStore(self.folder / "keys", self.master)
        self.sealer = Sealer(self.keys)
        self.log = SqliteLog(self.folder / "log")
        self.store = self.open_store()

    def open_store(self) -> CallStore:
        return CallStore(self.folder / "capture.sqlite3")

    def journal(self, log: object = None, **settings: int) -> Journal:
        chosen = JournalSettings(gather_ms=0, **settings)  # type: ignore[arg-type]
        return Journal(self.store, log or self.log, self.sealer, self.keys, chosen)  # type: ignore[arg-type]

    def events(self, topic: Topic = CALL_AUDIO) -> list[Event]:
        group, found = Group(f"t{os.urandom(6).hex()}"), []
        while deliveries := self.log.read([topic], group, 1000, 0.0 if found else 0.3):
            found += [one.event for one in deliveries]
        return found

    def blocks(self) -> list[AudioBlock]:
        records = [self.sealer.record(CALL_AUDIO, event) for event in self.events()]
        return [record for record in records if isinstance(record, AudioBlock)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.log.close()


class Breaking:
    """The real log until `breaks` says otherwise."""

    def __init__(self, log: SqliteLog, breaks: Callable[[str], BaseException | None]) -> None:
        self._log = log
        self.breaks = breaks

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        if (error := self.breaks(f"before {topic.name}")) is not None:
            raise error
        self._log.append(topic, events)
        if (error := self.breaks(f"after {topic.name}")) is not None:
            raise error


def plan() -> CallPlan:
    return CallPlan(CALL, CallSourceKind.SIP, ())


def block(number: int, samples: int = 800) -> AudioBlock:
    payload = bytes([number % 256]) * samples
    return AudioBlock(CALL, 0, Role.MIXED, Encoding.PCMU, 8000, number * 800, samples, payload)


def begin(number: int = 0) -> Batch:
    kept = Kept(1, plan(), True, 0, None)
    started = CallStarted(CALL, 1_700_000_000_000, CallSourceKind.SIP)
    return Batch((started, block(number)), (LegState(CALL, 0, b"row0"),), (CallState(CALL, kept),))


def more(number: int) -> Batch:
    return Batch((block(number),), (LegState(CALL, 0, f"row{number}".encode()),))


def run_until_done(journal: Journal) -> None:
    stop = threading.Event()
    stop.set()
    journal.run(stop)


@pytest.mark.parametrize(
    ("step", "times"),
    [("before call.lifecycle", 1), ("after call.lifecycle", 1), ("before call.audio", 1), ("after call.audio", 2)],
)
def test_a_crash_at_any_step_neither_loses_nor_changes_a_record(world: World, step: str, times: int) -> None:
    dying = world.journal(Breaking(world.log, lambda where: Crash() if where == step else None))
    world.store.save_call(plan(), b"dialog")
    dying.put(begin())
    with pytest.raises(Crash):
        run_until_done(dying)
    world.store.close()

    world.store = world.open_store()
    loaded = world.store.load("boot")
    (call,) = loaded.calls
    assert call.rows == {0: b"row0"}, "Block and row are kept together."
    successor = world.journal()
    successor.resume(loaded.outbox, loaded.newest_outbox)
    successor.put(more(1))
    run_until_done(successor)
    assert [one.start_sample for one in world.blocks()] == [0] * times + [800]
    assert len({(event.id, event.value) for event in world.events()}) == 2, "Under one id lies one content."
    assert len({event.id for event in world.events(CALL_LIFECYCLE)}) == 1
    assert world.store.load("boot").outbox == ()


def test_a_crash_before_anything_is_kept_leaves_nothing(world: World) -> None:
    class Dying(CallStore):
        def keep(self, *_: object) -> int:
            raise Crash

    world.store.close()
    world.store = Dying(world.folder / "capture.sqlite3")
    journal = world.journal()
    journal.put(begin())
    with pytest.raises(Crash):
        run_until_done(journal)
    loaded = world.store.load("boot")
    assert (loaded.calls, loaded.outbox, world.events()) == ((), (), [])


def test_a_log_that_is_away_loses_nothing(world: World) -> None:
    away = threading.Event()
    away.set()
    tried = threading.Event()

    def breaks(where: str) -> BaseException | None:
        tried.set()
        return LogUnavailable("The disk is full.") if away.is_set() else None

    journal = world.journal(Breaking(world.log, breaks))
    stop = threading.Event()
    thread = threading.Thread(target=journal.run, args=(stop,))
    thread.start()
    journal.put(begin())
    for number in range(1, 50):
        journal.put(more(number))
    assert tried.wait(10)
    assert journal.backlog > 40
    away.clear()
    until(lambda: journal.backlog == 0)
    stop.set()
    thread.join()
    assert [one.start_sample for one in world.blocks()] == [number * 800 for number in range(50)]


def test_a_full_backlog_turns_audio_into_marked_gaps(world: World) -> None:
    journal = world.journal(backlog_records=100)
    journal.put(begin())
    for number in range(1, 300):
        journal.put(more(number))
        assert journal.backlog <= 100
    assert journal.nearly_full
    journal.put(Batch((CallAudioEnded(CALL, (0,), 30_000),)))
    run_until_done(journal)
    blocks = world.blocks()
    end = 0
    for one in blocks:
        assert one.start_sample == end
        end += one.samples
    assert end == 300 * 800, "Nothing is left out: what found no room is a gap that says so."
    kept = [one for one in blocks if one.payload]
    assert len(kept) == 99
    assert all(gap.cause is GapCause.DOWN for one in blocks for gap in one.gaps)
    assert not journal.nearly_full


def test_an_erased_call_does_not_hold_up_the_others(world: World) -> None:
    journal = world.journal()
    journal.put(begin())
    run_until_done(journal)
    world.keys.destroy(CALL, Key.CAPTURE)
    other = new_call_id()
    journal.put(more(1))
    journal.put(
        Batch(
            (
                CallStarted(other, 1, CallSourceKind.SIP),
                AudioBlock(other, 0, Role.MIXED, Encoding.PCMU, 8000, 0, 800, bytes(800)),
            )
        )
    )
    run_until_done(journal)
    assert [event.key for event in world.events()] == [CALL, other]
