"""Signs of life: written by processes, judged by whoever looks."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from console.data_folder import DataFolder
from console.health import HealthReader, spill_text
from console.probe import Probe
from console.settings import Settings
from console.signs_of_life import LifeState, Sign, SignsOfLife, read_signs
from console.vitals import STAGE_NAMES, clock_warnings, judge, vitals
from console.wiring import Wiring
from events.clock import ManualClock, SystemClock
from events.errors import LogUnavailable
from events.spill_state import SpillMode, SpillState

AWAY = "No Kafka broker answers at 127.0.0.1:1; start it or set [kafka] bootstrap."


def only(folder: Path) -> Sign:
    (sign,) = read_signs(folder)
    return sign


def aged(folder: Path, name: str, seconds: float) -> None:
    """Make a process's last sign as old as that."""
    file = folder / f"{name}.json"
    past = file.stat().st_mtime - seconds
    os.utime(file, (past, past))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now_ms())


def test_a_process_tells_its_way(tmp_path: Path, clock: ManualClock) -> None:
    signs = SignsOfLife(tmp_path, "rules", clock, "rules")
    assert only(tmp_path).state is LifeState.STARTING
    signs.missing("event log", AWAY)
    assert only(tmp_path).state is LifeState.WAITING
    assert only(tmp_path).note == AWAY
    signs.found("event log")
    signs.ready()
    assert only(tmp_path).state is LifeState.READY
    assert only(tmp_path).note == ""
    signs.missing("event log", AWAY)
    assert only(tmp_path).state is LifeState.WAITING
    signs.stopped("The stage can go no further.")
    assert only(tmp_path).state is LifeState.STOPPED
    assert only(tmp_path).note == "The stage can go no further."
    signs.close()
    assert only(tmp_path).state is LifeState.STOPPED, "why it ended must still be read"


def test_who_ends_in_order_leaves_nothing(tmp_path: Path, clock: ManualClock) -> None:
    signs = SignsOfLife(tmp_path, "rules", clock)
    signs.ready()
    signs.close()
    signs.beat(at_once=True)
    assert list(tmp_path.iterdir()) == []


def test_a_beat_is_written_at_most_once_a_second(tmp_path: Path, clock: ManualClock) -> None:
    signs = SignsOfLife(tmp_path, "rules", clock)
    signs.ready()
    before = only(tmp_path).beats
    for _ in range(50):
        signs.beat()
    assert only(tmp_path).beats == before
    clock.advance(1000)
    signs.beat()
    assert only(tmp_path).beats == before + 1


def test_two_things_missing_are_both_told_and_one_found_leaves_the_other(
    tmp_path: Path, clock: ManualClock
) -> None:
    signs = SignsOfLife(tmp_path, "indexer", clock)
    signs.ready()
    signs.missing("event log", AWAY)
    signs.missing("index", "No Elasticsearch answers.")
    assert only(tmp_path).note == f"{AWAY} No Elasticsearch answers."
    signs.found("event log")
    assert only(tmp_path).note == "No Elasticsearch answers."
    assert only(tmp_path).state is LifeState.WAITING


def test_a_full_disk_stops_no_process(tmp_path: Path, clock: ManualClock) -> None:
    signs = SignsOfLife(tmp_path / "gone", "rules", clock)
    signs.ready()
    signs.missing("event log", AWAY)
    signs.close()


def test_files_that_are_no_signs_are_passed_over(tmp_path: Path, clock: ManualClock) -> None:
    SignsOfLife(tmp_path, "rules", clock).ready()
    (tmp_path / "junk.json").write_text("{")
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "other.json").write_text(json.dumps({"name": "other"}))
    assert only(tmp_path).stage == "rules"


def test_a_process_that_is_silent_too_long_is_down(tmp_path: Path, clock: ManualClock) -> None:
    SignsOfLife(tmp_path, "rules", clock, "rules").ready()
    assert judge(tmp_path, "rules", 30, False).problems == ()
    aged(tmp_path, "rules", 45)
    assert judge(tmp_path, "rules", 30, False).problems == ("rules: It has given no sign of life for 45 s.",)
    assert judge(tmp_path, "rules", 30, True).problems, "and it does not live either"


def test_waiting_is_not_at_work_but_alive(tmp_path: Path, clock: ManualClock) -> None:
    SignsOfLife(tmp_path, "rules", clock, "rules").missing("event log", AWAY)
    assert judge(tmp_path, "rules", 30, False).problems == (f"rules: {AWAY}",)
    assert judge(tmp_path, "rules", 30, True).problems == ()


