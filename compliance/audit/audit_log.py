"""The audit log: entries and their Merkle tree in one SQLite file, appended to by many processes.

An entry and the tree nodes that it completes are written in one transaction under ``BEGIN IMMEDIATE``, with
``synchronous=FULL``: appends of all processes follow one another, and `append` returns only once the entry would
survive a power cut. Triggers refuse updates and deletions; they stop accidents. What stops intent are the signed
checkpoints that lie elsewhere.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compliance.audit import merkle
from compliance.audit.checkpoint import Checkpoint, SigningKey, open_checkpoint
from compliance.audit.checkpoint_folder import CheckpointFolder
from compliance.audit.leaf import LeafRefused, LoggedEntry, decode_leaf, encode_leaf
from events.audit_entry import Action, AuditEntry, Outcome
from events.clock import Clock, SystemClock
from events.errors import CallwardenError, StopConsumer
from events.metrics import AUDIT_ENTRIES, count

DATABASE_FILE: Final = "audit.sqlite"
_CHUNK: Final = 1_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, leaf BLOB NOT NULL,
    at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
    outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_actor ON entry (actor, idx);
CREATE INDEX IF NOT EXISTS entry_action ON entry (action, idx);
CREATE INDEX IF NOT EXISTS entry_subject ON entry (subject, idx);
CREATE INDEX IF NOT EXISTS entry_at ON entry (at_ms);
CREATE TABLE IF NOT EXISTS node (
    level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, idx)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoint (
    number INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, at_ms INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS published (what TEXT PRIMARY KEY, next INTEGER NOT NULL);
"""
_GUARDS: Final = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the audit log is written once'); END;\n"
    for table in ("entry", "node", "checkpoint")
    for verb in ("UPDATE", "DELETE")
)


