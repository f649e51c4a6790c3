"""People who may log in: names, roles, passwords (argon2id), and the brake on guessing them."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from events.clock import Clock, SystemClock
from events.errors import CallwardenError
from events.metrics import LOGINS_REFUSED, count

DATABASE_FILE: Final = "users.sqlite"
FEWEST_CHARACTERS: Final = 10
_MOST_CHARACTERS: Final = 512
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_TRACKED: Final = 10_000
_HASHING_WITHIN_S: Final = 3.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL, disabled INTEGER NOT NULL DEFAULT 0,
    added_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL, seen_ms INTEGER)
"""


class UserRole(StrEnum):
    OFFICER = "officer"
    """Searches, reads, hears and exports calls."""
    SUPERVISOR = "supervisor"
    """Follows calls in progress and answers alerts."""
    AUDITOR = "auditor"
    """Reads and verifies the audit log, not calls."""
    ADMINISTRATOR = "administrator"
    """Keeps users and the engine running; neither reads nor hears calls."""


class UserRefused(CallwardenError):
    """A user cannot be added or changed so; the text says why."""


class LoginRefused(CallwardenError):
    """No log-in. The text does not tell whether the name exists."""

    def __init__(self, text: str, cause: str) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class User:
    name: str
    role: UserRole
    disabled: bool
    added_ms: int
    """UTC epoch milliseconds, like the two below."""
    changed_ms: int
    seen_ms: int | None
    """Last log-in."""


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The brake on guessing, per user and address together, and per address."""

    most_failures: int = 5
    most_failures_per_address: int = 30
    window_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.most_failures <= self.most_failures_per_address or self.window_s <= 0:
            raise ValueError(
                "User settings need 0 < most_failures <= most_failures_per_address and a positive window_s."
            )


class _Brake:
    """Counts failures in a sliding window, in bounded memory."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def failed(self, key: str, now_s: float) -> None:
        self._failures.setdefault(key, deque()).append(now_s)
        self._failures.move_to_end(key)
        while len(self._failures) > _MOST_TRACKED:
            self._failures.popitem(last=False)

    def wait_s(self, key: str, most: int, now_s: float) -> float:
        """Return the seconds until `key` may try again, 0 when it may now."""
        times = self._failures.get(key)
        if times is None:
            return 0.0
        while times and now_s - times[0] >= self._window_s:
            times.popleft()
        if not times:
            del self._failures[key]
            return 0.0
        return 0.0 if len(times) < most else times[-most] + self._window_s - now_s

    def forget(self, key: str) -> None:
        self._failures.pop(key, None)


