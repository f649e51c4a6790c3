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
from console.supervisor import Notes, StageCommand, Supervisor, SupervisorSettings
from tests.builders.engine import until

AT_WORK = "import os, signal; os.write(int(os.environ['CALLWARDEN_READY_FD']), b'ready'); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + AT_WORK
BROKEN = "raise SystemExit(3)"
SIGNS = """
import pathlib, signal, sys, threading
from console.signs_of_life import SignsOfLife
from console.supervisor import say_ready
from events.clock import SystemClock
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
signs = SignsOfLife(pathlib.Path(sys.argv[1]), "one", SystemClock())
"""
BEATING = SIGNS + "signs.ready(); say_ready()\nwhile not stop.wait(0.2): signs.beat()\nsigns.close()"
WAITS = (
    SIGNS
    + "signs.missing('log', 'No broker answers; set [kafka] bootstrap.')\nwhile not stop.wait(0.2): signs.beat()"
)
GIVES_UP = SIGNS + "signs.stopped('The key is missing; set it.')\nraise SystemExit(1)"


@contextmanager
def supervising(
    folder: DataFolder, told: list[Notes] | None = None, ready: threading.Event | None = None, **programs: str
) -> Iterator[Supervisor]:
    commands = [
        StageCommand(name, name, [sys.executable, "-c", program, str(folder.processes)], accepts=name == "door")
        for name, program in programs.items()
    ]
    settings = SupervisorSettings(
        first_restart_after_s=0.02, stop_within_s=1.0, silent_after_s=2.0, hung_after_s=2.0
    )
    supervisor = Supervisor(folder, commands, settings)
    supervisor.on_notes = (told if told is not None else []).append
    supervisor.on_ready = (ready or threading.Event()).set
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


def test_a_process_that_hangs_is_killed_and_comes_back(folder: DataFolder) -> None:
    with supervising(folder, one=BEATING, two=BEATING) as supervisor:
        until(lambda: all(stage(folder, name).get("state") == "ready" for name in ("one", "two")), "up")
        before = supervisor.pids()
        os.kill(before["one"], signal.SIGSTOP)
        until(lambda: stage(folder, "one")["restarts"] == 1, "the hung one is ended")
        until(lambda: stage(folder, "one")["state"] == "ready", "and comes back")
        assert supervisor.pids()["two"] == before["two"]
        assert stage(folder, "two")["restarts"] == 0


def test_the_engine_is_ready_when_the_others_have_said_what_they_wait_for(folder: DataFolder) -> None:
    told: list[Notes] = []
    ready = threading.Event()
    with supervising(folder, told, ready, door=BEATING, one=WAITS, two=WAITS):
        assert ready.wait(30)
        assert until(lambda: told, "what they wait for is said") == [
            {"No broker answers; set [kafka] bootstrap.": ["one", "two"]}
        ]
        assert stage(folder, "one")["state"] == "waiting"
        assert stage(folder, "one")["note"] == "No broker answers; set [kafka] bootstrap."


def test_why_a_process_gave_up_is_said(folder: DataFolder) -> None:
    told: list[Notes] = []
    with supervising(folder, told, door=BEATING, one=GIVES_UP):
        assert until(lambda: told, "why it gave up is said")[0] == {"The key is missing; set it.": ["one"]}
        until(lambda: int(str(stage(folder, "one").get("restarts", 0))) >= 2, "it is tried again all the same")


def test_the_engine_is_not_ready_without_its_door(folder: DataFolder) -> None:
    told: list[Notes] = []
    ready = threading.Event()
    with supervising(folder, told, ready, door=GIVES_UP, one=BEATING):
        until(lambda: told, "why it gave up is said")
        assert not ready.is_set()


def test_a_stage_alone_keeps_an_engine_from_starting_and_other_stages_not(folder: DataFolder) -> None:
    first, second = EngineLock(folder), EngineLock(folder)
    first.share()
    second.share()
    assert EngineLock(folder).is_held()
    with pytest.raises(DataFolderInUse, match="already runs on the data folder"):
        EngineLock(folder).acquire()
    first.release()
    second.release()
    engine = EngineLock(folder)
    engine.acquire()
    beside = EngineLock(folder)
    beside.share()
    beside.release()
    assert EngineLock(folder).is_held(), "The engine's own lock is still its own."
    engine.release()


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
