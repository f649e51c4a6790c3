"""Two data keys per call, wrapped by the installation's master key, destroyable for good.

The *capture* key seals raw audio and raw transcript, the *record* key what is kept. Destroying a key makes
everything sealed with it unreadable, wherever a copy lies. For that the wrapped key itself has to be gone from
the disk: its row is overwritten in place (rows are only ever added at the end, so that SQLite never copies one
elsewhere), and the rollback journal, which saw the row before, is overwritten with zeros.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import secrets
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.clock import Clock, SystemClock
from events.errors import CallwardenError, KeyDestroyed, NeverRetry, RetryLater, StopConsumer
from events.identity import CallId
from events.sealing import KEY_BYTES, NONCE_BYTES
from events.sqlite_topic import holding
from events.topics import Key

_log = logging.getLogger(__name__)

_WRAPPED_BYTES: Final = NONCE_BYTES + KEY_BYTES + 16
_ALIVE: Final = b"\x01"
_DESTROYED: Final = b"\x00"
_SCHEMA: Final = (
    # Blobs of a fixed size, first a state byte: an update then rewrites the row where it lies.
    "CREATE TABLE IF NOT EXISTS call_key (number INTEGER PRIMARY KEY, call TEXT NOT NULL UNIQUE, "
    "capture BLOB NOT NULL, record BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS site_key (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID",
)
_CHECK: Final = "check"


@dataclass(frozen=True, slots=True, repr=False)
class MasterKey:
    """The key that wraps all others. Never printed."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise StopConsumer("A master key has 32 bytes.")

    def __repr__(self) -> str:
        return "MasterKey(...)"

    @classmethod
    def from_text(cls, text: str) -> MasterKey:
        """Read a master key given in base64. Raises StopConsumer when it is none."""
        try:
            secret = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise StopConsumer("The master key is not written in base64.") from None
        return cls(secret)

    @classmethod
    def load(cls, file: Path) -> MasterKey:
        """Read the master key's file; make one with a fresh key at the first start.

        Several processes may do so at once: one key wins and all get it.
        """
        try:
            if not file.exists():
                _create_key_file(file)
            if file.stat().st_mode & 0o077:
                _log.warning("The master key's file can be read by other users; its mode should be 0600.")
            return cls.from_text(file.read_text("ascii"))
        except OSError as error:
            raise StopConsumer(f"The master key's file cannot be read or made ({type(error).__name__}).") from None
        except UnicodeDecodeError:
            raise StopConsumer("The master key is not written in base64.") from None


