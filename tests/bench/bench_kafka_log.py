"""Appends and reads a second and append-to-read delay of both drivers of the event log, beside bare kafka-python.

Run as ``python -m tests.bench.bench_kafka_log`` with CALLWARDEN_TEST_KAFKA=host:port of a broker; prints tables and
writes build/bench/kafka_log.json. An event is a sealed block of audio: 100 ms of one G.711 leg, 926 bytes. A batch
holds what 100 two-leg calls give every 100 ms. "Bare" does the same with the client library alone: the same
settings, keys and headers, the same wait for every acknowledgement, and a consumer that is polled for records.

Rounds of the contestants alternate, so that what else the machine does hits all of them alike; the ratio is that of
the medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from kafka import KafkaAdminClient, KafkaConsumer
from rich.console import Console
from rich.table import Table

from events.identity import RecordId, new_call_id
from events.kafka_connection import new_producer
from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings
from events.kafka_topics import prepare_topics
from events.log import Event, EventLog, Group, StartAt
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, FINDING
from tests.services.needed import KAFKA_VARIABLE, fresh_prefix

_BATCH = 200
_VALUE = os.urandom(926)
_SPAWN = multiprocessing.get_context("spawn")


class _Writer(Protocol):
    def append(self, events: Sequence[Event]) -> None: ...
    def close(self) -> None: ...


class _OfLog:
    """A driver of ours: one thread that appends."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def append(self, events: Sequence[Event]) -> None:
        self._log.append(CALL_AUDIO, events)

    def close(self) -> None:
        self._log.close()


class _Bare:
    """The client library alone, with the same options."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = new_producer(settings)
        self._topic = settings.prefix + CALL_AUDIO.name

    def append(self, events: Sequence[Event]) -> None:
        futures = [
            self._producer.send(
                self._topic,
                key=event.key.encode(),
                value=event.value,
                headers=[("id", event.id.encode()), ("kind", event.kind.encode())],
                timestamp_ms=event.at_ms,
            )
            for event in events
        ]
        for future in futures:
            future.get(30)

    def close(self) -> None:
        self._producer.close()


_Reader = Callable[[float], list[tuple[str, int]]]
"""Waits so many seconds at most; returns the ids read and when, in monotonic nanoseconds."""


def _read_log(log: EventLog) -> _Reader:
    group = Group(f"bench-{os.getpid()}", StartAt.LAST)

    def read(wait_s: float) -> list[tuple[str, int]]:
        got = log.read([CALL_AUDIO], group, 5000, wait_s)
        now = time.monotonic_ns()
        return [(delivery.event.id, now) for delivery in got]

    return read


def _read_bare(settings: KafkaSettings) -> _Reader:
    consumer = _bare_consumer(settings, str(os.getpid()), "latest")
    consumer.partitions_for_topic(settings.prefix + CALL_AUDIO.name)
    consumer.subscribe([settings.prefix + CALL_AUDIO.name])

    def read(wait_s: float) -> list[tuple[str, int]]:
        batches = consumer.poll(timeout_ms=round(wait_s * 1000))
        now = time.monotonic_ns()
        return [(record.headers[0][1].decode(), now) for records in batches.values() for record in records]

    return read


def _bare_consumer(settings: KafkaSettings, group: str, start: str) -> Any:
    return KafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        group_id=f"{settings.prefix}bare-{group}",
        enable_auto_commit=False,
        auto_offset_reset=start,
        isolation_level="read_committed",
        metrics_enabled=False,
        fetch_max_wait_ms=250,
        max_poll_records=settings.most_buffered,
    )


def open_writer(what: str, settings: KafkaSettings, folder: Path) -> _Writer:
    if what == "bare kafka-python":
        return _Bare(settings)
    return _OfLog(SqliteLog(folder) if what == "SQLite" else KafkaLog(settings))


def open_reader(what: str, settings: KafkaSettings, folder: Path) -> _Reader:
    if what == "bare kafka-python":
        return _read_bare(settings)
    return _read_log(SqliteLog(folder) if what == "SQLite" else KafkaLog(settings))


CONTESTANTS = ("SQLite", "Kafka", "bare kafka-python")


@dataclass(frozen=True)
class Throughput:
    what: str
    batch: int
    events_per_s: int
    """Median of the rounds."""
    of_bare: float
    """Time taken, as a multiple of bare kafka-python's."""


