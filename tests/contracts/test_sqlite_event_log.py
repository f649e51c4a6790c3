"""The laws of the event log, on its SQLite driver."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from events.sqlite_log import SqliteLog
from tests.contracts.event_log_laws import EventLogLaws
from tests.contracts.event_log_workers import OpenLog


class TestSqliteLog(EventLogLaws):
    @pytest.fixture
    def open_log(self, tmp_path: Path) -> OpenLog:
        return partial(SqliteLog, tmp_path / "log")
