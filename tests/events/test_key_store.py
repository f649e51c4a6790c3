"""Two keys per call: the same for all processes, durable, and gone for good when destroyed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from events.clock import ManualClock
from events.errors import CallwardenError, KeyDestroyed, NeverRetry, StopConsumer
from events.identity import CallId, new_call_id
from events.key_store import KeyStore, KeyStoreSettings, MasterKey
from events.topics import Key

_SPAWN = multiprocessing.get_context("spawn")
MASTER = MasterKey(bytes(range(32)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(folder: Path) -> Iterator[KeyStore]:
    with contextlib.closing(KeyStore(folder, MASTER)) as opened:
        yield opened


def wrapped(folder: Path, call: CallId) -> tuple[bytes, bytes]:
    with contextlib.closing(sqlite3.connect(folder / "keys.db")) as database:
        row = database.execute("SELECT capture, record FROM call_key WHERE call = ?", (call,)).fetchone()
        return row[0], row[1]


def files_that_hold(folder: Path, secret: bytes) -> list[str]:
    return [path.name for path in folder.iterdir() if secret in path.read_bytes()]


def test_a_call_has_two_keys_that_stay(store: KeyStore, folder: Path) -> None:
    one, other = new_call_id(), new_call_id()
    store.create(one)
    store.create_many([one, other, one])
    keys = {store.key(call, key) for call in (one, other) for key in Key}
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
    with contextlib.closing(KeyStore(folder, MASTER)) as second:
        second.create(one)
        assert {second.key(call, key) for call in (one, other) for key in Key} == keys
    assert not any(files_that_hold(folder, key) for key in keys), "Keys lie wrapped only."


def _create_and_tell(folder: Path, calls: list[CallId], tell: Connection) -> None:
    store = KeyStore(folder, MASTER)
    for call in calls:
        store.create(call)
    digest = hashlib.sha256(b"".join(store.key(call, key) for call in calls for key in Key))
    tell.send((digest.hexdigest(), store.site_key("audit").hex()))
    store.close()


def _load_and_tell(file: Path, tell: Connection) -> None:
    tell.send(MasterKey.load(file).secret)


def _from_processes(count: int, target: Callable[..., None], *arguments: object) -> list[object]:
    ends = []
    processes = []
    for _ in range(count):
        end, tell = _SPAWN.Pipe(duplex=False)
        processes.append(_SPAWN.Process(target=target, args=(*arguments, tell)))
        processes[-1].start()
        tell.close()
        ends.append(end)
    told = [end.recv() for end in ends]
    for process in processes:
        process.join()
    return told


def test_processes_that_create_at_once_get_the_same_keys(folder: Path) -> None:
    calls = [new_call_id() for _ in range(20)]
    assert len(set(_from_processes(3, _create_and_tell, folder, calls))) == 1


def test_processes_that_start_for_the_first_time_at_once_get_the_same_master_key(tmp_path: Path) -> None:
    file = tmp_path / "new" / "master.key"
    assert len(set(_from_processes(3, _load_and_tell, file))) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["master.key"]


def test_a_destroyed_key_is_nowhere_on_the_disk(folder: Path) -> None:
    with contextlib.closing(KeyStore(folder, MASTER)) as store:
        calls = [new_call_id() for _ in range(300)]
        store.create_many(calls[:200])
        secrets = {call: wrapped(folder, call) for call in calls[:200]}
        for number, call in enumerate(calls[:200:3]):
            store.destroy(call, Key.CAPTURE)
            store.create(calls[200 + number])
        gone = set(calls[:200:3])
        for call, (capture, record) in secrets.items():
            assert bool(files_that_hold(folder, capture[1:])) == (call not in gone)
            assert files_that_hold(folder, record[1:])
            # Not a piece of it either: 8 bytes do not come about by chance.
            assert bool(files_that_hold(folder, capture[20:28])) == (call not in gone)


def test_a_destroyed_key_is_told_from_an_unknown_one(store: KeyStore) -> None:
    call = new_call_id()
    with pytest.raises(NeverRetry, match=r"^No keys of this call are known\.$"):
        store.key(call, Key.RECORD)
    with pytest.raises(NeverRetry):
        store.destroy(call, Key.RECORD)
    assert not store.known(call)
    store.create(call)
    assert store.destroyed_at_ms(call, Key.CAPTURE) is None
    before = store.key(call, Key.RECORD)
    store.destroy(call, Key.CAPTURE)
    store.destroy(call, Key.CAPTURE)
    store.create(call)
    with pytest.raises(KeyDestroyed, match=r"^The capture key of this call was destroyed\.$"):
        store.key(call, Key.CAPTURE)
    assert store.key(call, Key.RECORD) == before
    assert store.known(call)


def test_the_time_of_destruction_is_kept_and_the_first_counts(folder: Path) -> None:
    clock = ManualClock(1_800_000_000_123)
    with contextlib.closing(KeyStore(folder, MASTER, clock=clock)) as store:
        call = new_call_id()
        store.create(call)
        store.destroy(call, Key.RECORD)
        clock.advance(5000)
        store.destroy(call, Key.RECORD)
        assert store.destroyed_at_ms(call, Key.RECORD) == 1_800_000_000_123


def test_a_key_destroyed_elsewhere_stops_working_when_the_cache_is_stale(folder: Path) -> None:
    clock = ManualClock()
    settings = KeyStoreSettings(cache_s=20)
    with (
        contextlib.closing(KeyStore(folder, MASTER, settings, clock)) as here,
        contextlib.closing(KeyStore(folder, MASTER)) as there,
    ):
        call = new_call_id()
        there.create(call)
        key = here.key(call, Key.CAPTURE)
        there.destroy(call, Key.CAPTURE)
        clock.advance(19_900)
        assert here.key(call, Key.CAPTURE) == key
        clock.advance(200)
        with pytest.raises(KeyDestroyed):
            here.key(call, Key.CAPTURE)


def test_the_cache_is_bounded(folder: Path) -> None:
    with contextlib.closing(KeyStore(folder, MASTER, KeyStoreSettings(cache_calls=10))) as store:
        calls = [new_call_id() for _ in range(50)]
        store.create_many(calls)
        keys = [store.key(call, Key.CAPTURE) for call in calls]
        assert len(store._cache) == 10
        assert keys == [store.key(call, Key.CAPTURE) for call in calls]


def test_calls_with_a_key_are_listed_in_order(store: KeyStore) -> None:
    calls = [new_call_id() for _ in range(600)]
    store.create_many(calls)
    for call in calls[::2]:
        store.destroy(call, Key.CAPTURE)
    assert list(store.calls_with(Key.CAPTURE)) == calls[1::2]
    assert list(store.calls_with(Key.RECORD)) == calls


def test_another_installations_master_key_is_refused(folder: Path) -> None:
    KeyStore(folder, MASTER).close()
    with pytest.raises(StopConsumer, match=r"^The master key does not fit this key store; it belongs to another"):
        KeyStore(folder, os.urandom(32))


def test_a_wrapped_key_moved_to_another_call_or_name_does_not_open(store: KeyStore, folder: Path) -> None:
    one, other = new_call_id(), new_call_id()
    store.create_many([one, other])
    with contextlib.closing(sqlite3.connect(folder / "keys.db")) as database, database:
        database.execute("UPDATE call_key SET capture = ? WHERE call = ?", (wrapped(folder, one)[0], other))
        database.execute("UPDATE call_key SET record = capture WHERE call = ?", (one,))
    for call, key in ((other, Key.CAPTURE), (one, Key.RECORD)):
        with pytest.raises(NeverRetry, match=r"does not fit the master key"):
            store.key(call, key)


def test_site_keys_differ_by_name_and_stay(store: KeyStore, folder: Path) -> None:
    audit = store.site_key("audit")
    assert len(audit) == 32
    assert store.site_key("sessions") != audit
    with contextlib.closing(KeyStore(folder, MASTER)) as second:
        assert second.site_key("audit") == audit


@pytest.mark.parametrize("text", ["", "not base64!", "c2hvcnQ=", "ä"])
def test_a_master_key_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "master.key"
    file.write_text(text, "utf-8")
    with pytest.raises(
        StopConsumer, match=r"^(The master key is not written in base64|A master key has 32 bytes)\.$"
    ):
        MasterKey.load(file)


def test_a_master_key_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "master.key"
    secret = MasterKey.load(file)
    assert not caplog.records
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert MasterKey.load(file) == secret
    assert "its mode should be 0600" in caplog.text


def test_keys_are_never_printed() -> None:
    assert repr(MASTER) == "MasterKey(...)"
    assert str(MASTER) == "MasterKey(...)"


def test_a_damaged_store_is_said_in_a_sentence(folder: Path) -> None:
    folder.mkdir()
    (folder / "keys.db").write_bytes(b"no database at all, but long enough to be taken for one " * 100)
    with pytest.raises(CallwardenError, match=r"^The key store's file is damaged; restore it from a back-up\.$"):
        KeyStore(folder, MASTER)


@pytest.mark.parametrize("wrong", [{"cache_s": 31}, {"cache_s": -1}, {"cache_calls": 0}])
def test_settings_that_keep_keys_for_too_long_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^Keys are cached for 0 to 30 seconds"):
        KeyStoreSettings(**wrong)  # type: ignore[arg-type]
