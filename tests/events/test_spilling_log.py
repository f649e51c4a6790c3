"""The spill in front of an event log that may be away: nothing lost, nothing doubled, order per key kept."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from events import metrics
from events.errors import LogUnavailable
from events.log import Event, EventLog, Group, Position
from events.spill_state import SpillMode
from events.spilling_log import SpillingLog, SpillSettings
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Topic
from tests.builders.capture_bench import until
from tests.builders.gated_log import AWAY, GatedLog
from tests.contracts.event_log_workers import make_event

SMALL = SpillSettings(most_mb=12, segment_mb=1, drain_records=50, first_retry_s=0.005, longest_retry_s=0.02)
_SPAWN = multiprocessing.get_context("spawn")


def spilling(folder: Path, main: EventLog, settings: SpillSettings = SMALL) -> SpillingLog:
    return SpillingLog(main, folder / "spill", SqliteLog, settings)


def found(log: EventLog, *topics: Topic) -> list[Event]:
    group = Group(f"look-{os.urandom(4).hex()}")
    got: list[Event] = []
    while deliveries := log.read(topics or (CALL_AUDIO,), group, 1000, 0.0):
        got += [delivery.event for delivery in deliveries]
    return got


def numbered(first: int, count: int, keys: int = 4, size: int = 20) -> list[Event]:
    return [
        make_event(f"{n}", f"key-{n % keys}", os.urandom(size), at_ms=5000 + n)
        for n in range(first, first + count)
    ]


def ids(events: Sequence[Event]) -> list[int]:
    return sorted(int(event.id) for event in events)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def segments(folder: Path) -> list[str]:
    kept = (path for path in (folder / "spill").iterdir() if path.is_dir())
    return sorted(path.name for path in kept if not path.name.startswith("gone-"))  # those are being removed


@pytest.fixture
def main(tmp_path: Path) -> GatedLog:
    return GatedLog(SqliteLog(tmp_path / "main"))


def test_with_the_main_log_there_nothing_touches_the_disk(tmp_path: Path, main: GatedLog) -> None:
    log = spilling(tmp_path, main)
    log.append(CALL_AUDIO, numbered(0, 10))
    assert ids(found(log)) == list(range(10))
    assert (log.state.mode, log.state.records, log.has_room) == (SpillMode.DIRECT, 0, True)
    assert segments(tmp_path) == []
    log.close()


def test_what_comes_while_the_main_log_is_away_arrives_once_whole_and_in_order(
    tmp_path: Path, main: GatedLog
) -> None:
    log = spilling(tmp_path, main)
    events = numbered(0, 300)
    log.append(CALL_AUDIO, events[:20])
    main.shut()
    for first in range(20, 300, 20):
        log.append(CALL_AUDIO, events[first : first + 20])
    state = log.state
    assert (state.mode, state.records, state.oldest_ms) == (SpillMode.SPILLING, 280, 5020)
    until(lambda: log.state.why == AWAY)
    assert metrics.counted(metrics.SPILL_MODE) == 1
    assert metrics.counted(metrics.SPILL_RECORDS) == 280
    assert 0 < metrics.counted(metrics.SPILL_SHARE) == state.share == state.bytes / (12 << 20)
    assert ids(found(log)) == list(range(20))
    main.open()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert (log.state.records, log.state.bytes, log.state.oldest_ms, log.state.why) == (0, 0, None, "")
    assert metrics.counted(metrics.SPILL_MODE) == metrics.counted(metrics.SPILL_BYTES) == 0
    assert segments(tmp_path) == [], "The disk space is given back."
    got = found(log)
    assert sorted(got, key=lambda event: int(event.id)) == events
    for key in range(4):
        assert [int(one.id) for one in got if one.key == f"key-{key}"] == list(range(key, 300, 4))
    log.close()


def test_after_the_first_refusal_nobody_asks_the_main_log_while_a_caller_waits(
    tmp_path: Path, main: GatedLog
) -> None:
    asked: list[str] = []

    def note(topic: Topic) -> bool:
        asked.append(threading.current_thread().name)
        return True

    log = spilling(tmp_path, GatedLog(SqliteLog(tmp_path / "main2"), note))
    for first in range(0, 100, 10):
        log.append(CALL_AUDIO, numbered(first, 10))
    mine = threading.current_thread().name
    assert asked.count(mine) == 1
    until(lambda: len(asked) > 5)
    assert set(asked) == {mine, "spill-drain"}
    log.close()


def test_order_and_number_hold_while_the_main_log_comes_and_goes(tmp_path: Path) -> None:
    draw = random.Random(7)
    away = 0

    def refuses(topic: Topic) -> bool:
        nonlocal away
        if away == 0 and draw.random() < 0.1:
            away = draw.randint(1, 12)
        away = max(0, away - 1)
        return away > 0

    log = spilling(tmp_path, GatedLog(SqliteLog(tmp_path / "main"), refuses))
    topics = (CALL_AUDIO, CALL_LIFECYCLE)

    def write(writer: int) -> None:
        for number in range(0, 300, 3):
            for topic in topics:
                log.append(
                    topic, [make_event(f"{n}", f"{topic.name}-{writer}") for n in range(number, number + 3)]
                )

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    by_key: dict[str, list[int]] = defaultdict(list)
    for event in found(log, *topics):
        by_key[event.key].append(int(event.id))
    assert len(by_key) == 8
    assert all(order == list(range(300)) for order in by_key.values())
    log.close()


def test_a_restart_goes_on_with_what_waits_and_puts_new_events_behind(tmp_path: Path) -> None:
    main = GatedLog(SqliteLog(tmp_path / "main"))
    main.shut()
    log = spilling(tmp_path, main)
    log.append(CALL_AUDIO, numbered(0, 500, keys=1))
    log.close()
    main = GatedLog(SqliteLog(tmp_path / "main"))
    main.shut()
    log = spilling(tmp_path, main)
    assert (log.state.mode, log.state.records) == (SpillMode.SPILLING, 500)
    log.append(CALL_AUDIO, numbered(500, 100, keys=1))
    main.open()
    log.append(CALL_AUDIO, numbered(600, 100, keys=1))
    until(lambda: log.state.mode is SpillMode.DIRECT)
    log.append(CALL_AUDIO, numbered(700, 10, keys=1))
    assert [int(event.id) for event in found(log)] == list(range(710))
    log.close()


def test_a_batch_of_which_one_topic_was_taken_is_not_sent_again(tmp_path: Path) -> None:
    refuse = {CALL_LIFECYCLE.name, CALL_AUDIO.name}
    log = spilling(tmp_path, GatedLog(SqliteLog(tmp_path / "main"), lambda topic: topic.name in refuse))
    log.append(CALL_AUDIO, numbered(0, 5))
    log.append(CALL_LIFECYCLE, numbered(100, 5))
    refuse.remove(CALL_AUDIO.name)
    until(lambda: len(found(log)) == 5)
    refuse.clear()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert ids(found(log, CALL_AUDIO, CALL_LIFECYCLE)) == [*range(5), *range(100, 105)]
    log.close()


class _NoCommits(SqliteLog):
    """A disk on which positions cannot be noted for a while."""

    failures = 2

    def commit(self, group: Group, position: Position) -> None:
        if _NoCommits.failures:
            _NoCommits.failures -= 1
            raise LogUnavailable("The disk does not take it.")
        super().commit(group, position)


def test_a_position_that_cannot_be_noted_doubles_nothing(tmp_path: Path, main: GatedLog) -> None:
    log = SpillingLog(main, tmp_path / "spill", _NoCommits, SMALL)
    main.shut()
    log.append(CALL_AUDIO, numbered(0, 120))
    main.open()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert _NoCommits.failures == 0
    assert ids(found(log)) == list(range(120))
    log.close()


# The bound


def test_the_space_is_bounded_and_given_back(tmp_path: Path, main: GatedLog) -> None:
    log = spilling(tmp_path, main)
    main.shut()
    rooms: list[tuple[float, bool]] = []

    def fill() -> None:
        while True:
            log.append(CALL_AUDIO, numbered(50 * len(rooms), 50, size=4000))
            rooms.append((log.state.share, log.has_room))

    with pytest.raises(LogUnavailable, match=r"spill of 12 MB is full; .* raise \[spill\] most_mb"):
        fill()
    kept = 50 * len(rooms)
    assert all(room == (share < SMALL.nearly_full) for share, room in rooms)
    assert [room for _, room in rooms] == sorted((room for _, room in rooms), reverse=True)
    assert rooms[0][1]
    assert not rooms[-1][1]
    assert kept * 4000 > 0.5 * (12 << 20), "Most of the space holds events."
    really = disk_bytes(tmp_path / "spill")
    assert abs(log.state.bytes - really) < 64_000
    assert really < (12 << 20) + 2 * 50 * 4300
    with pytest.raises(LogUnavailable):
        log.append(CALL_AUDIO, numbered(kept, 50, size=4000))
    main.open()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert log.has_room
    assert disk_bytes(tmp_path / "spill") == 0
    log.append(CALL_AUDIO, numbered(kept, 50))
    assert ids(found(log)) == list(range(kept + 50))
    log.close()


def test_space_comes_back_segment_by_segment(tmp_path: Path) -> None:
    left = 0

    def refuses(topic: Topic) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    log = spilling(tmp_path, GatedLog(SqliteLog(tmp_path / "main"), refuses))
    for first in range(0, 1500, 50):
        log.append(CALL_AUDIO, numbered(first, 50, size=4000))
    full, names = log.state, segments(tmp_path)
    assert len(names) > 3
    left = 15  # batches of 50
    until(lambda: log.state.records == 750)
    assert log.state.bytes < 0.7 * full.bytes
    assert segments(tmp_path) == names[-len(segments(tmp_path)) :]
    left = 1_000_000
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert ids(found(log)) == list(range(1500))
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs of 16 MB needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def write_until_full(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_smaller_than_the_space_allowed_counts_instead(
    tmp_path: Path, small_disk: Path, main: GatedLog
) -> None:
    log = spilling(small_disk, main, SpillSettings(most_mb=4096, first_retry_s=0.01, longest_retry_s=0.02))
    main.shut()
    rooms: list[bool] = []

    def fill() -> None:
        while True:
            log.append(CALL_AUDIO, numbered(20 * len(rooms), 20, size=4000))
            rooms.append(log.has_room)

    with pytest.raises(LogUnavailable, match="the disk of the spill is full; bring it back or make room"):
        fill()
    assert rooms[0]
    assert not rooms[-1]
    with pytest.raises(OSError, match="No space left"):
        write_until_full(small_disk / "others")
    main.open()
    until(lambda: log.state.mode is SpillMode.DIRECT)
    assert log.has_room
    assert ids(found(log)) == list(range(20 * len(rooms)))
    log.close()


def test_a_damaged_segment_is_set_aside_and_the_others_arrive(
    tmp_path: Path, main: GatedLog, caplog: pytest.LogCaptureFixture
) -> None:
    log = spilling(tmp_path, main)
    main.shut()
    for first in range(0, 1500, 50):
        log.append(CALL_AUDIO, numbered(first, 50, size=4000))
    log.close()
    first_segment, *_, last_segment = segments(tmp_path)
    for name in (first_segment, last_segment):
        (tmp_path / "spill" / name / "spilled.db").write_bytes(b"no database" * 1000)
    log = spilling(tmp_path, SqliteLog(tmp_path / "main"))
    log.append(CALL_AUDIO, numbered(1500, 10))
    until(lambda: log.state.mode is SpillMode.DIRECT)
    got = [int(event.id) for event in sorted(found(log), key=lambda event: int(event.id))]
    assert got[-10:] == list(range(1500, 1510))
    assert got[:-10] == list(range(got[0], got[-11] + 1))
    assert 0 < got[0] < got[-11] < 1499
    aside = [name for name in segments(tmp_path) if name.startswith("damaged-")]
    assert len(aside) == 2
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [any(name in sentence for sentence in said) for name in aside] == [True, True]
    log.close()


# Processes that are killed


def _append_until_killed(folder: Path, tell: Connection) -> None:
    main = GatedLog(SqliteLog(folder / "main"))
    log = spilling(folder, main)
    number = 0
    while True:
        if number == 300:
            main.shut()
        log.append(CALL_AUDIO, numbered(number, 10))
        number += 10
        tell.send(number)


@pytest.mark.parametrize("after", [500, 2000])
def test_killed_while_spilling_loses_nothing_acknowledged(tmp_path: Path, after: int) -> None:
    end, tell = _SPAWN.Pipe(duplex=False)
    child = _SPAWN.Process(target=_append_until_killed, args=(tmp_path, tell), daemon=True)
    child.start()
    tell.close()
    acknowledged = 0
    while acknowledged < after:
        acknowledged = end.recv()
    child.kill()
    child.join()
    while end.poll():
        try:
            acknowledged = end.recv()
        except EOFError:
            break
    log = spilling(tmp_path, SqliteLog(tmp_path / "main"))
    until(lambda: log.state.mode is SpillMode.DIRECT)
    got = ids(found(log))
    assert got == list(range(len(got)))
    assert len(got) >= acknowledged
    log.close()


class _DiesBehindBatch(SqliteLog):
    """The process dies at the worst moment: the main log has a drained batch, the spill does not know it yet."""

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        super().append(topic, events)
        if threading.current_thread().name == "spill-drain" and int(events[-1].id) >= 200:
            os.kill(os.getpid(), signal.SIGKILL)


def _drain_and_die(folder: Path) -> None:
    log = spilling(folder, _DiesBehindBatch(folder / "main"))
    threading.Event().wait(60)
    log.close()


def test_killed_between_acknowledgement_and_note_sends_one_batch_again_under_its_ids(tmp_path: Path) -> None:
    main = GatedLog(SqliteLog(tmp_path / "main"))
    main.shut()
    log = spilling(tmp_path, main)
    events = numbered(0, 500)
    log.append(CALL_AUDIO, events)
    log.close()
    child = _SPAWN.Process(target=_drain_and_die, args=(tmp_path,), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    log = spilling(tmp_path, SqliteLog(tmp_path / "main"))
    until(lambda: log.state.mode is SpillMode.DIRECT)
    got = found(log)
    assert len(got) == 500 + SMALL.drain_records
    first_seen = {event.id: event for event in reversed(got)}
    assert sorted(first_seen.values(), key=lambda event: int(event.id)) == events
    assert all(event == first_seen[event.id] for event in got), "Again means the same, byte for byte."
    log.close()


# What cannot be


def test_two_processes_cannot_share_a_spill(tmp_path: Path, main: GatedLog) -> None:
    log = spilling(tmp_path, main)
    with pytest.raises(LogUnavailable, match="used by another process"):
        spilling(tmp_path, main)
    log.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, main: GatedLog) -> None:
    (tmp_path / "spill").write_text("")
    with pytest.raises(LogUnavailable, match=r"The folder of the spill, .*spill, cannot be used: file exists\."):
        spilling(tmp_path, main)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"most_mb": 10, "segment_mb": 6}, "segment_mb <= most_mb / 2"),
        ({"nearly_full": 0.0}, "nearly_full"),
        ({"drain_records": 0}, "drain_records"),
        ({"first_retry_s": 3.0}, "first_retry_s <= longest_retry_s"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SpillSettings(**wrong)  # type: ignore[arg-type]


def test_everything_but_appending_is_the_main_logs(tmp_path: Path) -> None:
    log = spilling(tmp_path, SqliteLog(tmp_path / "main"))
    group = Group("reader")
    log.append(CALL_AUDIO, numbered(0, 10))
    got = log.read([CALL_AUDIO], group, 10, 1.0)
    log.commit(group, got[3].after)
    assert len(log.assignment(group)) == CALL_AUDIO.partitions
    assert sum(log.lag(group, [CALL_AUDIO]).values()) < 10
    assert log.trim(CALL_AUDIO, 5003) == 3
    log.close()
