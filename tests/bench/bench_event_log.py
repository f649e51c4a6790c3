"""How many sealed audio blocks the embedded event log makes durable in a second, and how soon they are read.

Run as ``python -m tests.bench.bench_event_log``; prints a table and writes build/bench/event_log.json.

Every block is 100 ms of one G.711 leg (800 bytes of payload), encoded and sealed by the writer; a batch holds
what 100 two-leg calls give every 100 ms. A live two-leg call makes 20 blocks a second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from events.audio import AudioBlock, Encoding
from events.consumer import Opened, Output, StageLoop
from events.identity import CallId, Role, new_call_id
from events.log import Event as LogEvent
from events.log import Group, Position, StartAt, TopicPartition
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, TOPICS, Key, Topic

_BATCH = 200
_SPAWN = multiprocessing.get_context("spawn")


class _OneKey:
    def key(self, call: CallId, key: Key) -> bytes:
        return b"\x07" * 32


def _blocks(calls: Sequence[CallId], number: int, payload: bytes) -> list[AudioBlock]:
    return [
        AudioBlock(call, leg, Role.AGENT, Encoding.PCMU, 8000, number * 800, 800, payload)
        for call in calls
        for leg in (0, 1)
    ]


@dataclass(frozen=True)
class Throughput:
    writers: int
    batch: int
    blocks_per_s: float
    sealing_share: float
    """Part of a writer's time that went into encoding and sealing."""
    two_leg_calls: float
    """Live calls that this rate carries."""