class AuditUnavailable(CallwardenError):
    """The audit log cannot be written or read now: whatever was to be recorded must not happen."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How often checkpoints are made."""

    checkpoint_every_ms: int = 60_000
    """While entries come."""
    heartbeat_ms: int = 600_000
    """Also when none come, so that a longer silence shows."""
    keep_every_ms: int = 3_600_000
    """How often one goes into the write-once folder, for the auditor to take away."""
    busy_timeout_ms: int = 5_000
    """How long an append waits for those of other processes before access is refused."""

    def __post_init__(self) -> None:
        if not 0 < self.checkpoint_every_ms <= self.heartbeat_ms <= self.keep_every_ms:
            raise ValueError(
                "Audit settings need 0 < checkpoint_every_ms <= heartbeat_ms <= keep_every_ms, "
                f"not {self.checkpoint_every_ms}, {self.heartbeat_ms}, {self.keep_every_ms}."
            )
        if self.busy_timeout_ms <= 0:
            raise ValueError("The audit log's busy_timeout_ms must be positive.")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to show or export; an empty field lets all through. Times are UTC epoch milliseconds."""

    actor: str = ""
    action: Action | None = None
    outcome: Outcome | None = None
    subject: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    """Exclusive."""

    def where(self) -> tuple[str, list[Any]]:
        """SQL condition and its parameters."""
        tests: list[tuple[str, Any]] = [
            ("actor = ?", self.actor or None),
            ("action = ?", self.action),
            ("outcome = ?", self.outcome),
            ("subject = ?", self.subject or None),
            ("at_ms >= ?", self.from_ms),
            ("at_ms < ?", self.to_ms),
        ]
        used = [(test, value) for test, value in tests if value is not None]
        return " AND ".join(["1", *(test for test, _ in used)]), [value for _, value in used]


class AuditLog:
    """One object per process; safe to use from several threads.

    Parameters
    ----------
    folder
        Holds the database and the ``checkpoints`` folder; made when it is not there.
    signing_key
        Needed by processes that make checkpoints; others do without.

    Raises
    ------
    AuditUnavailable
        From every method, when the file cannot be read or written now.
    """

    def __init__(
        self,
        folder: Path,
        signing_key: SigningKey | None = None,
        clock: Clock | None = None,
        settings: AuditSettings | None = None,
    ) -> None:
        self._settings = settings or AuditSettings()
        self._clock = clock or SystemClock()
        self._key = signing_key
        self._lock = threading.RLock()
        self.kept = CheckpointFolder(folder / "checkpoints")
        with _unavailable():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                folder / DATABASE_FILE,
                timeout=self._settings.busy_timeout_ms / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                for guard in _GUARDS.splitlines():
                    self._db.execute(guard)

    @property
    def settings(self) -> AuditSettings:
        return self._settings

    @property
    def can_sign(self) -> bool:
        return self._key is not None

    def append(self, entry: AuditEntry) -> int:
        """Record `entry` durably and return its index; an id that is in the log already is not recorded again.

        Raises
        ------
        AuditUnavailable
            Nothing was recorded.
        ValueError
            The entry cannot be encoded, or its id belongs to another entry.
        """
        with self._transaction():
            found = self._db.execute("SELECT idx, leaf FROM entry WHERE id = ?", (entry.id,)).fetchone()
            if found is not None:
                if decode_leaf(found[1]).entry != entry:
                    raise ValueError("An audit entry has the id of another entry.")
                return int(found[0])
            size = self._size()
            leaf = encode_leaf(LoggedEntry(size, self._clock.now_ms(), entry))
            tree = merkle.CompactRange(size, [self._node(*node) for node in merkle.peak_nodes(size)])
            self._db.execute(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (size, entry.id, leaf, entry.at_ms, entry.actor, entry.action, entry.subject, entry.outcome),
            )
            self._db.executemany("INSERT INTO node VALUES (?, ?, ?)", tree.append(merkle.leaf_hash(leaf)))
        count(AUDIT_ENTRIES, action=entry.action)
        return size

    @property
    def size(self) -> int:
        with self._reading():
            return self._size()

    def _size(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(idx) + 1, 0) FROM entry").fetchone()[0])

    def _node(self, level: int, index: int) -> bytes:
        row = self._db.execute("SELECT hash FROM node WHERE level = ? AND idx = ?", (level, index)).fetchone()
        if row is None:
            raise AuditUnavailable("The audit log lacks a node of its tree: its file was changed.")
        return bytes(row[0])

    def root_at(self, size: int) -> bytes:
        with self._reading():
            return merkle.root_at(size, self._node)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        with self._reading():
            return merkle.inclusion_proof(index, size, self._node)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        with self._reading():
            return merkle.consistency_proof(old, new, self._node)

    def leaves(self, first: int, end: int, only: AuditFilter | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (index, leaf) of entries [first, end) that `only` lets through, in order, a few at a time."""
        where, values = (only or AuditFilter()).where()
        while True:
            with self._reading():
                rows: Sequence[tuple[int, bytes]] = self._db.execute(
                    "SELECT idx, CAST(leaf AS BLOB) FROM entry "
                    f"WHERE idx >= ? AND idx < ? AND {where} ORDER BY idx LIMIT ?",
                    (first, end, *values, _CHUNK),
                ).fetchall()
            if not rows:
                return
            yield from rows
            first = rows[-1][0] + 1

    def get(self, index: int) -> LoggedEntry | None:
        for _, leaf in self.leaves(index, index + 1):
            return _decoded(leaf)
        return None

    def page(self, only: AuditFilter, before: int | None, most: int) -> list[LoggedEntry]:
        """Return up to `most` entries that `only` lets through, newest first, older than index `before`."""
        where, values = only.where()
        with self._reading():
            rows = self._db.execute(
                f"SELECT CAST(leaf AS BLOB) FROM entry WHERE idx < ? AND {where} ORDER BY idx DESC LIMIT ?",
                (1 << 62 if before is None else before, *values, most),
            ).fetchall()
        return [_decoded(leaf) for (leaf,) in rows]

    def matching(self, only: AuditFilter) -> int:
        """Return how many entries `only` lets through."""
        where, values = only.where()
        with self._reading():
            found = self._db.execute(f"SELECT count(*) FROM entry WHERE {where}", values).fetchone()
        return int(found[0])

    def actors(self, most: int = 200) -> list[str]:
        with self._reading():
            rows = self._db.execute("SELECT DISTINCT actor FROM entry ORDER BY actor LIMIT ?", (most,)).fetchall()
        return [str(actor) for (actor,) in rows]

    def add_checkpoint(self) -> Checkpoint:
        """Sign the log as it is now, and keep a copy in the write-once folder when one is due.

        Raises
        ------
        StopConsumer
            The log does not extend its last checkpoint: signing it would cover up a change.
        """
        if self._key is None:
            raise ValueError("A checkpoint is asked of a process that does not hold the signing key.")
        with self._transaction():
            size = self._size()
            root = merkle.root_at(size, self._node)
            last = self._last_note()
            if last is not None:
                self._check_extends(open_checkpoint(last, self._key.public), size, root)
            made = self._key.sign(size, root, self._clock.now_ms(), self._settings.heartbeat_ms)
            self._db.execute(
                "INSERT INTO checkpoint (size, at_ms, note) VALUES (?, ?, ?)", (size, made.at_ms, made.note)
            )
        kept_at = self.kept.newest_ms()
        if kept_at is None or made.at_ms - kept_at >= self._settings.keep_every_ms:
            with _unavailable():
                self.kept.keep(made)
        return made

    def _check_extends(self, old: Checkpoint, size: int, root: bytes) -> None:
        try:
            if old.size > size:
                raise merkle.ProofRefused("The log is shorter than it was.")
            if old.size:
                proof = merkle.consistency_proof(old.size, size, self._node)
                merkle.check_consistency(old.size, size, proof, old.root, root)
        except merkle.ProofRefused:
            raise StopConsumer(
                f"The audit log does not extend its checkpoint of {old.size} entries and is not signed any more."
            ) from None

    def check(self) -> None:
        """Hash every entry again and compare with the stored tree and the last checkpoint's size.

        Raises
        ------
        StopConsumer
            An entry or a node was changed, or entries were cut off.
        """
        tree, size = merkle.CompactRange(), self.size
        for index, leaf in self.leaves(0, size):
            if index != tree.size:
                raise StopConsumer(f"Entry {tree.size} is missing from the audit log.")
            tree.append(merkle.leaf_hash(leaf))
        if tree.root() != self.root_at(size):
            raise StopConsumer("The entries of the audit log do not hash to its stored tree.")
        notes = self.checkpoint_notes()
        if notes and self._key is not None:
            self._check_extends(open_checkpoint(notes[-1], self._key.public), size, tree.root())

    def _last_note(self) -> str | None:
        row = self._db.execute("SELECT note FROM checkpoint ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def checkpoint_notes(self, first: int = 0) -> list[str]:
        """Return the signed texts of checkpoints from number `first` on (counted from 0), oldest first."""
        with self._reading():
            rows = self._db.execute("SELECT note FROM checkpoint ORDER BY number LIMIT -1 OFFSET ?", (first,))
            return [str(note) for (note,) in rows]

    def last_checkpoint_at(self) -> tuple[int, int] | None:
        """Return (size, UTC epoch milliseconds) of the newest checkpoint."""
        with self._reading():
            row = self._db.execute("SELECT size, at_ms FROM checkpoint ORDER BY number DESC LIMIT 1").fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def published(self, what: str) -> int:
        """Return how many records of a kind have been published to the event log."""
        with self._reading():
            row = self._db.execute("SELECT next FROM published WHERE what = ?", (what,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_published(self, what: str, upto: int) -> None:
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO published VALUES (?, ?)", (what, upto))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _unavailable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, _unavailable():
            yield


def _decoded(leaf: bytes) -> LoggedEntry:
    try:
        return decode_leaf(leaf)
    except LeafRefused as refused:
        raise AuditUnavailable(f"An entry of the audit log {refused}: its file was changed.") from None


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        # SQLite's texts name no values; the entry itself is not quoted.
        raise AuditUnavailable(f"The audit log cannot be used now ({error}).") from error
