"""The index made anew from the log: what is put, what is left alone, beside an indexer that goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events.call_document import CallDocument
from events.finding import AlertAnswered
from events.identity import CallId, record_id
from events.sqlite_log import SqliteLog
from events.topics import ALERT, CALL_LIFECYCLE, Key
from indexer.fold import fold
from indexer.index import CallIndex, CallQuery
from indexer.rebuild import LogRebuild, RebuildSettings, Rebuilt, covers
from indexer.sqlite_index import SqliteIndex
from indexer.worker import IndexerStage
from tests.indexer.call_records import STARTED_AT_MS, alert, awkward_records, call_id, call_records, document_of
from tests.indexer.stage_rig import StageRig
from tests.indexer.topic_of import append_all, whole_call


def rebuild(rig: StageRig, index: CallIndex, keep_days: float = 0.0, in_memory: int = 500) -> Rebuilt:
    return LogRebuild(
        lambda: SqliteLog(rig.folder / "log"), rig.sealer, index, keep_days, RebuildSettings(in_memory, 0.0)
    ).run()


def same(one: CallDocument | None, other: CallDocument | None) -> bool:
    assert one is not None
    assert other is not None
    return replace(one, revision=0) == replace(other, revision=0)


def test_an_empty_log_gives_nothing_and_leaves_the_index_alone(rig: StageRig, index: SqliteIndex) -> None:
    index.put(document_of(whole_call(1)))
    assert rebuild(rig, index) == Rebuilt(not_in_log=1)
    assert same(index.get(call_id(1)), document_of(whole_call(1)))


@pytest.mark.parametrize("in_memory", [1, 500])
def test_a_lost_index_comes_back_whole(rig: StageRig, index: SqliteIndex, in_memory: int) -> None:
    calls = [whole_call(number) for number in range(1, 8)]
    for turn in range(max(map(len, calls))):
        append_all(rig, [call[turn] for call in calls if turn < len(call)])
    assert rebuild(rig, index, in_memory=in_memory) == Rebuilt(written=7)
    for number in range(1, 8):
        assert same(index.get(call_id(number)), document_of(whole_call(number)))
    assert rebuild(rig, index) == Rebuilt(unchanged=7)


def test_a_document_that_does_not_follow_from_its_records_is_replaced(rig: StageRig, index: SqliteIndex) -> None:
    append_all(rig, whole_call(1))
    right = document_of(whole_call(1))
    index.put(replace(right, from_uri="sip:nobody@example", revision=99))
    assert rebuild(rig, index) == Rebuilt(written=1)
    found = index.get(call_id(1))
    assert same(found, right)
    assert found is not None
    assert found.revision == 100


def test_what_the_log_no_longer_has_is_kept(rig: StageRig, index: SqliteIndex) -> None:
    records = whole_call(1)
    trimmed, left = records[:6], records[6:]
    append_all(rig, left)
    index.put(document_of(records))
    index.put(document_of(whole_call(2)))
    assert rebuild(rig, index) == Rebuilt(kept=1, not_in_log=1)
    assert trimmed
    assert index.get(call_id(1)) == document_of(records)
    assert index.get(call_id(2)) == document_of(whole_call(2))


def test_a_forgotten_call_stays_forgotten(rig: StageRig, index: SqliteIndex) -> None:
    append_all(rig, whole_call(1))
    append_all(rig, whole_call(2))
    append_all(rig, whole_call(3))
    index.put(document_of(whole_call(1)))
    index.forget(call_id(1))
    rig.keys.destroy(call_id(2), Key.RECORD)
    assert rebuild(rig, index) == Rebuilt(written=1, forgotten=2)
    assert index.is_forgotten(call_id(1))
    assert index.get(call_id(1)) is None
    assert index.get(call_id(2)) is None
    assert index.search(CallQuery()).total == 1


def test_a_call_older_than_the_index_keeps_does_not_come_back(rig: StageRig, index: SqliteIndex) -> None:
    day_ms = 86_400_000
    old = call_records(call_id(1), [(0, "hello")], rig.clock.now_ms() - 32 * day_ms)
    young = call_records(call_id(2), [(0, "hello")], rig.clock.now_ms() - 30 * day_ms)
    append_all(rig, old)
    append_all(rig, young)
    made = LogRebuild(
        lambda: SqliteLog(rig.folder / "log"),
        rig.sealer,
        index,
        31.0,
        RebuildSettings(patience_s=0.0),
        clock=rig.clock,
    ).run()
    assert made == Rebuilt(written=1, expired=1)
    assert index.get(call_id(1)) is None


class _Busy:
    """An index to which a rival writes between every comparison and put, the first few times."""

    def __init__(self, index: SqliteIndex, rival: list[CallDocument]) -> None:
        self._index = index
        self._rival = rival

    def get(self, call: CallId) -> CallDocument | None:
        found = self._index.get(call)
        if self._rival:
            self._index.put(self._rival.pop(0))
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)


def test_a_put_by_the_indexer_meanwhile_is_not_undone(rig: StageRig, index: SqliteIndex) -> None:
    """The rival knows of an answer that came to the log behind what the rebuild had read."""
    records = whole_call(1)
    raised = next(item for item in document_of(records).alerts)
    answered = AlertAnswered(record_id(call_id(1), "answered", 1), raised.id, call_id(1), "sue", STARTED_AT_MS)
    append_all(rig, records)
    newer = fold(document_of(records), answered)

    class Late(_Busy):
        def put_all(self, documents):  # type: ignore[no-untyped-def]
            outcomes = self._index.put_all(documents)
            if answered not in rig.records(ALERT):
                append_all(rig, [answered])
            return outcomes

    made = rebuild(rig, Late(index, [newer]))  # type: ignore[arg-type]
    assert (made.failed, made.kept) == (0, 0)
    assert same(index.get(call_id(1)), newer)


def test_the_indexer_goes_on_behind_a_rebuild(rig: StageRig, index: SqliteIndex) -> None:
    records = whole_call(1)
    append_all(rig, records[:8])
    stage = IndexerStage(index, clock=rig.clock)
    loop = rig.start(stage)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    index.put(replace(document_of(records[:8]), revision=50, external_id="wrong"))
    assert rebuild(rig, index) == Rebuilt(written=1)
    append_all(rig, records[8:])
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    assert same(index.get(call_id(1)), document_of(records))


def test_a_rebuild_leaves_no_group_in_the_log(rig: StageRig, index: SqliteIndex) -> None:
    append_all(rig, whole_call(1))
    rebuild(rig, index)
    assert [folder.name for folder in (rig.folder / "log" / "groups").iterdir() if folder.is_dir()] == []


def test_unreadable_records_are_counted_and_the_rest_is_used(rig: StageRig, index: SqliteIndex) -> None:
    append_all(rig, whole_call(1))
    event = rig.sealer.event(CALL_LIFECYCLE, whole_call(1)[0])
    log = SqliteLog(rig.folder / "log")
    log.append(CALL_LIFECYCLE, [replace(event, value=event.value[:-1] + b"x")])
    log.close()
    assert rebuild(rig, index) == Rebuilt(written=1, unreadable=1)


def test_a_document_covers_itself_and_what_came_before_it_only() -> None:
    document = None
    steps = []
    for record in awkward_records(call_id(1)):
        document = fold(document, record)
        steps.append(document)
    assert all(covers(steps[-1], step) for step in steps)
    for number, step in enumerate(steps):
        assert covers(step, step)
        for later in steps[number + 1 :]:
            lost = len(later.segments) > len(step.segments) or len(later.answers) > len(step.answers)
            assert not (lost and covers(step, later))


def test_every_part_of_a_document_counts_in_covering() -> None:
    whole = document_of([*whole_call(1), *awkward_records(call_id(1))])
    for less in (
        {"segments": whole.segments[1:]},
        {"segments": (replace(whole.segments[0], revision=-1), *whole.segments[1:])},
        {"findings": whole.findings[1:]},
        {"alerts": whole.alerts[1:]},
        {"answers": ()},
        {"deliveries": ()},
        {"recording": None},
        {"transcript_ended": False},
        {"started_at_ms": 0},
        {"ended_at_ms": None},
        {"interruptions": ()},
        {"legs": whole.legs[1:]},
        {"legs": (replace(whole.legs[0], holds=()), *whole.legs[1:])},
        {"legs": (replace(whole.legs[0], transcribed_to_ms=0), *whole.legs[1:])},
        {"legs": (replace(whole.legs[0], encoding=""), *whole.legs[1:])},
    ):
        assert not covers(replace(whole, **less), whole), less  # type: ignore[arg-type]
    assert alert(whole.findings[0]).finding == whole.findings[0].id
