"""Real processes, supervised: started, restarted, stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from console.data_folder import DataFolder, DataFolderInUse, DataFolderRefused, EngineLock
from console.supervisor import StageCommand, Supervisor, SupervisorSettings
from tests.builders.engine import until

AT_WORK = "import os, signal; os.write(int(os.environ['CALLWARDEN_READY_FD']), b'ready'); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + AT_WORK
BROKEN = "raise SystemExit(3)"


@contextmanager
def supervising(folder: DataFolder, **programs: str) -> Iterator[Supervisor]:
    commands = [StageCommand(name, name, [sys.executable, "-c", program]) for name, program in programs.items()]
    supervisor = Supervisor(folder, commands, SupervisorSettings(first_restart_after_s=0.02, stop_within_s=1.0))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join()


def stage(folder: DataFolder, name: str) -> dict[str, object]:
    try:
        return dict(json.loads(folder.health_file.read_text())["stages"][name])
    except FileNotFoundError:
        return {}


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder.at(tmp_path / "data")


def test_a_killed_process_comes_back_and_the_other_lives_on(folder: DataFolder) -> None:
    with supervising(folder, one=AT_WORK, two=AT_WORK) as supervisor:
        until(
            lambda: stage(folder, "one").get("state") == "ready" and stage(folder, "two").get("state") == "ready",
            "up",
        )
        before = supervisor.pids()
        os.kill(before["one"], signal.SIGKILL)
        until(
            lambda: stage(folder, "one")["restarts"] == 1 and stage(folder, "one")["state"] == "ready", "one again"
        )
        assert supervisor.pids()["one"] != before["one"]
        assert supervisor.pids()["two"] == before["two"]
        assert stage(folder, "two")["restarts"] == 0


def test_a_process_that_cannot_start_is_tried_again_and_does_not_count_as_ready(folder: DataFolder) -> None:
    with supervising(folder, broken=BROKEN, good=AT_WORK):
        until(lambda: int(str(stage(folder, "broken").get("restarts", 0))) >= 2, "tried again")
        assert stage(folder, "broken")["state"] != "ready"
        until(lambda: stage(folder, "good")["state"] == "ready", "the good one is at work")


def test_a_process_that_does_not_stop_is_killed(folder: DataFolder) -> None:
    with supervising(folder, stubborn=STUBBORN) as supervisor:
        until(lambda: stage(folder, "stubborn").get("state") == "ready", "up")
        pid = supervisor.pids()["stubborn"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not folder.health_file.exists()


def test_one_engine_a_folder(folder: DataFolder) -> None:
    first = EngineLock(folder)
    first.acquire()
    assert EngineLock(folder).is_held()
    with pytest.raises(DataFolderInUse, match="already runs on the data folder"):
        EngineLock(folder).acquire()
    first.release()
    assert not EngineLock(folder).is_held()
    EngineLock(folder).acquire()


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderRefused, match="cannot be used: not a directory"):
        DataFolder.at(tmp_path / "file" / "data")


def test_a_data_folder_is_its_owners_alone(folder: DataFolder) -> None:
    assert folder.root.stat().st_mode & 0o077 == 0
