"""The audit process: checkpoints when due, entries and checkpoints on the topic, silence announced."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from compliance.audit.audit_log import AuditFilter
from compliance.audit.audit_stage import AuditStage
from compliance.audit.checkpoint import open_checkpoint
from compliance.audit.export import export_lines
from compliance.audit.verify import verify_lines
from events.audit_entry import Action, AuditCheckpoint, AuditEntry
from events.codec import Record
from events.errors import LogUnavailable, StopConsumer
from events.key_store import KeyStore, MasterKey
from events.log import Event, Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import AUDIT, Topic
from tests.builders.audit_logs import MadeLog, made_entry


class Site:
    def __init__(self, folder: Path) -> None:
        self.made = MadeLog(folder / "audit")
        self.events = SqliteLog(folder / "log")
        self.sealer = Sealer(KeyStore(folder / "keys", MasterKey(bytes(32))), self.made.clock)

    def stage(self) -> AuditStage:
        return AuditStage(self.made.log, self.made.public, self.events, self.sealer, self.made.clock)

    def published(self) -> list[Record]:
        group = Group("auditors")
        records = []
        while deliveries := self.events.read([AUDIT], group, 100, 0.5):
            records += [self.sealer.record(AUDIT, delivery.event) for delivery in deliveries]
        return records


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_entries_and_checkpoints_reach_the_topic_in_order(site: Site) -> None:
    site.made.grow(4, every=2)
    stage = site.stage()
    assert stage.publish() == 6
    assert stage.publish() == 0
    site.made.grow(1, every=9)
    assert site.stage().publish() == 1, "a second run goes on where the first one was"
    records = site.published()
    entries = [record for record in records if isinstance(record, AuditEntry)]
    checkpoints = [record for record in records if isinstance(record, AuditCheckpoint)]
    assert [entry.id for entry in entries] == [f"entry-{n}" for n in range(5)]
    assert [checkpoint.size for checkpoint in checkpoints] == [2, 4]
    assert open_checkpoint(checkpoints[1].note, site.made.public).root.hex() == checkpoints[1].root_sha256


def test_what_could_not_be_published_is_published_later_under_the_same_ids(site: Site) -> None:
    class Away:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def append(self, topic: Topic, events: list[Event]) -> None:
            self.events += events
            raise LogUnavailable("The disk is full.")

    site.made.grow(3)
    away = Away()
    AuditStage(site.made.log, site.made.public, away, site.sealer, site.made.clock).step()  # type: ignore[arg-type]
    site.stage().step()
    ids = [record.id for record in site.published() if isinstance(record, AuditEntry)]
    assert ids == [event.id for event in away.events] == ["entry-0", "entry-1", "entry-2"]


def test_checkpoints_come_with_entries_and_with_the_heartbeat(site: Site) -> None:
    log, clock, stage = site.made.log, site.made.clock, site.stage()
    stage.step()
    assert log.last_checkpoint_at() == (0, clock.now_ms())
    log.append(made_entry(0, clock))
    stage.step()
    assert log.last_checkpoint_at()[0] == 0, "not due yet"  # type: ignore[index]
    clock.advance(log.settings.checkpoint_every_ms)
    stage.step()
    assert log.last_checkpoint_at() == (1, clock.now_ms())
    clock.advance(log.settings.checkpoint_every_ms)
    stage.step()
    assert len(log.checkpoint_notes()) == 2, "nothing new, no checkpoint"
    clock.advance(log.settings.heartbeat_ms)
    stage.step()
    assert len(log.checkpoint_notes()) == 3


def _run_once(site: Site) -> None:
    stop = threading.Event()
    stop.set()
    site.stage().run(stop)


def test_starts_and_stops_are_entries_and_downtime_is_told_not_hidden(site: Site) -> None:
    _run_once(site)
    site.made.clock.advance(7 * 86_400_000)
    site.made.grow(1)  # written by a command while the stage was stopped
    _run_once(site)
    site.made.clock.advance(5 * site.made.log.settings.heartbeat_ms)
    site.stage()._say(Action.ENGINE_STARTED, "")  # as by a run that was killed
    site.made.clock.advance(1)
    _run_once(site)
    reasons = [e.entry.reason for e in site.made.log.page(AuditFilter(action=Action.ENGINE_STARTED), None, 9)][
        ::-1
    ]
    assert reasons[0] == "First start of this log."
    assert reasons[1].endswith("before an orderly stop.")
    assert reasons[3].endswith("before a stop that was not orderly.")
    found = verify_lines(export_lines(site.made.log, site.made.public), site.made.public)
    assert found.ok
    assert len(found.notices) == 2


def test_a_log_that_was_changed_is_not_signed_by_a_start(site: Site) -> None:
    site.made.grow(5)
    site.made.log._db.execute("DROP TRIGGER entry_no_delete")
    site.made.log._db.execute("DELETE FROM entry WHERE idx = 2")
    with pytest.raises(StopConsumer, match="Entry 2 is missing"):
        _run_once(site)
