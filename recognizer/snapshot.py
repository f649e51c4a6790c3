"""Where each leg's recognition stands, on disk, so that a successor goes on at the last utterance's end.

A snapshot is small: a successor makes everything else again from the audio before (`session.needed_from`). It is
written once what was recognised up to there is in the log, and before the log's positions are committed; so it is
never ahead of the log and never behind the positions. That a leg or call has *ended* is kept for as long as its
audio may be delivered again, because without it late copies of the audio would be recognised a second time.

The states are sealed with the call's capture key and become unreadable with it; what lies open are call ids,
leg numbers and counters.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from events.clock import Clock, SystemClock
from events.errors import KeyDestroyed, NeverRetry, RetryLater, SealBroken
from events.identity import CallId, Role
from events.sealing import CallKeys, seal, unseal
from events.topics import CALL_AUDIO, Key

_log = logging.getLogger(__name__)

WHOLE_CALL: Final = -1
"""Leg number under which the end of a call is kept."""
_KEEP_MS: Final = int((CALL_AUDIO.keep_days + 1) * 86_400_000)
_SWEEP_EVERY: Final = 1000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS snapshot (
    call TEXT NOT NULL, leg INTEGER NOT NULL, step INTEGER NOT NULL, ended INTEGER NOT NULL,
    at_ms INTEGER NOT NULL, state BLOB NOT NULL, PRIMARY KEY (call, leg)
) WITHOUT ROWID
"""
_PUT: Final = """
INSERT INTO snapshot VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (call, leg) DO UPDATE SET
    step = excluded.step, ended = excluded.ended, at_ms = excluded.at_ms, state = excluded.state
WHERE (excluded.ended, excluded.step) > (snapshot.ended, snapshot.step)
"""


@dataclass(frozen=True, slots=True)
class LegState:
    """A leg's place. `step` grows with every utterance, so that an older worker never overwrites a newer one's."""

    leg: int
    role: Role = Role.UNKNOWN
    step: int = 0
    origin_sample: int = 0
    """The leg's first sample, 8 kHz, call timeline."""
    first_sample: int = 0
    """Of the utterance that was not final yet."""
    graph_state: int | None = None
    """Where in the graph its search begins, if it goes on with a sentence."""
    graph_states: int = 0
    """Size of that graph: in another one the number would mean nothing."""
    ended: bool = False


class SnapshotStore:
    """One SQLite file for all recogniser workers of a machine. Used by one thread.

    Parameters
    ----------
    path : Path
    keys : CallKeys
    clock : Clock, optional

    Raises
    ------
    RetryLater
        From any method: the file cannot be read or written now (disk full, locked for too long).
    """

    def __init__(self, path: Path, keys: CallKeys, clock: Clock | None = None) -> None:
        self._keys = keys
        self._clock = clock or SystemClock()
        self._puts = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(error) from error

    def put(self, states: Iterable[tuple[CallId, LegState]]) -> None:
        """Make the states durable, all or none. States of calls whose key is gone are left out."""
        now_ms = self._clock.now_ms()
        rows = []
        for call, state in states:
            try:
                value = seal(
                    self._keys.key(call, Key.CAPTURE), msgspec.msgpack.encode(state), _label(call, state.leg)
                )
            except (KeyDestroyed, NeverRetry):
                value = b""
                if not state.ended:
                    continue
            rows.append((call, state.leg, state.step, state.ended, now_ms, value))
        if not rows:
            return
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(_PUT, rows)
                self._sweep(now_ms)
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def of_call(self, call: CallId) -> dict[int, LegState]:
        """Return the states of a call by leg; `WHOLE_CALL` is among them when the call has ended."""
        try:
            with closing(
                self._database.execute("SELECT leg, step, ended, state FROM snapshot WHERE call = ?", (call,))
            ) as cursor:
                rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        states = {}
        for leg, step, ended, value in rows:
            if ended:
                states[leg] = LegState(leg, step=step, ended=True)
                continue
            try:
                states[leg] = msgspec.msgpack.decode(
                    unseal(self._keys.key(call, Key.CAPTURE), value, _label(call, leg)), type=LegState
                )
            except (SealBroken, msgspec.DecodeError):
                _log.warning("The recogniser's snapshot of leg %d of call %s is damaged.", leg, call)
        return states

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _sweep(self, now_ms: int) -> None:
        self._puts += 1
        if self._puts % _SWEEP_EVERY == 1:
            self._database.execute("DELETE FROM snapshot WHERE at_ms < ?", (now_ms - _KEEP_MS,))


def _label(call: CallId, leg: int) -> bytes:
    return f"{call}|recogniser|{leg}".encode()


def _unavailable(error: Exception) -> RetryLater:
    return RetryLater(f"The recogniser's snapshots cannot be read or written now ({type(error).__name__}).")
