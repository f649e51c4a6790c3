"""The rules as a stage on a real log: crashes, replays from the middle, revoked partitions, erased calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.finished_calls import FILE, FinishedCalls
from compliance.rules.rule import RequiredBy
from compliance.rules.rulebook import load_rulebooks
from compliance.rules.stage import RulesStage
from events.clock import ManualClock
from events.consumer import OpenCallsSettings
from events.errors import StopConsumer
from events.finding import Finding, FindingKind
from events.identity import CallId, RecordId, Role
from events.log import Event, Group, TopicPartition
from events.sqlite_log import SqliteLog
from events.topics import FINDING, TRANSCRIPT_REDACTED, Key
from events.transcript import CallTranscriptEnded, LegProgress, LegTranscriptEnded, RedactedTranscriptRecord
from tests.compliance.judged_calls import book, said, segment
from tests.indexer.stage_rig import StageRig

CONSENT = RequiredBy(30_000, Role.AGENT, said("recorded"))
BOOK = book(CONSENT, said("risk free"))


@pytest.fixture
def colliding(tmp_path: Path) -> tuple[CallId, CallId]:
    """Two calls that share a partition, so that their events lie between each other."""
    log = SqliteLog(tmp_path / "partitions")
    calls = [CallId(f"{number:032x}") for number in range(TRANSCRIPT_REDACTED.partitions + 1)]
    log.append(TRANSCRIPT_REDACTED, [Event(RecordId(call), call, "leg_progress", 0, b"") for call in calls])
    seen: dict[TopicPartition, CallId] = {}
    pair = None
    while pair is None:
        for delivery in log.read([TRANSCRIPT_REDACTED], Group("test"), 100, 0.1):
            call = CallId(delivery.event.key)
            if delivery.partition in seen:
                pair = seen[delivery.partition], call
            seen[delivery.partition] = call
    log.close()
    return pair


def first_half(call: CallId) -> list[RedactedTranscriptRecord]:
    return [
        LegProgress(call, 1, Role.CUSTOMER, 500),
        segment(0, 0, "this call is recorded", call=call),
        LegProgress(call, 0, Role.AGENT, 10_000),
    ]


def second_half(call: CallId) -> list[RedactedTranscriptRecord]:
    return [
        segment(0, 40_000, "it is risk free", call=call),
        LegProgress(call, 0, Role.AGENT, 50_000),
        LegTranscriptEnded(call, 0, Role.AGENT, 50_000),
        LegTranscriptEnded(call, 1, Role.CUSTOMER, 50_000),
        CallTranscriptEnded(call, (0, 1), 50_000),
    ]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StageRig]:
    rig = StageRig(tmp_path)
    yield rig
    rig.close()


def stage_of(rig: StageRig, open_calls: OpenCallsSettings | None = None) -> RulesStage:
    return RulesStage([BOOK], FinishedCalls(rig.folder / "state", rig.clock), open_calls=open_calls)


def found(rig: StageRig) -> list[tuple[CallId, str]]:
    records = rig.records(FINDING)
    assert all(isinstance(record, Finding) for record in records)
    return sorted({(record.call, record.id) for record in records if isinstance(record, Finding)})


def test_a_call_is_judged(rig: StageRig) -> None:
    call = CallId("a" * 32)
    rig.append(TRANSCRIPT_REDACTED, [*first_half(call), *second_half(call)])
    stage = stage_of(rig)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    assert found(rig) == [(call, f"{call}:finding:R-2:0:{40_000 + 800}")]


def test_an_unfinished_call_holds_its_first_position(rig: StageRig) -> None:
    call = CallId("a" * 32)
    rig.append(TRANSCRIPT_REDACTED, first_half(call))
    stage = stage_of(rig)
    loop = rig.start(stage)
    for _ in range(5):
        loop.step()
    assert rig.lag(stage) == 3
    rig.append(TRANSCRIPT_REDACTED, second_half(call))
    rig.step_until(loop, lambda: rig.lag(stage) == 0)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_a_crash_anywhere_gives_the_same_findings(rig: StageRig, batch: int, steps: int) -> None:
    calls = [CallId(f"{number:032x}") for number in range(4)]
    for call in calls:
        rig.append(TRANSCRIPT_REDACTED, first_half(call))
    for call in calls:
        rig.append(TRANSCRIPT_REDACTED, second_half(call))
    for _ in range(3):
        loop = rig.start(stage_of(rig), most_records=batch)
        for _ in range(steps):
            loop.step()
        rig.crash()
    stage = stage_of(rig)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    assert found(rig) == [(call, f"{call}:finding:R-2:0:{40_000 + 800}") for call in calls]


def test_the_tail_of_a_finished_call_is_not_judged_alone(rig: StageRig, colliding: tuple[CallId, CallId]) -> None:
    """Its consent lies before the position where a successor goes on, its end behind: it must not seem missing."""
    finished, going_on = colliding
    rig.append(TRANSCRIPT_REDACTED, [*first_half(finished), *first_half(going_on), *second_half(finished)])
    stage = stage_of(rig)
    loop = rig.start(stage)
    rig.step_until(loop, lambda: rig.lag(stage) == 8)
    rig.crash()
    rig.append(TRANSCRIPT_REDACTED, second_half(going_on))
    successor = stage_of(rig)
    rig.step_until(rig.start(successor), lambda: rig.lag(successor) == 0)
    assert [record.kind for record in rig.records(FINDING) if isinstance(record, Finding)] == [
        FindingKind.SAID
    ] * 2


def test_a_call_that_is_never_ended_is_let_go(rig: StageRig, colliding: tuple[CallId, CallId]) -> None:
    silent, other = colliding
    rig.append(TRANSCRIPT_REDACTED, first_half(silent))
    stage = stage_of(rig, OpenCallsSettings(longest_h=2, silent_h=1))
    loop = rig.start(stage)
    loop.step()
    rig.clock.advance(3 * 3_600_000)
    rig.append(TRANSCRIPT_REDACTED, [*first_half(other), *second_half(other)])
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    rig.append(TRANSCRIPT_REDACTED, second_half(silent))
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    assert {call for call, _ in found(rig)} == {other}


def test_a_revoked_call_is_judged_by_its_next_owner(rig: StageRig) -> None:
    call = CallId("a" * 32)
    rig.append(TRANSCRIPT_REDACTED, first_half(call))
    stage = stage_of(rig)
    loop = rig.start(stage)
    for _ in range(5):
        loop.step()
    (held,) = (partition for partition in loop._assigned if stage.unfinished(partition) is not None)
    stage.revoked(frozenset({held}))
    assert stage.unfinished(held) is None
    rig.crash()
    rig.append(TRANSCRIPT_REDACTED, second_half(call))
    successor = stage_of(rig)
    rig.step_until(rig.start(successor), lambda: rig.lag(successor) == 0)
    assert len(found(rig)) == 1


def test_an_erased_call_disturbs_nothing(rig: StageRig, colliding: tuple[CallId, CallId]) -> None:
    erased, other = colliding
    rig.append(
        TRANSCRIPT_REDACTED, [*first_half(erased), *second_half(erased), *first_half(other), *second_half(other)]
    )
    rig.keys.destroy(erased, Key.RECORD)
    stage = stage_of(rig)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    assert FinishedCalls(rig.folder / "state")._connection.execute("SELECT count(*) FROM finished").fetchone() == (
        1,
    )


def test_the_shipped_rulebooks_judge(rig: StageRig) -> None:
    call = CallId("b" * 32)
    rig.append(
        TRANSCRIPT_REDACTED,
        [
            segment(0, 0, "good morning", call=call),
            segment(1, 1_500, "hello", call=call),
            segment(0, 3_000, "i have a guaranteed return for you", call=call),
            CallTranscriptEnded(call, (0, 1), 8_000),
        ],
    )
    stage = RulesStage(load_rulebooks(), FinishedCalls(rig.folder / "state"))
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    kinds = {record.rule: record.kind for record in rig.records(FINDING) if isinstance(record, Finding)}
    assert kinds == {"FIN-GUARANTEE": FindingKind.SAID, "REC-CONSENT": FindingKind.MISSING}


def test_finished_calls_are_forgotten_when_they_cannot_come_again(tmp_path: Path) -> None:
    clock = ManualClock()
    finished = FinishedCalls(tmp_path, clock)
    finished.add([CallId("1"), CallId("2")])
    clock.advance(33 * 86_400_000)
    finished.add([CallId("3")])
    assert [call in finished for call in ("1", "2", "3")] == [False, False, True]


def test_a_damaged_list_stops_the_stage(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StopConsumer, match="is damaged"):
        FinishedCalls(tmp_path)
