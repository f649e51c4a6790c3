"""Old calls leave the index by the indexer's own job; documents that the index refuses are held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from events.call_document import CallDocument
from events.clock import ManualClock
from events.errors import RetryLater
from events.identity import CallId
from indexer.index import CallQuery, PutOutcome
from indexer.retention import IndexRetention
from indexer.sqlite_index import SqliteIndex
from indexer.worker import IndexerSettings, IndexerStage
from tests.indexer.call_records import call_id, call_records, document_of
from tests.indexer.stage_rig import StageRig
from tests.indexer.topic_of import topic_of

DAY_MS = 86_400_000
KEEP = IndexerSettings(keep_days=365, expire_every_s=3_600)


def put_call(index: SqliteIndex, number: int, started_at_ms: int) -> None:
    index.put(document_of(call_records(call_id(number), [(0, f"hello call{number}")], started_at_ms)))


def test_calls_older_than_asked_leave_and_no_others(rig: StageRig, index: SqliteIndex) -> None:
    now_ms = rig.clock.now_ms()
    for number, days in ((1, 366), (2, 364), (3, 800)):
        put_call(index, number, now_ms - days * DAY_MS)
    loop = rig.start(IndexerStage(index, KEEP, rig.clock))
    loop.step()
    assert [hit.summary.call for hit in index.search(CallQuery()).hits] == [call_id(2)]
    assert index.search(CallQuery("call1 OR call3")).total == 0
    assert not index.is_forgotten(call_id(1))


def test_a_call_grows_too_old_while_the_indexer_runs(rig: StageRig, index: SqliteIndex) -> None:
    put_call(index, 1, rig.clock.now_ms() - 364 * DAY_MS)
    loop = rig.start(IndexerStage(index, KEEP, rig.clock))
    loop.step()
    assert index.get(call_id(1)) is not None
    rig.clock.advance(2 * DAY_MS)
    loop.step()
    assert index.get(call_id(1)) is None


def test_without_an_age_nothing_leaves(rig: StageRig, index: SqliteIndex) -> None:
    put_call(index, 1, 1)
    rig.start(IndexerStage(index, clock=rig.clock)).step()
    assert index.get(call_id(1)) is not None


def test_many_old_calls_leave_in_bounded_steps_with_work_in_between(rig: StageRig, index: SqliteIndex) -> None:
    old_ms = rig.clock.now_ms() - 400 * DAY_MS
    index.put_all([(document_of(call_records(call_id(n), [(0, "a")], old_ms)), 0) for n in range(1, 501)])
    loop = rig.start(IndexerStage(index, KEEP, rig.clock))
    counts = []
    for _ in range(4):
        loop.step()
        counts.append(index.status().calls)
    assert counts == [300, 100, 0, 0]


def test_a_call_whose_start_is_not_known_is_not_old(index: SqliteIndex) -> None:
    put_call(index, 1, 0)
    assert index.expire(10**15) == 0


def test_an_index_that_is_away_is_asked_again_at_the_next_look() -> None:
    clock = ManualClock()
    asked: list[int] = []

    class Away:
        def expire(self, before_ms: int) -> int:
            asked.append(before_ms)
            if len(asked) == 1:
                raise RetryLater("Away.")
            return 0

    retention = IndexRetention(Away(), 31, 60, clock)  # type: ignore[arg-type]
    assert (retention.step(), retention.step(), len(asked)) == (0, 0, 1)
    clock.advance(60_000)
    assert (retention.step(), len(asked)) == (0, 2)
    assert asked[0] == 1_700_000_000_000 - 31 * DAY_MS


@pytest.mark.parametrize(
    "wrong", [{"keep_days": 30}, {"keep_days": -1}, {"expire_every_s": 0}, {"refused_again_s": 0}]
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        IndexerSettings(**wrong)


class _Picky:
    """An index whose mapping does not fit one call's document until it is mended."""

    def __init__(self, index: SqliteIndex, call: CallId) -> None:
        self._index = index
        self._call = call
        self.mended = False
        self.refused = 0

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        outcomes = []
        for document, onto in documents:
            if document.call == self._call and not self.mended:
                outcomes.append(PutOutcome.REFUSED)
                self.refused += 1
            else:
                outcomes += self._index.put_all([(document, onto)])
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


def send(rig: StageRig, number: int) -> None:
    for record in call_records(call_id(number), [(0, f"hello call{number}"), (1, "hi")]):
        rig.append(topic_of(record), [record])


def test_a_refused_document_waits_for_a_mended_mapping(rig: StageRig, index: SqliteIndex) -> None:
    picky = _Picky(index, call_id(1))
    stage = IndexerStage(picky, clock=rig.clock)  # type: ignore[arg-type]
    loop = rig.start(stage)
    send(rig, 1)
    send(rig, 2)
    rig.step_until(loop, lambda: index.get(call_id(2)) is not None and picky.refused > 0)
    for _ in range(20):
        loop.step()
    assert picky.refused <= 3, "It is put again at each batch."
    assert rig.lag(stage) > 0, "Its records were committed although it is not in the index."
    picky.mended = True
    rig.clock.advance(30_000)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    found = index.get(call_id(1))
    assert found is not None
    assert [segment.text for segment in found.segments] == ["hello call1", "hi"]


def test_a_document_that_is_refused_for_ever_does_not_hold_up_others(rig: StageRig, index: SqliteIndex) -> None:
    picky = _Picky(index, call_id(1))
    stage = IndexerStage(picky, IndexerSettings(refused_again_s=10, refused_for_s=60), rig.clock)  # type: ignore[arg-type]
    loop = rig.start(stage)
    send(rig, 1)
    for _ in range(20):
        loop.step()
        rig.clock.advance(5_000)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    assert 4 <= picky.refused <= 10
    send(rig, 2)
    rig.step_until(loop, lambda: rig.lag(stage) == 0)
    assert index.get(call_id(2)) is not None
