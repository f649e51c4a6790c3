"""Calls that a stage is done with, durable.

A stage goes on at the first event of its oldest unfinished call. Between there and the end of the log lie the last
events of calls that were finished before: taken alone, without what was said earlier, they would be judged or
redacted wrongly. So a finished call is written down, after its records are in the log and before its position is
given up.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from events.clock import Clock, SystemClock
from events.errors import RetryLater, StopConsumer
from events.identity import CallId
from events.sqlite_topic import holding
from events.topics import TRANSCRIPT_REDACTED

LOCK_FILE: Final = "open.lock"
FILE: Final = "finished.sqlite"
_DAY_MS: Final = 86_400_000
_KEEP_MS: Final = int(TRANSCRIPT_REDACTED.keep_days + 2) * _DAY_MS
"""Longer than the events of a call can be delivered again."""


class FinishedCallsUnavailable(RetryLater):
    """What is finished cannot be read or written now."""


class FinishedCalls:
    """One file, shared by all members of the stage. Holds call ids and times only."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / FILE, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            # Only one may turn a new file to WAL; SQLite does not wait for it as it does for writers.
            with holding(folder / LOCK_FILE):
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS finished (call TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID"
                )
                self._connection.execute("CREATE INDEX IF NOT EXISTS finished_at ON finished (at_ms)")
        except (sqlite3.OperationalError, OSError) as error:
            raise FinishedCallsUnavailable(f"The list of finished calls cannot be opened: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise StopConsumer(f"The list of finished calls in {folder / FILE} is damaged: {error}.") from error

    def add(self, calls: Sequence[CallId]) -> None:
        """Write calls down; they are durable when this returns. Raises FinishedCallsUnavailable."""
        now = self._clock.now_ms()
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._connection.executemany(
                        "INSERT OR IGNORE INTO finished VALUES (?, ?)", [(call, now) for call in calls]
                    )
                    self._connection.execute("DELETE FROM finished WHERE at_ms < ?", (now - _KEEP_MS,))
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
        except sqlite3.OperationalError as error:
            raise FinishedCallsUnavailable(f"The list of finished calls cannot be written: {error}.") from error

    def __contains__(self, call: object) -> bool:
        try:
            with self._lock:
                found = self._connection.execute("SELECT 1 FROM finished WHERE call = ?", (call,)).fetchone()
        except sqlite3.OperationalError as error:
            raise FinishedCallsUnavailable(f"The list of finished calls cannot be read: {error}.") from error
        return found is not None

    def close(self) -> None:
        self._connection.close()
