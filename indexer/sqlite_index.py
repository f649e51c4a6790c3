"""The embedded CallIndex: one SQLite file with FTS5, many processes reading and writing."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events import metrics
from events.call_document import CallDocument
from events.errors import RetryLater, StopConsumer
from events.identity import CallId
from events.sqlite_topic import holding
from indexer.index import CallQuery, IndexPart, IndexStatus, Progress, PutOutcome, SearchPage
from indexer.sqlite_schema import VERSION, create_tables, erase_call, unpack_document, write_call
from indexer.sqlite_search import search
from indexer.sqlite_upkeep import expire_some, merge_some, rewrite_some
from indexer.summary import summarize

FILE: Final = "index.sqlite"
LOCK_FILE: Final = "open.lock"
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SqliteIndexSettings:
    busy_timeout_s: float = 10.0
    """How long a writer waits for another process's write."""
    highlights_per_call: int = 3

    def __post_init__(self) -> None:
        if self.busy_timeout_s <= 0 or self.highlights_per_call < 0:
            raise ValueError("The index waits longer than 0 s for a writer and shows 0 or more highlights a call.")


class IndexUnavailable(RetryLater):
    """The index cannot take or give documents now."""


class SqliteIndex:
    """See `index.CallIndex`. Opens one connection per thread that uses it."""

    def __init__(self, folder: Path, settings: SqliteIndexSettings | None = None) -> None:
        """Open the index in `folder`, making both where there is none.

        Raises
        ------
        IndexUnavailable
            The file cannot be opened or written now.
        StopConsumer
            The file is damaged or of another version.
        """
        self._path = folder / FILE
        self._settings = settings or SqliteIndexSettings()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        with self._errors():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                # Only one may turn a new file to WAL; SQLite does not wait for it as it does for writers.
                with holding(folder / LOCK_FILE):
                    create_tables(self._connection())
            except ValueError as error:
                raise StopConsumer(str(error)) from None

    def put(self, document: CallDocument, onto: int | None = None) -> PutOutcome:
        return self.put_all([(document, onto)])[0]

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        with self._errors(), self._writing() as connection:
            outcomes = [_put(connection, document, onto) for document, onto in documents]
        metrics.count(metrics.DOCUMENTS_INDEXED, outcomes.count(PutOutcome.STORED))
        return outcomes

    def get(self, call: CallId) -> CallDocument | None:
        with self._errors():
            found = (
                self._connection()
                .execute("SELECT document FROM documents JOIN calls USING (id) WHERE call = ?", (call,))
                .fetchone()
            )
        return None if found is None else unpack_document(found[0])

    def search(self, query: CallQuery) -> SearchPage:
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return search(connection, query, self._settings.highlights_per_call)
            finally:
                connection.execute("ROLLBACK")

    def forget(self, call: CallId) -> None:
        self.forget_all([call])

    def forget_all(self, calls: Sequence[CallId]) -> None:
        """Forget several calls in one durable step; see `forget`.

        Deleted rows are overwritten (secure_delete). The full-text index keeps deleted words in older segments
        until they are merged, and the write-ahead log until it is emptied, so both are done here.
        """
        with self._errors():
            with self._writing() as connection:
                for call in calls:
                    connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", (call,))
                    erase_call(connection, call)
            with self._writing() as connection:
                connection.execute("INSERT INTO spoken (spoken) VALUES ('optimize')")
            busy, *_ = self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                _LOG.warning("The index's write-ahead log could not be emptied because a reader holds it.")

    def is_forgotten(self, call: CallId) -> bool:
        with self._errors():
            return _is_forgotten(self._connection(), call)

    def expire(self, before_ms: int) -> int:
        with self._errors(), self._writing() as connection:
            return expire_some(connection, before_ms)

    def rebuild(self, progress: Progress) -> int:
        """See `index.CallIndex`. In place, a few calls at a time: processes that have the file open cannot be
        told that another one took its place, and would go on writing to the old one."""
        last = done = 0
        with self._errors():
            (total,) = self._connection().execute("SELECT count(*) FROM calls").fetchone()
            progress(0, total)
            while True:
                with self._writing() as connection:
                    rewritten, last = rewrite_some(connection, last)
                if not rewritten:
                    break
                done += rewritten
                progress(done, max(done, total))
            # What was rewritten lies in many small pieces of the full-text index.
            first = True
            while True:
                with self._writing() as connection:
                    if not merge_some(connection, first):
                        break
                first = False
        return done

    def status(self) -> IndexStatus:
        with self._errors():
            connection = self._connection()
            (calls,) = connection.execute("SELECT count(*) FROM calls").fetchone()
            (forgotten,) = connection.execute("SELECT count(*) FROM tombstones").fetchone()
            files = [self._path, self._path.with_name(f"{FILE}-wal")]
            size = sum(file.stat().st_size for file in files if file.exists())
        part = IndexPart(FILE, calls, size, str(VERSION))
        return IndexStatus("sqlite", str(self._path.parent), str(VERSION), forgotten, (part,))

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=self._settings.busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "temp_store = MEMORY",
                "cache_size = -32000",
            ):
                connection.execute(f"PRAGMA {pragma}")
            with self._lock:
                self._connections.append(connection)
            self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into instructions for the loop. Their texts name tables, never values."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise IndexUnavailable(f"The index cannot be used now: {_reason(error)}.") from error
        except sqlite3.DatabaseError as error:
            raise StopConsumer(f"The index file is damaged ({error}); move it away to build it anew.") from error


def _reason(error: sqlite3.OperationalError | OSError) -> str:
    return (error.strerror or "an input or output error") if isinstance(error, OSError) else str(error)


def _is_forgotten(connection: sqlite3.Connection, call: CallId) -> bool:
    return connection.execute("SELECT 1 FROM tombstones WHERE call = ?", (call,)).fetchone() is not None


def _put(connection: sqlite3.Connection, document: CallDocument, onto: int | None) -> PutOutcome:
    if _is_forgotten(connection, document.call):
        return PutOutcome.FORGOTTEN
    found = connection.execute(
        "SELECT revision, document FROM documents JOIN calls USING (id) WHERE call = ?", (document.call,)
    ).fetchone()
    revision = 0 if found is None else found[0]
    fits = revision < document.revision if onto is None else revision == onto
    if found is not None and not fits:
        return PutOutcome.STORED if unpack_document(found[1]) == document else PutOutcome.STALE
    if onto and not fits:
        return PutOutcome.STALE
    write_call(connection, document, summarize(document))
    return PutOutcome.STORED