def _batches(calls: Sequence[str], size: int) -> Callable[[], list[Event]]:
    number = 0

    def batch() -> list[Event]:
        nonlocal number
        events = [
            Event(RecordId(f"{call}:{number}:{leg}"), call, "audio_block", 1_700_000_000_000 + number, _VALUE)
            for call in calls[: size // 2]
            for leg in (0, 1)
        ]
        number += 1
        return events

    return batch


def throughput(size: int, rounds: int, round_s: float, settings: KafkaSettings, folder: Path) -> list[Throughput]:
    """Append batches of `size`, one after the other, for so many seconds a round."""
    writers = {what: open_writer(what, settings, folder) for what in CONTESTANTS}
    calls = [new_call_id() for _ in range(max(1, size // 2))]
    rates: dict[str, list[float]] = {what: [] for what in CONTESTANTS}
    for turn in range(rounds + 1):
        for what, writer in writers.items():
            batch = _batches(calls, size)
            done, spent = 0, 0
            while spent < round_s * 1e9:
                events = batch()
                began = time.monotonic_ns()
                writer.append(events)
                spent += time.monotonic_ns() - began
                done += len(events)
            if turn:  # the first is to warm up
                rates[what].append(done / spent * 1e9)
    for writer in writers.values():
        writer.close()
    median = {what: statistics.median(found) for what, found in rates.items()}
    bare = median["bare kafka-python"]
    return [Throughput(what, size, round(rate), round(bare / rate, 2)) for what, rate in median.items()]


@dataclass(frozen=True)
class Reading:
    what: str
    events_per_s: int
    """Median of the rounds, of a group that begins at the first event."""
    of_bare: float


def reading(events: int, rounds: int, settings: KafkaSettings, folder: Path) -> list[Reading]:
    """Read so many events that lie there, from a group's joining to the last of them less the time to the first."""
    calls = [new_call_id() for _ in range(400)]
    for log in (SqliteLog(folder / "reading"), KafkaLog(settings)):
        batch = _batches(calls, 800)
        for _ in range(events // 800):
            log.append(FINDING, batch())
        log.close()
    rates: dict[str, list[float]] = {what: [] for what in CONTESTANTS}
    for turn in range(rounds):
        for what in CONTESTANTS:
            done, began = 0, 0
            reader = _begin_reading(what, turn, settings, folder / "reading")
            while done < events // 800 * 800:
                got = reader.read()
                if began:
                    done += got
                elif got:
                    began, events_before = time.monotonic_ns(), got
                    done = got
            rates[what].append((done - events_before) / (time.monotonic_ns() - began) * 1e9)
            reader.close()
    median = {what: statistics.median(found) for what, found in rates.items()}
    bare = median["bare kafka-python"]
    return [Reading(what, round(rate), round(bare / rate, 2)) for what, rate in median.items()]


class _ReadsLog:
    def __init__(self, log: EventLog, group: str) -> None:
        self._log, self._group = log, Group(group)

    def read(self) -> int:
        return len(self._log.read([FINDING], self._group, 5000, 1.0))

    def close(self) -> None:
        self._log.close()


class _ReadsBare:
    """What any consumer of such records has to do: decode key, id and kind."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._consumer = _bare_consumer(settings, group, "earliest")
        self._consumer.partitions_for_topic(settings.prefix + FINDING.name)
        self._consumer.subscribe([settings.prefix + FINDING.name])

    def read(self) -> int:
        batches = self._consumer.poll(timeout_ms=1000)
        return len(
            [
                (
                    record.key.decode(),
                    [value.decode() for _, value in record.headers],
                    record.timestamp,
                    record.value,
                )
                for records in batches.values()
                for record in records
            ]
        )

    def close(self) -> None:
        self._consumer.close()


def _begin_reading(what: str, turn: int, settings: KafkaSettings, folder: Path) -> _ReadsLog | _ReadsBare:
    if what == "bare kafka-python":
        return _ReadsBare(settings, f"bare-{turn}")
    return _ReadsLog(SqliteLog(folder) if what == "SQLite" else KafkaLog(settings), f"reading-{turn}")


@dataclass(frozen=True)
class Delay:
    what: str
    events_per_s: int
    p50_ms: float
    """From before the append to the moment the reader in another process holds the event."""
    p95_ms: float
    most_ms: float
    p50_of_bare: float
    p95_of_bare: float


def _read_until_told(what: str, settings: KafkaSettings, folder: Path, pipe: Connection) -> None:
    read = open_reader(what, settings, folder)
    delays: list[float] = []
    ready = False
    while not pipe.poll():
        for identity, now in read(0.1):
            sent = int(identity.split(":")[0])
            if not ready:
                ready = True
                pipe.send("ready")
            elif sent:
                delays.append((now - sent) / 1e6)
    pipe.send(delays)


def delay(
    per_s: int, every_s: float, rounds: int, round_s: float, settings: KafkaSettings, folder: Path
) -> list[Delay]:
    """Append a batch every so often, as capture does, and see when another process has it."""
    size = max(1, round(per_s * every_s))
    calls = [new_call_id() for _ in range(size)]
    writers = {what: open_writer(what, settings, folder) for what in CONTESTANTS}
    pipes = {}
    for what, writer in writers.items():
        ours, theirs = _SPAWN.Pipe()
        _SPAWN.Process(target=_read_until_told, args=(what, settings, folder, theirs), daemon=True).start()
        pipes[what] = ours
        while not ours.poll(0.1):  # until the reader has joined its group and sees what is appended
            writer.append([Event(RecordId("0"), calls[0], "audio_block", 1_700_000_000_000, _VALUE)])
        assert ours.recv() == "ready"
    for _ in range(rounds):
        for writer in writers.values():
            began = time.monotonic()
            for number in range(int(round_s / every_s)):
                time.sleep(max(0.0, began + number * every_s - time.monotonic()))
                at = time.monotonic_ns()
                writer.append(
                    [
                        Event(RecordId(f"{at}:{place}"), call, "audio_block", 1_700_000_000_000, _VALUE)
                        for place, call in enumerate(calls)
                    ]
                )
            time.sleep(0.2)
    found = {}
    for what, pipe in pipes.items():
        pipe.send("stop")
        found[what] = pipe.recv()
        writers[what].close()
    steps = {what: statistics.quantiles(values, n=20) for what, values in found.items()}
    bare = steps["bare kafka-python"]
    return [
        Delay(
            what,
            per_s,
            round(steps[what][9], 2),
            round(steps[what][18], 2),
            round(max(found[what]), 1),
            round(steps[what][9] / bare[9], 2),
            round(steps[what][18] / bare[18], 2),
        )
        for what in CONTESTANTS
    ]


def _table(console: Console, title: str, names: Sequence[str], rows: Sequence[Any]) -> None:
    table = Table(title=title)
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        table.add_row(*(f"{value:,}" if not isinstance(value, str) else value for value in asdict(row).values()))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round of one contestant")
    parser.add_argument("--scratch", type=Path, default=Path("build/bench/scratch"), help="file system for SQLite")
    parser.add_argument("--out", type=Path, default=Path("build/bench/kafka_log.json"))
    options = parser.parse_args(arguments)
    console = Console()
    bootstrap = os.environ.get(KAFKA_VARIABLE, "")
    if not bootstrap:
        console.print(f"This needs a Kafka broker: `make bench-services` starts one, or set {KAFKA_VARIABLE}.")
        return
    settings = KafkaSettings(bootstrap=bootstrap, prefix=fresh_prefix(), replication=1, min_in_sync=1)
    options.scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=options.scratch))
    prepare_topics(settings, [CALL_AUDIO, FINDING], None)
    run = partial(throughput, rounds=options.rounds, round_s=options.seconds, settings=settings, folder=folder)
    timed = partial(delay, rounds=options.rounds, round_s=options.seconds, settings=settings, folder=folder)
    try:
        rates = [row for size in (_BATCH, 2000) for row in run(size)]
        reads = reading(100_000, options.rounds, settings, folder)
        delays = [*timed(2000, 0.1), *timed(200, 0.02)]
    finally:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        admin.delete_topics([name for name in admin.list_topics() if name.startswith(settings.prefix)])
        admin.close()
        shutil.rmtree(folder)
    where = f"{platform.machine()}, {os.cpu_count()} cores shared with the broker"
    _table(console, f"Appends ({where})", ("", "events per append", "events/s", "time / bare"), rates)
    _table(console, "Reads of what lies there", ("", "events/s", "time / bare"), reads)
    names = ("", "events/s", "P50 ms", "P95 ms", "most ms", "P50 / bare", "P95 / bare")
    _table(console, "From append to another process's read", names, delays)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "cores": os.cpu_count(),
        "linger_ms": settings.linger_ms,
        "appends": [asdict(row) for row in rates],
        "reads": [asdict(row) for row in reads],
        "delay": [asdict(row) for row in delays],
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
