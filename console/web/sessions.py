"""Server-side sessions: the browser holds a random token, the disk its hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.users import User, UserRefused, UserStore
from events.clock import Clock, SystemClock

DATABASE_FILE: Final = "sessions.sqlite"
_TOUCH_EVERY_MS: Final = 30_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS session (
    token_sha256 BLOB PRIMARY KEY, user TEXT NOT NULL, csrf TEXT NOT NULL, began_ms INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL, user_changed_ms INTEGER NOT NULL) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    idle_minutes: float = 30.0
    """A session ends when nothing was asked for so long; a live page that is open counts as asking."""
    longest_hours: float = 10.0
    """And at the latest after this, however busy it is."""

    def __post_init__(self) -> None:
        if not 0 < self.idle_minutes <= self.longest_hours * 60:
            raise ValueError("Session settings need 0 < idle_minutes <= longest_hours.")


@dataclass(frozen=True, slots=True)
class Session:
    user: User
    csrf: str
    began_ms: int

    def has_csrf(self, token: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))


class SessionStore:
    """Sessions in one SQLite file, so that a restart of the console logs nobody out."""

    def __init__(
        self, folder: Path, users: UserStore, clock: Clock | None = None, settings: SessionSettings | None = None
    ) -> None:
        self._users = users
        self._clock = clock or SystemClock()
        settings = settings or SessionSettings()
        self._idle_ms = int(settings.idle_minutes * 60_000)
        self._longest_ms = int(settings.longest_hours * 3_600_000)
        self._lock = threading.Lock()
        with self._using():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                folder / DATABASE_FILE, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)

    def begin(self, user: User) -> str:
        """Return the token of a new session; sweep out those that are over."""
        token, now = secrets.token_urlsafe(32), self._clock.now_ms()
        with self._using():
            self._db.execute(
                "DELETE FROM session WHERE seen_ms < ? OR began_ms < ?",
                (now - self._idle_ms, now - self._longest_ms),
            )
            self._db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?)",
                (_hashed(token), user.name, secrets.token_urlsafe(32), now, now, user.changed_ms),
            )
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a token, None when it is over, or its user was disabled or changed meanwhile."""
        now = self._clock.now_ms()
        with self._using():
            row = self._db.execute(
                "SELECT user, csrf, began_ms, seen_ms, user_changed_ms FROM session WHERE token_sha256 = ?",
                (_hashed(token),),
            ).fetchone()
        if row is None:
            return None
        name, csrf, began_ms, seen_ms, user_changed_ms = row
        user = self._users.get(name)
        over = now - seen_ms > self._idle_ms or now - began_ms > self._longest_ms
        if over or user is None or user.disabled or user.changed_ms != user_changed_ms:
            self.end(token)
            return None
        if now - seen_ms > _TOUCH_EVERY_MS:
            with self._using():
                self._db.execute("UPDATE session SET seen_ms = ? WHERE token_sha256 = ?", (now, _hashed(token)))
        return Session(user, csrf, began_ms)

    def end(self, token: str) -> None:
        with self._using():
            self._db.execute("DELETE FROM session WHERE token_sha256 = ?", (_hashed(token),))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise UserRefused("The list of sessions cannot be used now.") from error


def _hashed(token: str) -> bytes:
    # The token has 256 random bits, so that a plain hash cannot be searched.
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
