"""What tests of the indexing stage start from: a real event log with one stage, and an embedded index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.sqlite_index import SqliteIndex
from tests.indexer.stage_rig import StageRig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StageRig]:
    rig = StageRig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteIndex]:
    index = SqliteIndex(tmp_path / "index")
    yield index
    index.close()
