"""The store of the legs' places: what is read back, what a late writer cannot undo, and what is left at the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from events.clock import ManualClock
from events.errors import KeyDestroyed, RetryLater
from events.identity import CallId, Role
from events.key_store import KeyStore
from events.topics import Key
from recognizer.snapshot import WHOLE_CALL, LegState, SnapshotStore

CALL = CallId("a" * 32)
STATE = LegState(1, Role.CUSTOMER, 3, 1600, 90_000, graph_state=77, graph_states=1000)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys", bytes(32))
    store.create(CALL)
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "recogniser.db"


def test_another_worker_reads_what_was_put(keys: KeyStore, file: Path) -> None:
    SnapshotStore(file, keys).put([(CALL, STATE), (CALL, LegState(0))])
    assert SnapshotStore(file, keys).of_call(CALL) == {0: LegState(0), 1: STATE}
    assert SnapshotStore(file, keys).of_call(CallId("b" * 32)) == {}


def test_a_late_writer_does_not_set_a_leg_back(keys: KeyStore, file: Path) -> None:
    store = SnapshotStore(file, keys)
    store.put([(CALL, STATE)])
    store.put([(CALL, LegState(1, Role.CUSTOMER, 2, 1600, 50_000))])
    assert store.of_call(CALL)[1] == STATE
    store.put([(CALL, LegState(1, Role.CUSTOMER, 4, ended=True))])
    store.put([(CALL, LegState(1, Role.CUSTOMER, 9, 1600, 99_000))])
    assert store.of_call(CALL)[1].ended


def test_states_lie_sealed(keys: KeyStore, file: Path) -> None:
    store = SnapshotStore(file, keys)
    store.put([(CALL, STATE)])
    ((value,),) = sqlite3.connect(file).execute("SELECT state FROM snapshot").fetchall()
    assert b"customer" not in value
    assert b"first_sample" not in value


def test_ends_outlive_the_key(keys: KeyStore, file: Path) -> None:
    store = SnapshotStore(file, keys)
    store.put([(CALL, STATE)])
    keys.destroy(CALL, Key.CAPTURE)
    with pytest.raises(KeyDestroyed):
        store.of_call(CALL)
    store.put([(CALL, LegState(1, step=4, ended=True)), (CALL, LegState(WHOLE_CALL, ended=True))])
    assert {leg: state.ended for leg, state in store.of_call(CALL).items()} == {1: True, WHOLE_CALL: True}


def test_a_damaged_state_is_left_out(keys: KeyStore, file: Path) -> None:
    store = SnapshotStore(file, keys)
    store.put([(CALL, STATE), (CALL, LegState(0))])
    with sqlite3.connect(file) as database:
        database.execute("UPDATE snapshot SET state = zeroblob(60) WHERE leg = 1")
    assert store.of_call(CALL) == {0: LegState(0)}


def test_what_nobody_can_need_any_more_is_removed(keys: KeyStore, file: Path) -> None:
    clock = ManualClock()
    SnapshotStore(file, keys, clock).put([(CALL, LegState(WHOLE_CALL, ended=True))])
    clock.advance(4 * 86_400_000)
    other = CallId("c" * 32)
    keys.create(other)
    store = SnapshotStore(file, keys, clock)
    store.put([(other, LegState(0))])
    assert store.of_call(CALL) == {}
    assert store.of_call(other) == {0: LegState(0)}


def test_a_file_that_cannot_be_made_is_said_in_a_sentence(keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(RetryLater, match=r"^The recogniser's snapshots cannot be read or written now \(\w+\)\.$"):
        SnapshotStore(tmp_path / "blocked" / "recogniser.db", keys)
