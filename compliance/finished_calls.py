"""Calls that a stage is done with, durable.

A stage goes on at the first event of its oldest unfinished call. Between there and the end of the log lie the last
events of calls that were finished before: taken alone, without what was said earlier, they would be judged or
redacted wrongly. So a finished call is written down, after its records are in the log and before its position is
given up.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from events.clock import Clock, SystemClock
from events.errors import RetryLater, StopConsumer
from events.identity import CallId
from events.open_calls import OpenCalls
from events.sqlite_topic import holding
from events.topics import TRANSCRIPT_REDACTED

_LOG: Final = logging.getLogger(__name__)

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


class EndingCalls:
    """Calls that a stage has ended and not yet written down; they keep their positions in the log until then."""

    def __init__(self, finished: FinishedCalls, open_calls: OpenCalls) -> None:
        self._finished = finished
        self._open = open_calls
        self._ended: dict[CallId, None] = {}

    def add(self, calls: Iterable[CallId]) -> None:
        self._ended.update(dict.fromkeys(calls))

    def forget(self, call: CallId) -> None:
        """Another member goes on with the call."""
        self._ended.pop(call, None)

    def __contains__(self, call: object) -> bool:
        """Tell whether the call is over for this stage, written down or not."""
        return call in self._ended or self._open.is_done(call) or call in self._finished  # type: ignore[arg-type]

    def write_down(self) -> None:
        """Call from `made_durable`: the records of these calls are in the log now. Never raises RetryLater."""
        if not self._ended:
            return
        try:
            self._finished.add(list(self._ended))
        except FinishedCallsUnavailable as error:
            _LOG.warning("Finished calls keep their positions in the log: %s", error)
            return
        for call in self._ended:
            self._open.done(call)
        self._ended.clear()