class UserStore:
    """Users in one SQLite file; safe to use from several threads and processes.

    The brake counts in this process, which is the only one that takes log-ins.

    Raises
    ------
    UserRefused
        From the constructor and every method, when the file cannot be used now.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock | None = None,
        settings: UserSettings | None = None,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._settings = settings or UserSettings()
        self._hasher = hasher or PasswordHasher()
        self._lock = threading.RLock()
        # Each hash takes 64 MiB by default: a flood of log-ins must not take the machine's memory.
        self._hashing = threading.BoundedSemaphore(2)
        self._pairs = _Brake(self._settings.window_s)
        self._addresses = _Brake(self._settings.window_s)
        self._nobody = self._hasher.hash("verified for names that do not exist, so that both take equally long")
        with self._using():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(
                folder / DATABASE_FILE, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)

    def add(self, name: str, role: UserRole, password: str) -> User:
        """Raises UserRefused when the name is taken or malformed, or the password too short."""
        if not _NAME.fullmatch(name):
            raise UserRefused("A user name is 1 to 64 lower-case letters, digits, dots, dashes or underscores.")
        hashed = self._hash(password)
        now = self._clock.now_ms()
        try:
            with self._using():
                self._db.execute(
                    "INSERT INTO user (name, role, hash, added_ms, changed_ms) VALUES (?, ?, ?, ?, ?)",
                    (name, role, hashed, now, now),
                )
        except UserRefused as refused:
            if isinstance(refused.__cause__, sqlite3.IntegrityError):
                raise UserRefused("A user of this name exists already.") from None
            raise
        return User(name, role, False, now, now, None)

    def change(
        self,
        name: str,
        *,
        role: UserRole | None = None,
        password: str | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change what is given. Raises UserRefused, also where that would leave no administrator."""
        hashed = None if password is None else self._hash(password)
        with self._using():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                user = self.get(name)
                if user is None:
                    raise UserRefused("There is no user of this name.")
                loses = disabled or (role is not None and role is not UserRole.ADMINISTRATOR)
                if (
                    user.role is UserRole.ADMINISTRATOR
                    and not user.disabled
                    and loses
                    and self._administrators() == 1
                ):
                    raise UserRefused("The last administrator cannot be disabled or given another role.")
                self._db.execute(
                    "UPDATE user SET role = coalesce(?, role), hash = coalesce(?, hash), "
                    "disabled = coalesce(?, disabled), changed_ms = ? WHERE name = ?",
                    (role, hashed, disabled, self._clock.now_ms(), name),
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        changed = self.get(name)
        assert changed is not None
        return changed

    def _administrators(self) -> int:
        row = self._db.execute(
            "SELECT count(*) FROM user WHERE role = ? AND NOT disabled", (UserRole.ADMINISTRATOR,)
        ).fetchone()
        return int(row[0])

    def get(self, name: str) -> User | None:
        with self._using():
            row = self._db.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
        return None if row is None else _user(row)

    def all(self) -> list[User]:
        with self._using():
            return [_user(row) for row in self._db.execute(f"{_SELECT} ORDER BY name").fetchall()]

    def log_in(self, name: str, password: str, address: str) -> User:
        """Check a name and password.

        Parameters
        ----------
        address
            Of the client; failures are braked per name and address, so that nobody can lock others out.

        Raises
        ------
        LoginRefused
        """
        now = self._clock.monotonic()
        pair = f"{name[:64]}@{address}"
        with self._lock:
            wait = max(
                self._pairs.wait_s(pair, self._settings.most_failures, now),
                self._addresses.wait_s(address, self._settings.most_failures_per_address, now),
            )
        if wait > 0:
            minutes = int(-(-wait // 60))
            unit = "minute" if minutes == 1 else "minutes"
            raise self._refusal(f"Too many attempts have failed; try again in {minutes} {unit}.", "too_many")
        user = self._verified(name, password)
        if user is None or user.disabled:
            with self._lock:
                self._pairs.failed(pair, now)
                self._addresses.failed(address, now)
            raise self._refusal("The name or the password is wrong.", "disabled" if user else "wrong")
        with self._lock:
            self._pairs.forget(pair)
        with self._using():
            self._db.execute("UPDATE user SET seen_ms = ? WHERE name = ?", (self._clock.now_ms(), name))
        return user

    def _refusal(self, text: str, cause: str) -> LoginRefused:
        count(LOGINS_REFUSED, cause=cause)
        return LoginRefused(text, cause)

    def _verified(self, name: str, password: str) -> User | None:
        with self._using():
            row = self._db.execute("SELECT hash FROM user WHERE name = ?", (name,)).fetchone()
        stored = self._nobody if row is None else str(row[0])
        if len(password) > _MOST_CHARACTERS:
            return None
        if not self._hashing.acquire(timeout=_HASHING_WITHIN_S):
            # Waiting longer would take the threads that serve everybody else.
            raise self._refusal("Too many people are logging in; try again in a moment.", "busy")
        try:
            self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return None
        finally:
            self._hashing.release()
        if row is None:
            return None
        if self._hasher.check_needs_rehash(stored):
            with self._hashing:
                renewed = self._hasher.hash(password)
            with self._using():
                self._db.execute("UPDATE user SET hash = ? WHERE name = ? AND hash = ?", (renewed, name, stored))
        return self.get(name)

    def _hash(self, password: str) -> str:
        if not FEWEST_CHARACTERS <= len(password) <= _MOST_CHARACTERS:
            raise UserRefused(f"A password has {FEWEST_CHARACTERS} to {_MOST_CHARACTERS} characters.")
        with self._hashing:
            return self._hasher.hash(password)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise UserRefused("The list of users cannot be used now.") from error


_SELECT: Final = "SELECT name, role, disabled, added_ms, changed_ms, seen_ms FROM user"


def _user(row: tuple[str, str, int, int, int, int | None]) -> User:
    name, role, disabled, added_ms, changed_ms, seen_ms = row
    return User(name, UserRole(role), bool(disabled), added_ms, changed_ms, seen_ms)