def test_without_a_stage_every_stage_must_be_there(tmp_path: Path, clock: ManualClock) -> None:
    for stage in STAGE_NAMES[1:]:
        SignsOfLife(tmp_path, stage, clock).ready()
    assert judge(tmp_path, None, 30, False).problems == ("capture: No such process runs on this data folder.",)
    SignsOfLife(tmp_path, "capture", clock).ready()
    assert judge(tmp_path, None, 30, False).problems == ()


def test_a_replaced_process_is_forgotten_once_another_does_its_work(tmp_path: Path, clock: ManualClock) -> None:
    SignsOfLife(tmp_path, "rules", clock, "rules@old").ready()
    aged(tmp_path, "rules@old", 600)
    mine = [one for one in vitals(read_signs(tmp_path), 30) if one.stage == "rules"]
    assert [(one.name, one.running) for one in mine] == [("rules@old", False)]
    SignsOfLife(tmp_path, "rules", clock, "rules@new").ready()
    mine = [one for one in vitals(read_signs(tmp_path), 30) if one.stage == "rules"]
    assert [(one.name, one.running) for one in mine] == [("rules@new", True)]


@pytest.mark.parametrize(("hours", "word"), [(1, "ahead"), (-1, "behind")])
def test_a_clock_an_hour_off_is_told_and_does_not_make_the_process_old(
    tmp_path: Path, clock: ManualClock, hours: int, word: str
) -> None:
    clock.advance(hours * 3_600_000)
    SignsOfLife(tmp_path, "rules", clock, "rules").ready()
    sign = only(tmp_path)
    assert judge(tmp_path, "rules", 30, False).problems == ()
    assert list(clock_warnings([sign])) == [
        f"The clock of {sign.host} is 60 min {word}; set it, or the times of calls are wrong."
    ]
    assert list(clock_warnings([replace(sign, clock_ahead_s=3.0)])) == []


def test_a_probe_does_not_wait_for_what_hangs() -> None:
    let_go = threading.Event()

    def look() -> int:
        let_go.wait(20)
        return 7

    probe = Probe(look, "event log", SystemClock(), every_s=0, patience_s=0.05)
    assert probe() == (None, "The event log does not answer.")
    let_go.set()
    probe = Probe(look, "event log", SystemClock(), patience_s=20)
    assert probe() == (7, "")


def test_a_probe_keeps_the_last_answer_beside_what_is_wrong_now() -> None:
    answers: list[int | Exception] = [7, LogUnavailable(AWAY), OSError("quotes something")]

    def look() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    probe = Probe(look, "event log", SystemClock(), every_s=0, patience_s=20)
    assert probe() == (7, "")
    assert probe() == (7, AWAY)
    assert probe() == (7, "The event log cannot be asked (OSError).")


def test_health_without_a_supervisor_is_that_of_the_processes(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    clock = SystemClock()
    wiring = Wiring(folder, Settings())
    for stage in STAGE_NAMES:
        SignsOfLife(folder.processes, stage, clock, stage).ready()
    read = HealthReader(folder, Settings(), wiring.log, wiring.index, clock)
    assert read().ok
    assert {stage.lag for stage in read().stages if stage.name == "rules"} == {0}
    assert [part.reachable for part in read().parts] == [True, True]
    SignsOfLife(folder.processes, "rules", clock, "rules").missing("event log", AWAY)
    health = read()
    assert not health.ok
    assert [(stage.name, stage.note) for stage in health.stages if not stage.running] == [("rules", AWAY)]
    wiring.close()


def test_health_with_a_supervisor_does_not_take_a_predecessors_sign(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    wiring = Wiring(folder, Settings())
    SignsOfLife(folder.processes, "rules", SystemClock(), "rules").ready()
    state = {"state": "starting", "pid": os.getpid() + 1, "restarts": 2, "note": ""}
    folder.health_file.write_text(json.dumps({"sip": "127.0.0.1:5060", "stages": {"rules": state}}))
    read = HealthReader(folder, Settings(), wiring.log, wiring.index, SystemClock())
    (rules,) = read().stages
    assert (rules.running, rules.note, rules.restarts) == (False, "starting", 2)
    folder.health_file.write_text(
        json.dumps({"stages": {"rules": {**state, "pid": os.getpid(), "state": "ready"}}})
    )
    (rules,) = read().stages
    assert rules.running
    wiring.close()


def test_the_spill_is_told_in_words() -> None:
    state = SpillState(SpillMode.SPILLING, 1200, 3_400_000, 0.04, 1_700_000_000_000, None, True, AWAY)
    assert spill_text(state) == "spilling since 22:13:20 UTC: 1,200 events, 3.4 MB, 4% of its room"
    assert spill_text(replace(state, mode=SpillMode.DIRECT)) == "empty"
