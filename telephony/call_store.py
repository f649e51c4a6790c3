"""What capture must still know after a crash, in one small SQLite file.

Three writers' worth of state share transactions that belong together:

- signalling stores dialog and plan of a call before it answers (`save_call`);
- the journal stores sealed records on their way to the log (the outbox) together with the legs' rows as those
  records left them (`keep`), and takes them out once the log has them (`sent`).

So a leg's next sample and the block before it are durable together, and whatever was cut before a crash is
appended after it, byte for byte, under the same id.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from events.errors import LogUnavailable
from events.identity import CallId, RecordId
from events.lifecycle import EndReason
from events.log import Event
from events.topics import TOPICS, Topic
from telephony.leg import LEG
from telephony.live_call import Kept
from telephony.plan import CallPlan

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (call TEXT PRIMARY KEY, dialog BLOB NOT NULL, plan BLOB NOT NULL, ended TEXT);
CREATE TABLE IF NOT EXISTS media (call TEXT PRIMARY KEY, kept BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS legs (call TEXT, leg INTEGER, row BLOB NOT NULL, PRIMARY KEY (call, leg)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, at_ms INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_TOPIC_OF: Final = {topic.name: topic for topic in TOPICS}
_LAYOUT: Final = hashlib.sha256(repr(LEG.descr).encode()).hexdigest()[:16]


class LegState(msgspec.Struct, frozen=True):
    """A leg as the last records kept with it left it."""

    call: CallId
    leg: int
    row: bytes


class CallState(msgspec.Struct, frozen=True):
    """A call as the last records kept with it left it; `kept` None means that it is over."""

    call: CallId
    kept: Kept | None


class StoredCall(msgspec.Struct, frozen=True):
    """A call as it was stored: what signalling agreed, and what media knew when its last block was kept."""

    plan: CallPlan
    dialog: bytes
    kept: Kept | None = None
    rows: dict[int, bytes] = {}
    ended: EndReason | None = None


class Loaded(msgspec.Struct, frozen=True):
    """What the last process left. `resumable` is False after a reboot or an upgrade that changed `leg.LEG`."""

    calls: tuple[StoredCall, ...]
    outbox: tuple[tuple[Topic, tuple[Event, ...]], ...]
    newest_outbox: int
    resumable: bool


class CallStore:
    """One file, used by two threads of one process. Raises LogUnavailable on a full disk."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with _translated():
            self._db = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)

    def load(self, boot_id: str) -> Loaded:
        """Return what the last process left, and note that this process runs now."""
        with self._transaction():
            facts = dict(self._db.execute("SELECT name, value FROM facts"))
            now = {"boot": boot_id, "layout": _LAYOUT}
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", now.items())
            kept = dict(self._db.execute("SELECT call, kept FROM media"))
            rows: dict[str, dict[int, bytes]] = {}
            for call, leg, row in self._db.execute("SELECT call, leg, row FROM legs"):
                rows.setdefault(call, {})[leg] = row
            calls = tuple(
                StoredCall(
                    msgspec.msgpack.decode(plan, type=CallPlan),
                    dialog,
                    msgspec.msgpack.decode(kept[call], type=Kept) if call in kept else None,
                    rows.get(call, {}),
                    EndReason(ended) if ended else None,
                )
                for call, dialog, plan, ended in self._db.execute("SELECT call, dialog, plan, ended FROM calls")
            )
            newest = 0
            outbox: list[tuple[Topic, tuple[Event, ...]]] = []
            for number, topic, *fields in self._db.execute("SELECT * FROM outbox ORDER BY number"):
                identity, key, kind, at_ms, value = fields
                outbox.append((_TOPIC_OF[topic], (Event(RecordId(identity), key, kind, at_ms, value),)))
                newest = number
        return Loaded(calls, tuple(outbox), newest, all(facts.get(name) == value for name, value in now.items()))

    def save_call(self, plan: CallPlan, dialog: bytes, ended: EndReason | None = None) -> None:
        """Store a call as signalling has it; durable on return."""
        values = (plan.call, dialog, msgspec.msgpack.encode(plan), ended.value if ended else None)
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", values)

    def remove_call(self, call: CallId) -> None:
        """Forget a call of which no record was made."""
        with self._transaction():
            self._db.execute("DELETE FROM calls WHERE call = ?", (call,))

    def keep(
        self,
        outbox: Sequence[tuple[Topic, Sequence[Event]]],
        legs: Sequence[LegState],
        calls: Sequence[CallState],
    ) -> int:
        """Store events and the state they lead to; durable on return. Return the newest outbox number."""
        with self._transaction():
            newest = 0
            for topic, events in outbox:
                for event in events:
                    newest = (
                        self._db.execute(
                            "INSERT INTO outbox (topic, id, key, kind, at_ms, value) VALUES (?, ?, ?, ?, ?, ?)",
                            (topic.name, event.id, event.key, event.kind, event.at_ms, event.value),
                        ).lastrowid
                        or newest
                    )
            self._db.executemany(
                "INSERT OR REPLACE INTO legs VALUES (?, ?, ?)", [(leg.call, leg.leg, leg.row) for leg in legs]
            )
            for state in calls:
                if state.kept is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO media VALUES (?, ?)",
                        (state.call, msgspec.msgpack.encode(state.kept)),
                    )
                else:
                    for table in ("calls", "media", "legs"):
                        self._db.execute(f"DELETE FROM {table} WHERE call = ?", (state.call,))
        return newest

    def sent(self, newest: int) -> None:
        """Take events out of the outbox that the log has acknowledged.

        Not forced to the disk: should only this be lost, in a power cut, they are appended again under their ids.
        """
        with self._lock, _translated():
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("DELETE FROM outbox WHERE number <= ?", (newest,))
            self._db.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LogUnavailable(f"Capture's state file cannot be written: {error}.") from None


def boot_id() -> str:
    """Return what is the same as long as this machine runs, and with it the monotonic clock."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