def _create_key_file(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.parent / f".{file.name}-{secrets.token_hex(8)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        os.fsync(descriptor)
        # A link appears whole or not at all, and only for the first who makes it.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, file)
    finally:
        os.close(descriptor)
        os.unlink(fresh)
    folder = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class KeyStoreSettings:
    cache_s: float = 20.0
    """A key that another process destroyed can be used here for at most this long."""
    cache_calls: int = 4096

    def __post_init__(self) -> None:
        if not 0 <= self.cache_s <= 30 or self.cache_calls < 1:
            raise ValueError("Keys are cached for 0 to 30 seconds, and for at least one call.")


@dataclass(frozen=True, slots=True)
class _Row:
    capture: bytes
    record: bytes

    def of(self, key: Key) -> bytes:
        return self.capture if key is Key.CAPTURE else self.record


class KeyStore:
    """All processes of one engine share the folder; an object may be used by several threads.

    Raises
    ------
    StopConsumer
        The master key is not the one that made this store, or the store is damaged.
    """

    def __init__(
        self,
        folder: Path,
        master: MasterKey | bytes,
        settings: KeyStoreSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings or KeyStoreSettings()
        self._clock = clock or SystemClock()
        self._wrapping = AESGCM((master if isinstance(master, MasterKey) else MasterKey(master)).secret)
        self._path = folder / "keys.db"
        self._journal = folder / "keys.db-journal"
        self._lock_path = folder / "keys.lock"
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[CallId, Key], tuple[float, bytes]] = OrderedDict()
        self._site_keys: dict[str, bytes] = {}
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with holding(self._lock_path):
                self._connection = self._open()
                self._scrub_journal()
        try:
            self.site_key(_CHECK)
        except InvalidTag:
            self._connection.close()
            raise StopConsumer(
                "The master key does not fit this key store; it belongs to another installation."
            ) from None

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        # The journal persists, so that it is overwritten in place rather than freed with a key in it.
        connection.execute("PRAGMA journal_mode = PERSIST")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("SELECT 1 FROM call_key LIMIT 1").fetchone()
        return connection

    def create(self, call: CallId) -> None:
        """Make both keys of a call, durably. Does nothing for a call that has or had keys."""
        self.create_many([call])

    def create_many(self, calls: Sequence[CallId]) -> None:
        """Make the keys of several calls in one go."""
        rows = [(call, self._fresh(call, Key.CAPTURE), self._fresh(call, Key.RECORD)) for call in calls]
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO call_key (call, capture, record) VALUES (?, ?, ?)", rows)

    def key(self, call: CallId, key: Key) -> bytes:
        """Return a data key of 32 bytes.

        Raises
        ------
        KeyDestroyed
            It was destroyed on purpose.
        NeverRetry
            No such call is known here.
        RetryLater
            The store cannot be read now.
        """
        now = self._clock.monotonic()
        with self._lock:
            kept = self._cache.get((call, key))
            if kept is not None and now < kept[0]:
                return kept[1]
            wrapped = self._row(call).of(key)
            if wrapped[:1] != _ALIVE:
                self._cache.pop((call, key), None)
                raise KeyDestroyed(f"The {key.value} key of this call was destroyed.")
            try:
                plain = self._unwrap(wrapped[1:], _label(call, key))
            except InvalidTag:
                raise NeverRetry("The wrapped key of a call does not fit the master key.") from None
            self._cache[(call, key)] = (now + self._settings.cache_s, plain)
            self._cache.move_to_end((call, key))
            while len(self._cache) > self._settings.cache_calls:
                self._cache.popitem(last=False)
            return plain

    def destroy(self, call: CallId, key: Key) -> None:
        """Overwrite a key for good; doing it again changes nothing. Raises NeverRetry for an unknown call."""
        column = key.value
        with self._writing() as connection:
            row = connection.execute(
                f"SELECT {column} FROM call_key WHERE call = ?",
                (call,),
            ).fetchone()
            if row is None:
                raise NeverRetry("No keys of this call are known.")
            if row[0][:1] == _ALIVE:
                at_ms = self._clock.now_ms().to_bytes(8, "big")
                tombstone = (_DESTROYED + at_ms).ljust(1 + _WRAPPED_BYTES, b"\x00")
                connection.execute(
                    f"UPDATE call_key SET {column} = ? WHERE call = ?",
                    (tombstone, call),
                )
        with self._lock:
            self._cache.pop((call, key), None)

    def destroyed_at_ms(self, call: CallId, key: Key) -> int | None:
        """Return when a key was destroyed (UTC epoch milliseconds), None while it lives."""
        with self._lock:
            wrapped = self._row(call).of(key)
        return None if wrapped[:1] == _ALIVE else int.from_bytes(wrapped[1:9], "big")

    def known(self, call: CallId) -> bool:
        """Tell whether the call has or had keys."""
        with self._lock, self._translated():
            found = self._connection.execute("SELECT 1 FROM call_key WHERE call = ?", (call,)).fetchone()
            return found is not None

    def calls_with(self, key: Key) -> Iterator[CallId]:
        """Yield the calls whose `key` is not destroyed, oldest first."""
        last = 0
        while True:
            with self._lock, self._translated():
                rows = self._connection.execute(
                    f"SELECT number, call, {key.value} FROM call_key WHERE number > ? ORDER BY number LIMIT 500",
                    (last,),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield from (CallId(call) for _, call, wrapped in rows if wrapped[:1] == _ALIVE)

    def site_key(self, name: str) -> bytes:
        """Return the installation's own key of this name, made at first use."""
        with self._lock:
            known = self._site_keys.get(name)
            if known is not None:
                return known
            query = "SELECT wrapped FROM site_key WHERE name = ?"
            with self._translated():
                row = self._connection.execute(query, (name,)).fetchone()
            if row is None:
                wrapped = self._wrap(secrets.token_bytes(KEY_BYTES), f"site|{name}")
                with self._writing() as connection:
                    connection.execute("INSERT OR IGNORE INTO site_key VALUES (?, ?)", (name, wrapped))
                    row = connection.execute(query, (name,)).fetchone()
            self._site_keys[name] = self._unwrap(row[0], f"site|{name}")
            return self._site_keys[name]

    def close(self) -> None:
        with self._lock:
            self._cache.clear()
            self._site_keys.clear()
            self._connection.close()

    def _fresh(self, call: CallId, key: Key) -> bytes:
        return _ALIVE + self._wrap(secrets.token_bytes(KEY_BYTES), _label(call, key))

    def _wrap(self, plain: bytes, label: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, plain, label.encode())

    def _unwrap(self, wrapped: bytes, label: str) -> bytes:
        return self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], label.encode())

    def _row(self, call: CallId) -> _Row:
        with self._translated():
            row = self._connection.execute(
                "SELECT capture, record FROM call_key WHERE call = ?", (call,)
            ).fetchone()
        if row is None:
            raise NeverRetry("No keys of this call are known.")
        return _Row(row[0], row[1])

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction, after which the journal holds nothing of the rows as they were."""
        with self._lock, self._translated(), holding(self._lock_path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._scrub_journal()

    def _scrub_journal(self) -> None:
        """Overwrite the journal with zeros. The lock file is held and no transaction is open."""
        try:
            descriptor = os.open(self._journal, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if os.read(descriptor, 8) not in (b"", bytes(8)):
                return  # Not finished: the next transaction rolls it back, and what it restores is not gone.
            os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _translate(error) from None


def _label(call: CallId, key: Key) -> str:
    return f"{call}|{key.value}"


def _translate(error: sqlite3.Error | OSError) -> CallwardenError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StopConsumer("The key store's file is damaged; restore it from a back-up.")
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == 28:
        return RetryLater("The disk is full, so no keys can be made or destroyed until there is space again.")
    return RetryLater(f"The key store cannot be read or written now ({type(error).__name__}).")