def _write(
    folder: Path, batch: int, seconds: float, start: Barrier, out: multiprocessing.Queue[tuple[int, float, float]]
) -> None:
    log, sealer = SqliteLog(folder), Sealer(_OneKey())
    calls = [new_call_id() for _ in range(batch // 2)]
    payload = os.urandom(800)
    log.append(CALL_AUDIO, [sealer.event(CALL_AUDIO, block) for block in _blocks(calls, 0, payload)])
    start.wait()
    began = time.perf_counter()
    done, sealing, number = 0, 0.0, 1
    while time.perf_counter() - began < seconds:
        at = time.perf_counter()
        events = [sealer.event(CALL_AUDIO, block) for block in _blocks(calls, number, payload)]
        sealing += time.perf_counter() - at
        log.append(CALL_AUDIO, events)
        done += len(events)
        number += 1
    took = time.perf_counter() - began
    log.close()
    out.put((done, took, sealing))


def throughput(writers: int, batch: int, seconds: float, scratch: Path) -> Throughput:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    start = _SPAWN.Barrier(writers)
    out: multiprocessing.Queue[tuple[int, float, float]] = _SPAWN.Queue()
    processes = [_SPAWN.Process(target=_write, args=(folder, batch, seconds, start, out)) for _ in range(writers)]
    for process in processes:
        process.start()
    results = [out.get() for _ in processes]
    for process in processes:
        process.join()
    shutil.rmtree(folder)
    rate = sum(done / took for done, took, _ in results)
    share = sum(sealing for _, _, sealing in results) / sum(took for _, took, _ in results)
    return Throughput(writers, batch, round(rate), round(share, 2), round(rate / 20))


def bare_sqlite(batch: int, seconds: float, scratch: Path) -> float:
    """Rows a second of the same size into a plain table, same durability, one writer, nothing sealed."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, id TEXT, value BLOB)")
    value = os.urandom(960)
    began = time.perf_counter()
    done = 0
    while time.perf_counter() - began < seconds:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO event (id, value) VALUES (?, ?)", [(f"{done}:{i}", value) for i in range(batch)]
        )
        database.execute("COMMIT")
        done += batch
    rate = done / (time.perf_counter() - began)
    database.close()
    shutil.rmtree(folder)
    return rate


@dataclass(frozen=True)
class Delay:
    blocks_per_s: int
    readers: int
    p50_ms: float
    """From before sealing to the moment the reader holds the event."""
    p95_ms: float
    most_ms: float
    append_p50_ms: float
    append_p95_ms: float
    largest_wal_mb: float


def _read(
    folder: Path, topic: Topic, ready: Barrier, stop: Event, out: multiprocessing.Queue[list[float]]
) -> None:
    log, group = SqliteLog(folder), Group(f"bench-{os.getpid()}", StartAt.LAST)
    log.read([topic], group, 1000, 0)
    ready.wait()
    delays: list[float] = []
    while not stop.is_set():
        deliveries = log.read([topic], group, 1000, 0.1)
        now = time.monotonic_ns()
        delays += [(now - int(delivery.event.id)) / 1e6 for delivery in deliveries]
    log.close()
    out.put(delays)


def delay(blocks_per_s: int, readers: int, seconds: float, scratch: Path) -> Delay:
    """Append a batch every 100 ms, as capture does, and see when other processes have it."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    ready, stop = _SPAWN.Barrier(readers + 1), _SPAWN.Event()
    out: multiprocessing.Queue[list[float]] = _SPAWN.Queue()
    processes = [_SPAWN.Process(target=_read, args=(folder, CALL_AUDIO, ready, stop, out)) for _ in range(readers)]
    for process in processes:
        process.start()
    log, sealer = SqliteLog(folder), Sealer(_OneKey())
    calls = [new_call_id() for _ in range(blocks_per_s // 20)]
    payload = os.urandom(800)
    ready.wait()
    appends: list[float] = []
    largest_wal = 0
    began = time.monotonic()
    for number in range(int(seconds * 10)):
        time.sleep(max(0.0, began + number / 10 - time.monotonic()))
        at = time.monotonic_ns()
        sealed = [sealer.event(CALL_AUDIO, block) for block in _blocks(calls, number, payload)]
        log.append(CALL_AUDIO, [LogEvent(str(at), e.key, e.kind, e.at_ms, e.value) for e in sealed])  # type: ignore[arg-type]
        appends.append((time.monotonic_ns() - at) / 1e6)
        largest_wal = max(largest_wal, (folder / "call.audio.db-wal").stat().st_size)
    time.sleep(0.3)
    stop.set()
    delays = [value for _ in processes for value in out.get()]
    for process in processes:
        process.join()
    log.close()
    shutil.rmtree(folder)
    steps = statistics.quantiles(delays, n=20)
    append_steps = statistics.quantiles(appends, n=20)
    return Delay(
        blocks_per_s,
        readers,
        round(steps[9], 2),
        round(steps[18], 2),
        round(max(delays), 2),
        round(append_steps[9], 2),
        round(append_steps[18], 2),
        round(largest_wal / 1e6, 1),
    )


class _Nothing:
    """A stage with nothing to do."""

    def __init__(self, topics: Sequence[Topic]) -> None:
        self.name = "idle"
        self.topics: Sequence[Topic] = [replace(topic, readers=frozenset({"idle"})) for topic in topics]

    def handle(self, opened: Opened) -> Iterable[Output]:
        return ()

    def after_batch(self) -> Iterable[Output]:
        return ()

    def made_durable(self) -> None: ...

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None: ...


def _idle(folder: Path, number: int, ready: Barrier, stop: Event, out: multiprocessing.Queue[float]) -> None:
    log = SqliteLog(folder)
    stage = _Nothing(TOPICS[number % 3 : number % 3 + 3])
    loop = StageLoop(log, Sealer(_OneKey()), stage, Group(f"idle-{number}"))
    loop.step()
    ready.wait()
    before = sum(psutil.Process().cpu_times()[:2])
    began = time.monotonic()
    while not stop.is_set():
        loop.step()
    out.put((sum(psutil.Process().cpu_times()[:2]) - before) / (time.monotonic() - began))
    log.close()


def idle_share(processes: int, seconds: float, scratch: Path) -> float:
    """Share of one core that so many waiting stages use together while nothing happens."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    ready, stop = _SPAWN.Barrier(processes + 1), _SPAWN.Event()
    out: multiprocessing.Queue[float] = _SPAWN.Queue()
    running = [_SPAWN.Process(target=_idle, args=(folder, i, ready, stop, out)) for i in range(processes)]
    for process in running:
        process.start()
    ready.wait()
    threading.Event().wait(seconds)
    stop.set()
    share = sum(out.get() for _ in running)
    for process in running:
        process.join()
    shutil.rmtree(folder)
    return share


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--scratch", type=Path, default=Path("build/bench/scratch"), help="file system to measure")
    parser.add_argument("--out", type=Path, default=Path("build/bench/event_log.json"))
    options = parser.parse_args(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    console = Console()

    bare = bare_sqlite(_BATCH, options.seconds, options.scratch)
    rates = [throughput(writers, _BATCH, options.seconds, options.scratch) for writers in (1, 2, 4)]
    rates += [throughput(writers, 2, options.seconds, options.scratch) for writers in (1, 4)]
    table = Table(title=f"Sealed audio blocks made durable ({platform.machine()}, {os.cpu_count()} cores)")
    for name in (
        "writers",
        "blocks per append",
        "blocks/s",
        "live two-leg calls",
        "sealing's share",
        "of bare INSERT",
    ):
        table.add_column(name, justify="right")
    for rate in rates:
        of_bare = f"{rate.blocks_per_s / bare:.0%}" if rate.batch == _BATCH else ""
        table.add_row(
            str(rate.writers), str(rate.batch), f"{rate.blocks_per_s:,.0f}", f"{rate.two_leg_calls:,.0f}",
            f"{rate.sealing_share:.0%}", of_bare,
        )  # fmt: skip
    console.print(table)
    console.print(f"bare sqlite INSERT, one writer, {_BATCH} rows a commit, not sealed: {bare:,.0f} rows/s")

    delays = [delay(2000, 1, options.seconds, options.scratch), delay(2000, 3, options.seconds, options.scratch)]
    table = Table(title="From sealing to being read in another process, 100 ms batches")
    for name in (
        "blocks/s",
        "readers",
        "P50 ms",
        "P95 ms",
        "most ms",
        "append P50 ms",
        "append P95 ms",
        "largest WAL MB",
    ):
        table.add_column(name, justify="right")
    for row in delays:
        table.add_row(*(f"{value:,}" for value in asdict(row).values()))
    console.print(table)

    idle = idle_share(9, options.seconds, options.scratch)
    console.print(
        f"9 stage loops in as many processes, three topics each, nothing happening: {idle:.1%} of one core together"
    )

    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "cores": os.cpu_count(),
        "throughput": [asdict(rate) for rate in rates],
        "bare_insert_rows_per_s": round(bare),
        "delay": [asdict(row) for row in delays],
        "idle_share_of_core_9_processes": round(idle, 4),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
