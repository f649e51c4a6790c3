"""One topic in one SQLite file: durable appends with group commit, reading behind given offsets, trimming.

An event's offset is its row number in the topic's file, counted over all partitions: within a partition
offsets grow but have holes. One row of `head` holds the next offset, so that offsets never come back after a
trim. Writers of all processes queue on a lock file instead of SQLite's busy handler, which sleeps in growing
steps and is unfair.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.bell import ring
from events.errors import CallwardenError, LogUnavailable, StopConsumer
from events.log import Delivery, Event, TopicPartition
from events.topics import Topic

_TOPIC_NAME: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS head (next INTEGER NOT NULL, partitions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, part INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    id TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_part ON event (part);
"""
_COLUMNS: Final = "seq, part, id, key, kind, at_ms, value"
_INSERT: Final = f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_TRIM_ROWS: Final = 500
MOST_COUNTED: Final = 100_000
_FOLD_BUSY_MS: Final = 50
_FOLD_AGAIN_S: Final = 2.0

_Row = tuple[int, int, str, str, str, int, bytes]


def translate(error: sqlite3.Error | OSError, what: str) -> CallwardenError:
    """Return our own error for one of SQLite's or the operating system's, in one sentence."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StopConsumer(f"The file of {what} is damaged; restore it from a back-up or move it away.")
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == 28:
        return LogUnavailable(f"The disk is full, so {what} takes nothing until there is space again.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LogUnavailable(f"The file of {what} is held by another process for too long.")
    return LogUnavailable(f"The file of {what} cannot be read or written now ({type(error).__name__}).")


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[None]:
    """Hold a lock file exclusively against other processes, and other users of it in this one."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Batch:
    __slots__ = ("done", "error", "rows")

    def __init__(self, rows: list[tuple[int, Event]]) -> None:
        self.rows = rows
        self.done = False
        self.error: CallwardenError | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read gave: deliveries in order, and where each partition goes on."""

    deliveries: list[Delivery]
    next_offsets: dict[int, int]
    caught_up: bool


class TopicFile:
    """`append`, `trim` and `lag` from any thread; `version` and `read` from one thread at a time."""

    def __init__(self, folder: Path, topic: Topic, most_rows: int, wal_limit_bytes: int, busy_s: float) -> None:
        if not _TOPIC_NAME.fullmatch(topic.name):
            raise ValueError("A topic name is made of lower-case words joined by dots.")
        self.topic = topic
        self.bell = folder / f"{topic.name}.bell"
        self._path = folder / f"{topic.name}.db"
        self._wal = folder / f"{topic.name}.db-wal"
        self._lock_path = folder / f"{topic.name}.lock"
        self._what = f"topic {topic.name}"
        self._most_rows = most_rows
        self._wal_limit_bytes = wal_limit_bytes
        self._busy_s = busy_s
        self._pending: list[_Batch] = []
        self._pending_lock = threading.Lock()
        self._leader = threading.Lock()
        self._read_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._fold_due = 0.0
        self._closed = False
        self.commits = 0
        """Transactions that appended something through this object; fewer than appends when threads share."""

    # Writing

    def append(self, events: Sequence[Event]) -> None:
        """Make the events durable, all or none. Threads that come while a commit is under way share the next."""
        partitions = self.topic.partitions
        batch = _Batch([(zlib.crc32(event.key.encode()) % partitions, event) for event in events])
        if not batch.rows:
            return
        with self._pending_lock:
            self._pending.append(batch)
        with self._leader:
            if not batch.done:
                self._lead()
        if batch.error is not None:
            raise batch.error

    def _lead(self) -> None:
        """Commit what waits, oldest first, until the leader's own batch (the newest known) is done."""
        with self._pending_lock:
            waiting, self._pending = self._pending, []
        while waiting:
            share: list[_Batch] = []
            rows = 0
            while waiting and (not share or rows + len(waiting[0].rows) <= self._most_rows):
                rows += len(waiting[0].rows)
                share.append(waiting.pop(0))
            try:
                self._commit(share)
            except CallwardenError as error:
                self._commit_one_by_one(share, error)
            finally:
                for batch in share:
                    batch.done = True
        ring(self.bell)

    def _commit_one_by_one(self, share: list[_Batch], error: CallwardenError) -> None:
        """Let small batches through where one large one did not fit."""
        for batch in share:
            batch.error = error
            if len(share) > 1 and isinstance(error, LogUnavailable):
                try:
                    self._commit([batch])
                    batch.error = None
                except CallwardenError as own:
                    batch.error = own

    def _commit(self, share: list[_Batch]) -> None:
        try:
            with holding(self._lock_path):
                writer = self._open_writer()
                try:
                    writer.execute("BEGIN IMMEDIATE")
                    (first,) = writer.execute("SELECT next FROM head").fetchone()
                    rows: list[_Row] = []
                    for batch in share:
                        for part, event in batch.rows:
                            seq = first + len(rows)
                            rows.append((seq, part, event.id, event.key, event.kind, event.at_ms, event.value))
                    writer.executemany(_INSERT, rows)
                    writer.execute("UPDATE head SET next = ?", (first + len(rows),))
                    writer.execute("COMMIT")
                    self.commits += 1
                except BaseException:
                    self._drop_writer()
                    raise
                self._bound_wal(writer)
        except (sqlite3.Error, OSError) as error:
            raise translate(error, self._what) from None

    def _bound_wal(self, writer: sqlite3.Connection) -> None:
        """Fold a long write-ahead log back; readers that never pause would otherwise let it grow for ever.

        A reader that hangs inside its snapshot prevents it; then appends go on and it is tried again later.
        """
        with contextlib.suppress(sqlite3.Error, OSError):
            if time.monotonic() < self._fold_due or os.stat(self._wal).st_size <= self._wal_limit_bytes:
                return
            self._fold_due = time.monotonic() + _FOLD_AGAIN_S
            writer.execute(f"PRAGMA busy_timeout = {_FOLD_BUSY_MS}")
            try:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                writer.execute(f"PRAGMA busy_timeout = {int(self._busy_s * 1000)}")

    def trim(self, before_ms: int) -> int:
        """Remove events made before `before_ms`, oldest first, in short transactions; return how many."""
        removed = 0
        while True:
            step, more = self._trim_step(before_ms)
            removed += step
            if not more:
                return removed

    def _trim_step(self, before_ms: int) -> tuple[int, bool]:
        try:
            with self._leader, holding(self._lock_path):
                writer = self._open_writer()
                try:
                    writer.execute("BEGIN IMMEDIATE")
                    oldest = writer.execute(
                        "SELECT seq, at_ms FROM event ORDER BY seq LIMIT ?", (_TRIM_ROWS,)
                    ).fetchall()
                    old = [(seq,) for seq, at_ms in oldest if at_ms < before_ms]
                    writer.executemany("DELETE FROM event WHERE seq = ?", old)
                    writer.execute("COMMIT")
                except BaseException:
                    self._drop_writer()
                    raise
                self._bound_wal(writer)
        except (sqlite3.Error, OSError) as error:
            raise translate(error, self._what) from None
        return len(old), len(old) == _TRIM_ROWS

    # Reading

    def version(self) -> int:
        """Return a number that is the same as long as no other connection has committed anything."""
        with self._reading() as reader:
            (version,) = reader.execute("PRAGMA data_version").fetchone()
            return int(version)

    def head(self) -> int:
        """Return the offset that the next event will get."""
        with self._reading() as reader:
            (following,) = reader.execute("SELECT next FROM head").fetchone()
            return int(following)

    def read(self, offsets: Mapping[int, int], most: int) -> Reading:
        """Return up to `most` events of the partitions in `offsets`, at or behind their offsets, in order."""
        with self._reading() as reader:
            reader.execute("BEGIN")
            try:
                (end,) = reader.execute("SELECT next FROM head").fetchone()
                rows = self._rows(reader, offsets, most, end)
            finally:
                reader.execute("COMMIT")
        caught_up = len(rows) < most
        reached = end if caught_up else rows[-1][0] + 1
        following = {part: max(offset, reached) for part, offset in offsets.items()}
        return Reading([self._delivery(row) for row in rows], following, caught_up)

    def _rows(self, reader: sqlite3.Connection, offsets: Mapping[int, int], most: int, end: int) -> list[_Row]:
        behind = {part: offset for part, offset in offsets.items() if offset < end}
        if not behind or most <= 0:
            return []
        lowest = min(behind.values())
        if len(behind) == self.topic.partitions and max(behind.values()) == lowest:
            scan = f"SELECT {_COLUMNS} FROM event WHERE seq >= ? ORDER BY seq LIMIT ?"
            return reader.execute(scan, (lowest, most)).fetchall()
        # SQLite merges the ordered parts, so each read costs its own rows however far apart the offsets lie.
        one = f"SELECT {_COLUMNS} FROM event WHERE part = ? AND seq >= ?"
        merge = " UNION ALL ".join([one] * len(behind)) + " ORDER BY seq LIMIT ?"
        bound = [number for pair in sorted(behind.items()) for number in pair]
        return reader.execute(merge, (*bound, most)).fetchall()

    def lag(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Count the events at or behind each partition's offset, up to `MOST_COUNTED` each."""
        query = f"SELECT count(*) FROM (SELECT 1 FROM event WHERE part = ? AND seq >= ? LIMIT {MOST_COUNTED})"
        with self._reading() as reader:
            return {part: reader.execute(query, (part, low)).fetchone()[0] for part, low in offsets.items()}

    def _delivery(self, row: _Row) -> Delivery:
        seq, part, identity, key, kind, at_ms, value = row
        event = Event(identity, key, kind, at_ms, value)  # type: ignore[arg-type]
        return Delivery(self.topic, TopicPartition(self.topic.name, part), seq, event)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            try:
                if self._reader is None:
                    self._reader = self._open_reader()
                yield self._reader
            except (sqlite3.Error, OSError) as error:
                if self._reader is not None:
                    self._reader.close()
                    self._reader = None
                raise translate(error, self._what) from None

    # Opening and closing

    def _open_writer(self) -> sqlite3.Connection:
        """Open (and create, where needed) the file; the lock file is held."""
        if self._closed:
            raise LogUnavailable("The event log was closed.")
        if self._writer is None:
            writer = sqlite3.connect(
                self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
            )
            try:
                writer.execute("PRAGMA journal_mode = WAL")
                writer.execute("PRAGMA synchronous = FULL")
                writer.execute("PRAGMA wal_autocheckpoint = 2000")
                self._make_tables(writer)
            except BaseException:
                writer.close()
                raise
            self._writer = writer
        return self._writer

    def _make_tables(self, writer: sqlite3.Connection) -> None:
        known = writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'event_by_part'").fetchone()
        if known is None:
            writer.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    writer.execute(statement)
            if writer.execute("SELECT 1 FROM head").fetchone() is None:
                writer.execute("INSERT INTO head (next, partitions) VALUES (1, ?)", (self.topic.partitions,))
            writer.execute("COMMIT")
        (partitions,) = writer.execute("SELECT partitions FROM head").fetchone()
        if partitions != self.topic.partitions:
            raise StopConsumer(
                f"The file of {self._what} has {partitions} partitions, not {self.topic.partitions}; "
                "the number cannot be changed once there are events."
            )

    def _open_reader(self) -> sqlite3.Connection:
        if not self._path.exists() or self._writer is None:
            with self._leader, holding(self._lock_path):
                self._open_writer()
        reader = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        reader.execute("PRAGMA query_only = ON")
        return reader

    def _drop_writer(self) -> None:
        """Roll back by closing: after an I/O error a connection's state is not worth guessing about."""
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None

    def close(self) -> None:
        with self._leader:
            self._closed = True
            self._drop_writer()
        with self._read_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
