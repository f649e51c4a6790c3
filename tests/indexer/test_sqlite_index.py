"""The embedded driver under the laws of CallIndex, and what is its own."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from events.errors import StopConsumer
from indexer.index import CallIndex, CallQuery
from indexer.sqlite_index import IndexUnavailable, SqliteIndex, SqliteIndexSettings
from tests.contracts.call_index_laws import CallIndexLaws, document


def open_index(folder: Path) -> CallIndex:
    return SqliteIndex(folder)


class TestSqliteIndex(CallIndexLaws):
    opener = staticmethod(open_index)


def test_a_file_that_is_no_index_stops_the_stage_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StopConsumer, match="damaged"):
        open_index(tmp_path)


def test_another_version_stops_the_stage(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StopConsumer, match="has version 7"):
        open_index(tmp_path)


def test_a_folder_that_cannot_be_made_asks_to_retry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexUnavailable, match="cannot be used now"):
        SqliteIndex(tmp_path / "file")


def test_a_writer_that_waits_too_long_asks_to_retry_and_loses_nothing(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path, SqliteIndexSettings(busy_timeout_s=0.05))
    one = document(1, [(0, "hello")])
    other = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(IndexUnavailable, match="locked"):
        index.put(one)
    other.execute("ROLLBACK")
    index.put(one)
    assert index.get(one.call) == one


def test_a_reader_does_not_stop_forgetting(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path, SqliteIndexSettings(busy_timeout_s=0.05))
    one = document(1, [(0, "hello")])
    index.put(one)
    reader = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM calls").fetchone()
    index.forget(one.call)
    reader.execute("ROLLBACK")
    assert index.get(one.call) is None


def test_threads_search_while_one_puts(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path)
    totals: dict[int, list[int]] = {1: [], 2: []}
    done = threading.Event()

    def look(name: int) -> None:
        while not done.is_set():
            totals[name].append(index.search(CallQuery("hello")).total)

    threads = [threading.Thread(target=look, args=(name,)) for name in totals]
    for thread in threads:
        thread.start()
    for number in range(1, 31):
        index.put(document(number, [(0, "hello")]))
    done.set()
    for thread in threads:
        thread.join()
    assert all(seen == sorted(seen) for seen in totals.values()), "Totals never go back."
    assert index.search(CallQuery("hello")).total == 30


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="longer than 0 s"):
        SqliteIndexSettings(busy_timeout_s=0)
