"""Deliveries that are owed, durable, so that a restart neither forgets nor doubles them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from events.errors import RetryLater, StopConsumer
from events.finding import Alert, AlertDelivered
from events.identity import RecordId
from events.sqlite_topic import holding
from events.topics import FINDING

LOCK_FILE: Final = "open.lock"
FILE: Final = "alerts.sqlite"
_KEEP_MS: Final = int(FINDING.keep_days + 2) * 86_400_000
"""Longer than a finding can be delivered again."""
_TABLES: Final = (
    # The alert as it was raised first: when its finding comes again, the same record is made again.
    "CREATE TABLE IF NOT EXISTS alerts (id TEXT PRIMARY KEY, raised_at_ms INTEGER NOT NULL, alert BLOB NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS deliveries (alert TEXT NOT NULL, channel TEXT NOT NULL, attempts INTEGER NOT NULL, "
    "due_ms INTEGER, outcome BLOB, reported INTEGER NOT NULL, PRIMARY KEY (alert, channel)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (channel, due_ms) WHERE due_ms IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS deliveries_unreported ON deliveries (reported) "
    "WHERE outcome IS NOT NULL AND reported = 0",
)
_ALERT: Final = msgspec.msgpack.Decoder(Alert)
_DELIVERED: Final = msgspec.msgpack.Decoder(AlertDelivered)


class OutboxUnavailable(RetryLater):
    """The outbox cannot be read or written now."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery whose time has come."""

    alert: Alert
    channel: str
    attempts: int
    """So far."""


class Outbox:
    """One file, used by the stage and its delivering threads, and by all members of the stage."""

    def __init__(self, folder: Path) -> None:
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
                for statement in _TABLES:
                    self._connection.execute(statement)
        except (sqlite3.OperationalError, OSError) as error:
            raise OutboxUnavailable(f"The list of owed deliveries cannot be opened: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise StopConsumer(f"The list of owed deliveries in {folder / FILE} is damaged: {error}.") from error

    def add(self, alert: Alert, channels: Sequence[str]) -> tuple[Alert, bool]:
        """Owe the delivery of `alert` to each channel, from now on.

        Returns
        -------
        Alert
            As it was raised first.
        bool
            Whether it is new.
        """
        with self._writing() as connection:
            found = connection.execute("SELECT alert FROM alerts WHERE id = ?", (alert.id,)).fetchone()
            if found is not None:
                return _ALERT.decode(found[0]), False
            connection.execute(
                "INSERT INTO alerts VALUES (?, ?, ?)",
                (alert.id, alert.raised_at_ms, msgspec.msgpack.encode(alert)),
            )
            connection.executemany(
                "INSERT INTO deliveries VALUES (?, ?, 0, ?, NULL, 0)",
                [(alert.id, channel, alert.raised_at_ms) for channel in channels],
            )
            return alert, True

    def take_due(self, channel: str, now_ms: int, lease_ms: int, most: int) -> list[Owed]:
        """Return deliveries that are due and put them off by `lease_ms`.

        The lease keeps other members of the stage from delivering them meanwhile; it ends by itself when this
        process dies.
        """
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT alert, attempts FROM deliveries WHERE channel = ? AND due_ms <= ? ORDER BY due_ms LIMIT ?",
                (channel, now_ms, most),
            ).fetchall()
            connection.executemany(
                "UPDATE deliveries SET due_ms = ? WHERE alert = ? AND channel = ?",
                [(now_ms + lease_ms, alert, channel) for alert, _ in rows],
            )
            owed = []
            for identity, attempts in rows:
                (blob,) = connection.execute("SELECT alert FROM alerts WHERE id = ?", (identity,)).fetchone()
                owed.append(Owed(_ALERT.decode(blob), channel, attempts))
            return owed

    def next_due_ms(self, channel: str) -> int | None:
        """Return when the next delivery of the channel is due, None where none is owed."""
        with self._reading() as connection:
            (due_ms,) = connection.execute(
                "SELECT min(due_ms) FROM deliveries WHERE channel = ? AND due_ms IS NOT NULL", (channel,)
            ).fetchone()
        return None if due_ms is None else int(due_ms)

    def put_off(self, owed: Owed, due_ms: int) -> None:
        """An attempt failed; try again at `due_ms`."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = ?, due_ms = ? WHERE alert = ? AND channel = ? AND outcome IS NULL",
                (owed.attempts + 1, due_ms, owed.alert.id, owed.channel),
            )

    def finish(self, outcome: AlertDelivered) -> None:
        """The delivery has ended, well or not."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = ?, due_ms = NULL, outcome = ? "
                "WHERE alert = ? AND channel = ? AND outcome IS NULL",
                (outcome.attempts, msgspec.msgpack.encode(outcome), outcome.alert, outcome.channel),
            )

    def unreported(self, most: int = 500) -> list[AlertDelivered]:
        """Return outcomes that are not known to be in the log."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT outcome FROM deliveries WHERE outcome IS NOT NULL AND reported = 0 LIMIT ?", (most,)
            ).fetchall()
        return [_DELIVERED.decode(blob) for (blob,) in rows]

    def reported(self, outcomes: Sequence[AlertDelivered]) -> None:
        """These outcomes are in the log."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE deliveries SET reported = 1 WHERE alert = ? AND channel = ?",
                [(outcome.alert, outcome.channel) for outcome in outcomes],
            )

    def owed(self) -> int:
        """Return how many deliveries have not ended."""
        with self._reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM deliveries WHERE outcome IS NULL").fetchone()
        return int(count)

    def forget_old(self, now_ms: int) -> None:
        """Remove alerts whose finding cannot come again and whose deliveries have ended."""
        with self._writing() as connection:
            old: list[tuple[RecordId]] = connection.execute(
                "SELECT id FROM alerts WHERE raised_at_ms < ? AND NOT EXISTS "
                "(SELECT 1 FROM deliveries WHERE alert = id AND reported = 0)",
                (now_ms - _KEEP_MS,),
            ).fetchall()
            connection.executemany("DELETE FROM deliveries WHERE alert = ?", old)
            connection.executemany("DELETE FROM alerts WHERE id = ?", old)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.OperationalError as error:
                raise OutboxUnavailable(f"The list of owed deliveries cannot be read: {error}.") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise OutboxUnavailable(f"The list of owed deliveries cannot be written: {error}.") from error
                raise
