"""Consumer groups by operating system locks: who is a member, which partitions it holds, where it goes on.

Each member holds a lock (flock) on a file of its own, and on one file per partition number that it reads. The
kernel drops the locks of a process that dies, however it dies, so others take over at once and no heart beats
are needed. Partition numbers are shared out, not partitions of one topic: a stage that reads several topics
gets the same numbers of each, and with them all of a call. Members of one group read the same topics.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from events.errors import LogUnavailable
from events.log import Group, Position, StartAt, TopicPartition
from events.sqlite_topic import holding, translate

_GROUP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_EPHEMERAL: Final = "starts-last"
_POSITIONS: Final = "positions.db"


def _try_lock(path: Path) -> int | None:
    """Lock a file without waiting; return its descriptor, or None when another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_alive(member: Path) -> bool:
    """Tell whether the process that made this member file still holds its lock."""
    try:
        descriptor = os.open(member, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two members who look at the same moment do not take each other for alive.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class GroupMember:
    """This log object's membership of one group."""

    def __init__(self, groups: Path, group: Group, balance_s: float, tail_keep_s: float) -> None:
        if not _GROUP_NAME.fullmatch(group.name):
            raise ValueError("A group name is made of up to 80 letters, digits, dots, dashes and underscores.")
        self.group = group
        self._groups = groups
        self._folder = groups / group.name
        self._members = self._folder / "members"
        self._name = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
        self._balance_s = balance_s
        self._tail_keep_s = tail_keep_s
        self._balanced_at = float("-inf")
        self._held: dict[tuple[int, int], int] = {}
        self._positions: sqlite3.Connection | None = None
        self._membership = self._join()

    def _join(self) -> int:
        try:
            with holding(self._groups / "lock"):
                self._members.mkdir(parents=True, exist_ok=True)
                if self.group.start is StartAt.LAST:
                    (self._folder / _EPHEMERAL).touch()
                for half_joined in self._folder.glob("joining-*"):  # of a process killed right here
                    half_joined.unlink()
                # Locked before it gets its name, so that nobody ever sees a living member unlocked.
                hidden = self._folder / f"joining-{self._name}"
                descriptor = _try_lock(hidden)
                assert descriptor is not None
                os.rename(hidden, self._members / self._name)
        except OSError as error:
            raise translate(error, "the consumer groups") from None
        return descriptor

    # Partitions

    def balance(self, counts: Iterable[int]) -> None:
        """Hold a fair share of the partition numbers of topics with these partition counts.

        A number too many is given up, a free one is taken while the share is not full; called at every read,
        it looks at the other members a few times a second.
        """
        wanted = set(counts)
        now = time.monotonic()
        if now - self._balanced_at < self._balance_s and wanted == {count for count, _ in self._held}:
            return
        self._balanced_at = now
        try:
            living = self._living()
            rank = living.index(self._name)
            for count in wanted:
                share = count // len(living) + (rank < count % len(living))
                self._fit(count, rank, share)
        except OSError as error:
            raise translate(error, "the consumer groups") from None

    def _living(self) -> list[str]:
        living = [self._name]
        for name in os.listdir(self._members):
            if name == self._name:
                continue
            if _is_alive(self._members / name):
                living.append(name)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._members / name)
        return sorted(living)

    def _fit(self, count: int, rank: int, share: int) -> None:
        held = sorted(part for of, part in self._held if of == count)
        for part in held[share:]:
            os.close(self._held.pop((count, part)))
        missing = share - len(held)
        # Members start to look at different numbers, so that they seldom try for the same one.
        for step in range(count):
            if missing <= 0:
                break
            part = (rank * count // max(1, share) + step) % count
            if (count, part) in self._held:
                continue
            descriptor = _try_lock(self._folder / f"partition-{part:03d}-of-{count}")
            if descriptor is not None:
                self._held[(count, part)] = descriptor
                missing -= 1

    def parts(self, count: int) -> frozenset[int]:
        """Partition numbers held, of topics with `count` partitions."""
        return frozenset(part for of, part in self._held if of == count)

    # Positions

    def committed(self, topic: str) -> dict[int, int]:
        """Return the committed offsets of a topic by partition."""
        if self._positions is None and not (self._folder / _POSITIONS).exists():
            return {}
        try:
            rows = self._open().execute("SELECT part, next FROM position WHERE topic = ?", (topic,)).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from None
        return dict(rows)

    def commit(self, position: Position) -> None:
        """Note a position; a lower one than noted before changes nothing."""
        where = position.partition
        try:
            self._open().execute(
                "INSERT INTO position (topic, part, next) VALUES (?, ?, ?) ON CONFLICT (topic, part) "
                "DO UPDATE SET next = excluded.next WHERE excluded.next > next",
                (where.topic, where.partition, position.offset),
            )
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error) from None

    def _open(self) -> sqlite3.Connection:
        if self._positions is None:
            with holding(self._folder / "positions.lock"):
                positions = sqlite3.connect(
                    self._folder / _POSITIONS, timeout=5, isolation_level=None, check_same_thread=False
                )
                try:
                    positions.execute("PRAGMA journal_mode = WAL")
                    # Survives any death of the process; a power cut may take the last moments back, which
                    # means that records are delivered again, as they may be at any time.
                    positions.execute("PRAGMA synchronous = NORMAL")
                    positions.execute(
                        "CREATE TABLE IF NOT EXISTS position (topic TEXT NOT NULL, part INTEGER NOT NULL, "
                        "next INTEGER NOT NULL, PRIMARY KEY (topic, part)) WITHOUT ROWID"
                    )
                except BaseException:
                    positions.close()
                    raise
            self._positions = positions
        return self._positions

    def _translated(self, error: sqlite3.Error | OSError) -> Exception:
        if self._positions is not None:
            with contextlib.suppress(sqlite3.Error):
                self._positions.close()
            self._positions = None
        return translate(error, f"the positions of group {self.group.name}")

    def leave(self) -> None:
        """Release everything; a group that started at the end and never committed leaves nothing behind."""
        if self._positions is not None:
            self._positions.close()
            self._positions = None
        self.release_locks()
        with contextlib.suppress(OSError):
            (self._members / self._name).unlink(missing_ok=True)
            if self.group.start is StartAt.LAST:
                purge_ephemeral(self._groups, self._tail_keep_s, [self.group.name])

    def release_locks(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
        if self._membership >= 0:
            os.close(self._membership)
            self._membership = -1


def purge_ephemeral(groups: Path, keep_s: float, names: Iterable[str] | None = None) -> int:
    """Remove groups that start at the end and have no living member: tails of consoles that are gone.

    Those that committed something are kept for `keep_s`, because they could go on there. Return how many went.
    """
    removed = 0
    try:
        with holding(groups / "lock"):
            for folder in [groups / name for name in (names if names is not None else os.listdir(groups))]:
                if not (folder / _EPHEMERAL).exists():
                    continue
                if any(_is_alive(member) for member in (folder / "members").iterdir()):
                    continue
                positions = folder / _POSITIONS
                if positions.exists() and time.time() - positions.stat().st_mtime < keep_s:
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
    except OSError as error:
        raise LogUnavailable(f"Old consumer groups cannot be removed now ({type(error).__name__}).") from None
    return removed


def committed_in(groups: Path, group: Group, topics: Iterable[str]) -> Mapping[TopicPartition, int]:
    """Return a group's committed offsets without joining it."""
    path = groups / group.name / _POSITIONS
    if not path.exists():
        return {}
    try:
        positions = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=5, isolation_level=None)
        try:
            rows = positions.execute("SELECT topic, part, next FROM position").fetchall()
        finally:
            positions.close()
    except sqlite3.Error as error:
        raise translate(error, f"the positions of group {group.name}") from None
    named = set(topics)
    return {TopicPartition(topic, part): offset for topic, part, offset in rows if topic in named}
