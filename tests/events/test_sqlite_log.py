"""What is particular to the SQLite driver: full disks, damaged files, hanging readers, traces left behind."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from events.errors import LogUnavailable, StopConsumer
from events.log import Event, Group, StartAt
from events.sqlite_log import SqliteLog, SqliteLogSettings
from events.sqlite_topic import TopicFile
from events.topics import CALL_AUDIO, FINDING, KEYED_PARTITIONS, Topic
from tests.contracts.event_log_workers import make_event, read_and_tell

_SPAWN = multiprocessing.get_context("spawn")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "The condition did not come true in time."
        os.sched_yield()


def everything(log: SqliteLog, topic: Topic, group: str = "everything") -> list[Event]:
    got = []
    while batch := log.read([topic], Group(group), 1000, 0.0):
        got += [delivery.event for delivery in batch]
    return got


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def log(folder: Path) -> Iterator[SqliteLog]:
    with contextlib.closing(SqliteLog(folder)) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("Mounting a small tmpfs needs root.")
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("This machine does not allow mounting a tmpfs.")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_is_said_loses_nothing_and_heals_by_itself(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    log = SqliteLog(small_disk / "log")
    group = Group("reader")
    log.read([CALL_AUDIO], group, 1, 0.0)
    acknowledged: list[str] = []
    refused: list[str] = []

    def fill() -> None:
        for number in range(10_000):
            batch = [make_event(f"{number}:{i}", str(i), b"x" * 1000) for i in range(20)]
            refused[:] = [event.id for event in batch]
            log.append(CALL_AUDIO, batch)
            acknowledged.extend(refused)

    with pytest.raises(
        LogUnavailable, match=r"^The disk is full, so topic call\.audio takes nothing until"
    ) as full:
        fill()
    assert len(acknowledged) > 500
    assert full.value.__cause__ is None
    with pytest.raises(LogUnavailable):
        log.append(CALL_AUDIO, [make_event("still full", "key", b"x" * 100_000)])
    reader = SqliteLog(small_disk / "log")
    assert Counter(event.id for event in everything(reader, CALL_AUDIO)) == Counter(acknowledged)
    ballast.unlink()
    log.append(CALL_AUDIO, [make_event("healed", "key", b"x" * 1000)])
    assert [event.id for event in everything(reader, CALL_AUDIO)] == ["healed"]
    assert not set(refused) & {event.id for event in everything(log, CALL_AUDIO, "again")}
    reader.close()
    log.close()


def test_a_disk_that_is_full_at_the_start_heals_too(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(LogUnavailable):
        SqliteLog(small_disk / "log").append(FINDING, [make_event("early", "key")])
    ballast.unlink()
    log = SqliteLog(small_disk / "log")
    log.append(FINDING, [make_event("late", "key")])
    assert [event.id for event in everything(log, FINDING)] == ["late"]
    log.close()


def test_a_small_batch_gets_through_where_a_large_one_beside_it_does_not_fit(small_disk: Path) -> None:
    log = SqliteLog(small_disk / "log")
    log.append(FINDING, [make_event("first", "key")])
    errors: list[LogUnavailable] = []

    def append(event: Event) -> None:
        try:
            log.append(FINDING, [event])
        except LogUnavailable as error:
            errors.append(error)

    events = [make_event("large", "key", bytes(9 << 20)), make_event("small", "key")]
    _append_while_locked(log, small_disk / "log", FINDING, [partial(append, event) for event in events])
    assert len(errors) == 1
    assert [event.id for event in everything(log, FINDING)] == ["first", "small"]
    log.close()


def _append_while_locked(
    log: SqliteLog, folder: Path, topic: Topic, appends: list[Callable[[], None]]
) -> TopicFile:
    """Start every append in its own thread while another writer holds the topic, then let them go."""
    file = log._file(topic)
    with (folder / f"{topic.name}.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The first of all leads with its own batch only, and waits for the lock.
        threads = [threading.Thread(target=log.append, args=(topic, [make_event("leader", "key")]))]
        if len(appends) > 2:
            threads[0].start()
            until(lambda: file._leader.locked() and not file._pending)
        else:
            threads.clear()
            file._leader.acquire()
        others = [threading.Thread(target=append) for append in appends]
        for thread in others:
            thread.start()
        until(lambda: len(file._pending) == len(appends))
        if not threads:
            file._leader.release()
    for thread in threads + others:
        thread.join()
    return file


def test_threads_that_wait_for_a_commit_share_the_next(log: SqliteLog, folder: Path) -> None:
    log.append(FINDING, [make_event("first", "key")])
    before = log._file(FINDING).commits
    appends = [partial(log.append, FINDING, [make_event(f"{i}", "key")]) for i in range(16)]
    file = _append_while_locked(log, folder, FINDING, appends)
    assert file.commits - before == 2
    assert len(everything(log, FINDING)) == 18


def test_an_append_waits_for_the_disk(log: SqliteLog) -> None:
    # A power cut cannot be tried here. SQLite's manual: in WAL mode FULL (2) syncs the WAL after each commit.
    log.append(FINDING, [make_event("first", "key")])
    writer = log._file(FINDING)._writer
    assert writer is not None
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_damaged_file_is_said_in_a_sentence_and_is_no_reason_to_try_again(folder: Path) -> None:
    folder.mkdir()
    (folder / "finding.db").write_bytes(b"This is no database, and it is long enough to look like one." * 100)
    log = SqliteLog(folder)
    sentence = r"^The file of topic finding is damaged; restore it from a back-up or move it away\.$"
    with pytest.raises(StopConsumer, match=sentence):
        log.append(FINDING, [make_event("a", "key")])
    with pytest.raises(StopConsumer, match=sentence):
        log.read([FINDING], Group("reader"), 10, 0.0)
    log.append(CALL_AUDIO, [make_event("others", "go on")])
    assert len(everything(log, CALL_AUDIO)) == 1
    log.close()


def test_a_file_damaged_inside_is_noticed_when_it_is_read(folder: Path) -> None:
    with contextlib.closing(SqliteLog(folder)) as log:
        log.append(FINDING, [make_event(str(i), "key", bytes(3000)) for i in range(200)])
    path = folder / "finding.db"
    data = bytearray(path.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with contextlib.closing(SqliteLog(folder)) as log, pytest.raises(StopConsumer, match="is damaged"):
        everything(log, FINDING)


def test_the_number_of_partitions_is_fixed(log: SqliteLog, folder: Path) -> None:
    log.append(FINDING, [make_event("a", "key")])
    other = Topic(FINDING.name, FINDING.writers, FINDING.readers, None, 1.0, partitions=4)
    with (
        contextlib.closing(SqliteLog(folder)) as second,
        pytest.raises(StopConsumer, match=r"has 16 partitions, not 4; the number cannot be changed"),
    ):
        second.append(other, [make_event("b", "key")])


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "with space", "x" * 81])
def test_group_names_that_are_no_file_names_are_refused(log: SqliteLog, name: str) -> None:
    with pytest.raises(ValueError, match=r"^A group name is made of"):
        log.read([FINDING], Group(name), 1, 0.0)


@pytest.mark.parametrize("name", ["", "../up", "Upper", "a..b", "a/b"])
def test_topic_names_that_are_no_file_names_are_refused(log: SqliteLog, name: str) -> None:
    topic = Topic(name, frozenset(), frozenset(), None, 1.0)
    with pytest.raises(ValueError, match=r"^A topic name is made of"):
        log.append(topic, [make_event("a", "key")])


def test_a_reader_that_hangs_in_its_snapshot_neither_stops_writers_nor_keeps_the_wal_long(folder: Path) -> None:
    log = SqliteLog(folder, SqliteLogSettings(wal_limit_mb=8))
    log.append(CALL_AUDIO, [make_event("first", "key")])
    hanging = sqlite3.connect(folder / "call.audio.db", isolation_level=None)
    hanging.execute("BEGIN")
    hanging.execute("SELECT count(*) FROM event").fetchone()
    wal = folder / "call.audio.db-wal"
    batch = [make_event(str(i), str(i), b"x" * 10_000) for i in range(100)]
    until(lambda: (log.append(CALL_AUDIO, batch), wal.stat().st_size > 20 << 20)[-1])
    hanging.close()
    log._file(CALL_AUDIO)._fold_due = 0.0
    log.append(CALL_AUDIO, batch)
    assert wal.stat().st_size < 10 << 20
    log.close()


def test_the_wal_stays_short_under_readers_that_never_pause(folder: Path) -> None:
    log = SqliteLog(folder, SqliteLogSettings(wal_limit_mb=8))
    stop, longest = threading.Event(), 0

    def read() -> None:
        with contextlib.closing(SqliteLog(folder)) as reader:
            while not stop.is_set():
                reader.read([CALL_AUDIO], Group(f"busy-{threading.get_ident()}"), 50, 0.01)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(60):
        log.append(CALL_AUDIO, [make_event(str(i), str(i), b"x" * 10_000) for i in range(100)])
        longest = max(longest, (folder / "call.audio.db-wal").stat().st_size)
    stop.set()
    for reader in readers:
        reader.join()
    log.close()
    assert longest < 24 << 20


def test_tails_leave_nothing_behind(folder: Path) -> None:
    with contextlib.closing(SqliteLog(folder)) as log:
        log.append(FINDING, [make_event("a", "key")])
        log.read([FINDING], Group("tail-closed", StartAt.LAST), 1, 0.0)
        log.read([FINDING], Group("stage"), 1, 0.0)
    assert [entry.name for entry in (folder / "groups").iterdir() if entry.is_dir()] == ["stage"]


def test_a_tail_whose_process_was_killed_is_cleared_away_by_the_next_who_comes(folder: Path) -> None:
    group = Group("tail-killed", StartAt.LAST)
    end, tell = _SPAWN.Pipe(duplex=False)
    stop = _SPAWN.Event()
    arguments = (partial(SqliteLog, folder), [FINDING], group, False, stop, tell)
    process = _SPAWN.Process(target=read_and_tell, args=arguments)
    process.start()
    tell.close()
    assert len(end.recv()[0]) == KEYED_PARTITIONS
    assert (folder / "groups" / "tail-killed").exists()
    with contextlib.closing(SqliteLog(folder)) as log:
        log.read([FINDING], Group("stage"), 1, 0.0)
        assert (folder / "groups" / "tail-killed").exists()
        process.kill()
        process.join()
        log.read([FINDING], Group("other-stage"), 1, 0.0)
    assert not (folder / "groups" / "tail-killed").exists()


def test_a_forked_child_does_not_keep_its_parents_partitions(log: SqliteLog, folder: Path) -> None:
    group = Group("forked")
    log.read([FINDING], group, 1, 0.0)
    reading, writing = os.pipe()
    hearing, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(telling, b"x")  # fork's hooks have run
        os.close(writing)
        os.read(reading, 1)  # until the parent is done
        os._exit(0)
    try:
        os.read(hearing, 1)
        log.close()
        with contextlib.closing(SqliteLog(folder)) as other:
            other.read([FINDING], group, 1, 0.0)
            assert len(other.assignment(group)) == KEYED_PARTITIONS
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        for handle in (reading, hearing, telling):
            os.close(handle)


def test_a_reader_whose_bells_are_missed_polls(
    log: SqliteLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.sqlite_topic.ring", lambda bell: None)
    group, got = Group("deaf"), 0
    log.read([FINDING], group, 1, 0.0)

    def write() -> None:
        with contextlib.closing(SqliteLog(folder)) as other:
            for number in range(5):
                other.append(FINDING, [make_event(str(number), "key")])
                seen.wait(30)
                seen.clear()

    seen = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    while got < 5:
        got += len(log.read([FINDING], group, 10, 1.0))
        seen.set()
    writer.join()
    assert log._listener is not None
    assert log._listener._libc is None


def test_a_trim_leaves_events_that_were_made_later_but_lie_before_younger_ones(log: SqliteLog) -> None:
    times = [10, 50, 20, 60, 30, 70]
    log.append(FINDING, [make_event(str(at), "key", at_ms=at) for at in times])
    assert log.trim(FINDING, 40) == 3
    assert [event.at_ms for event in everything(log, FINDING)] == [50, 60, 70]


@pytest.mark.parametrize(
    "wrong", [{"wal_limit_mb": 1}, {"most_rows_per_commit": 0}, {"look_again_s": 0.5}, {"busy_s": 0.1}]
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"event log"):
        SqliteLogSettings(**wrong)  # type: ignore[arg-type]
