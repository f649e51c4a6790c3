"""The indexer stage on a real log and index: crashes, rivals, forgotten calls, progress."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events.transcript import LegProgress
from indexer.fold import fold
from indexer.index import CallQuery, PutOutcome
from indexer.sqlite_index import IndexUnavailable, SqliteIndex
from indexer.worker import IndexerSettings, IndexerStage
from tests.indexer.call_records import call_id, call_records, document_of, finding
from tests.indexer.stage_rig import StageRig
from tests.indexer.topic_of import append_all, whole_call

CALL = call_id(1)


def test_records_of_five_topics_become_one_document(rig: StageRig, index: SqliteIndex) -> None:
    records = whole_call(1)
    append_all(rig, records)
    stage = IndexerStage(index, clock=rig.clock)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    document = index.get(CALL)
    assert document is not None
    assert replace(document, revision=0) == replace(document_of(records), revision=0)
    assert index.search(CallQuery("call1")).total == 1


@pytest.mark.parametrize("batches_before_crash", [1, 2, 3, 5])
def test_a_crash_loses_and_doubles_nothing(rig: StageRig, index: SqliteIndex, batches_before_crash: int) -> None:
    for number in (1, 2, 3):
        append_all(rig, whole_call(number))
    for _ in range(3):
        loop = rig.start(IndexerStage(index, clock=rig.clock), most_records=7)
        for _ in range(batches_before_crash):
            loop.step()
        rig.crash()
    stage = IndexerStage(index, clock=rig.clock)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    for number in (1, 2, 3):
        document = index.get(call_id(number))
        assert document is not None
        assert replace(document, revision=0) == replace(document_of(whole_call(number)), revision=0)


def test_positions_wait_for_the_put(rig: StageRig, index: SqliteIndex) -> None:
    stage = IndexerStage(index, IndexerSettings(progress_every_s=60), rig.clock)
    append_all(rig, [LegProgress(CALL, 0, call_records(CALL, [(0, "a")])[3].role, 800)])  # type: ignore[union-attr]
    loop = rig.start(stage)
    for _ in range(5):
        loop.step()
    assert (index.get(CALL), rig.lag(stage)) == (None, 1)
    rig.clock.advance(60_000)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    document = index.get(CALL)
    assert document is not None
    assert document.duration_ms == 800


def test_words_do_not_wait_for_progress(rig: StageRig, index: SqliteIndex) -> None:
    stage = IndexerStage(index, IndexerSettings(progress_every_s=3_600), rig.clock)
    _, _, _, segment, progress, *_ = call_records(CALL, [(0, "hello")])
    append_all(rig, [progress, segment])
    rig.step_until(rig.start(stage), lambda: index.search(CallQuery("hello")).total == 1, most=10)


def test_two_indexers_on_one_call_lose_nothing(rig: StageRig, index: SqliteIndex) -> None:
    """Topics are read independently, so one member may have a call's words and another its findings."""
    records = whole_call(1)
    stages = [IndexerStage(index, clock=rig.clock), IndexerStage(index, clock=rig.clock)]
    loops = [rig.start(stage, most_records=2) for stage in stages]
    for record in records:
        append_all(rig, [record])
        for loop in loops:
            loop.step()
        rig.clock.advance(300)
    rig.step_until(loops[0], lambda: loops[1].step() is None and rig.lag(stages[0]) == 0)  # type: ignore[func-returns-value]
    document = index.get(CALL)
    assert document is not None
    assert replace(document, revision=0) == replace(document_of(records), revision=0)


def test_a_rivals_newer_document_is_folded_onto(rig: StageRig, index: SqliteIndex) -> None:
    records = whole_call(1)
    append_all(rig, records[:4])
    stage = IndexerStage(index, clock=rig.clock)
    loop = rig.start(stage)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    theirs = index.get(CALL)
    assert theirs is not None
    for at_ms in (1, 2, 3):
        theirs = fold(theirs, finding(CALL, "RIVAL", at_ms))
    assert index.put(theirs) is PutOutcome.STORED
    append_all(rig, records[4:])
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    document = index.get(CALL)
    assert document is not None
    assert [found.rule for found in document.findings].count("RIVAL") == 3
    assert document.segments == document_of(records).segments


def test_a_late_record_does_not_bring_back_a_forgotten_call(rig: StageRig, index: SqliteIndex) -> None:
    records = whole_call(1)
    append_all(rig, records[:6])
    stage = IndexerStage(index, clock=rig.clock)
    loop = rig.start(stage)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    index.forget(CALL)
    append_all(rig, records[6:])
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    assert index.get(CALL) is None
    assert index.search(CallQuery()).total == 0


def test_few_documents_in_memory_are_enough(rig: StageRig, index: SqliteIndex) -> None:
    for number in range(1, 9):
        append_all(rig, whole_call(number)[:5])
    for number in range(1, 9):
        append_all(rig, whole_call(number)[5:])
    stage = IndexerStage(index, IndexerSettings(cached_calls=1), rig.clock)
    rig.step_until(rig.start(stage, most_records=5), lambda: rig.lag(stage) == 0)
    for number in range(1, 9):
        document = index.get(call_id(number))
        assert document is not None
        assert document.segments == document_of(whole_call(number)).segments


def test_revoked_partitions_are_forgotten_and_others_kept(rig: StageRig, index: SqliteIndex) -> None:
    stage = IndexerStage(index, IndexerSettings(progress_every_s=3_600), rig.clock)
    append_all(rig, [LegProgress(CALL, 0, whole_call(1)[3].role, 800)])  # type: ignore[union-attr]
    loop = rig.start(stage)
    for _ in range(5):
        loop.step()
    held = [partition for partition in loop._assigned if stage.unfinished(partition) is not None]
    assert len(held) == 1
    stage.revoked(loop._assigned - set(held))
    assert stage.unfinished(held[0]) is not None
    stage.revoked(frozenset(held))
    assert stage.unfinished(held[0]) is None


def test_a_full_disk_holds_positions_and_loses_nothing(rig: StageRig, index: SqliteIndex) -> None:
    for number in range(1, 6):
        append_all(rig, whole_call(number))
    connection = index._connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(IndexUnavailable, match="full"):
        index.put(document_of(call_records(call_id(99), [(0, f"word{number}") for number in range(2_000)])))
    stage = IndexerStage(index, clock=rig.clock)
    loop = rig.start(stage)
    for _ in range(10):
        loop.step()
        rig.clock.advance(200)
    assert rig.lag(stage) > 0
    connection.execute("PRAGMA max_page_count = 1000000")
    rig.clock.advance(10_000)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    for number in range(1, 6):
        document = index.get(call_id(number))
        assert document is not None
        assert document.segments == document_of(whole_call(number)).segments
