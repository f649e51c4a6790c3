"""The audit log: durable, serialised over processes, written once."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.audit.audit_log import AuditFilter, AuditLog, AuditSettings, AuditUnavailable
from compliance.audit.checkpoint import (
    PUBLIC_KEY_FILE,
    SIGNING_KEY_FILE,
    CheckpointRefused,
    SigningKey,
    open_checkpoint,
    parse_public_key,
    read_checkpoint,
    read_public_key,
)
from compliance.audit.leaf import LeafRefused, LoggedEntry, decode_leaf, encode_leaf
from compliance.audit.merkle import check_consistency, check_inclusion, leaf_hash, root_of
from compliance.audit.recorder import AuditRecorder
from events.audit_entry import Action, AuditEntry, Outcome
from events.clock import ManualClock
from events.errors import SealBroken, StopConsumer
from events.metrics import AUDIT_REFUSED, counted
from tests.builders.audit_logs import MadeLog, made_entry


def test_entries_come_back_with_proofs_at_every_size(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=13)
    leaves = [leaf for _, leaf in made.log.leaves(0, made.log.size)]
    assert [decode_leaf(leaf).entry.id for leaf in leaves] == [f"entry-{n}" for n in range(13)]
    for size in range(1, 14):
        root = made.log.root_at(size)
        assert root == root_of(leaves[:size])
        for index in range(size):
            check_inclusion(leaf_hash(leaves[index]), index, size, made.log.inclusion_proof(index, size), root)
        check_consistency(size, 13, made.log.consistency_proof(size, 13), root, made.log.root_at(13))


def test_delivering_an_entry_twice_records_it_once(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=3)
    again = made_entry(1, ManualClock(made.clock.now_ms() - 2_000))
    assert made.log.append(again) == 1
    assert made.log.size == 3
    with pytest.raises(ValueError, match="id of another entry"):
        made.log.append(made_entry(1, made.clock, actor="somebody else"))


def _append_many(folder: str, writer: int, entries: int) -> None:
    log = AuditLog(Path(folder), settings=AuditSettings(busy_timeout_ms=60_000))
    for number in range(entries):
        log.append(made_entry(number, ManualClock(), id=f"{writer}-{number}"))


def test_processes_append_one_after_the_other(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(str(tmp_path), w, 40)) for w in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    leaves = [leaf for _, leaf in log.leaves(0, log.size)]
    entries = [decode_leaf(leaf) for leaf in leaves]
    assert [entry.index for entry in entries] == list(range(120))
    for writer_number in range(3):
        mine = [e.entry.id for e in entries if e.entry.id.startswith(f"{writer_number}-")]
        assert mine == [f"{writer_number}-{n}" for n in range(40)]
    assert log.root_at(120) == root_of(leaves)
    log.check()


def test_a_log_that_cannot_be_written_refuses_and_counts(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=1)
    blocker = sqlite3.connect(tmp_path / "audit.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(AuditUnavailable, match="cannot be used now"):
            AuditLog(tmp_path, settings=AuditSettings(busy_timeout_ms=1))
    finally:
        blocker.execute("ROLLBACK")
    impatient = AuditLog(tmp_path, settings=AuditSettings(busy_timeout_ms=1), clock=made.clock)
    recorder = AuditRecorder(impatient, bytes(32), "console", made.clock)
    blocker.execute("BEGIN IMMEDIATE")
    before = counted(AUDIT_REFUSED)
    with pytest.raises(AuditUnavailable):
        recorder.record("olga", "officer", Action.SEARCH, "index")
    assert counted(AUDIT_REFUSED) == before + 1
    blocker.execute("ROLLBACK")
    assert recorder.record("olga", "officer", Action.SEARCH, "index") == 1


def test_changes_of_the_file_are_refused(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=6)
    other = sqlite3.connect(tmp_path / "audit.sqlite", isolation_level=None)
    for statement in ("DELETE FROM entry WHERE idx = 5", "UPDATE node SET hash = x'00'", "DELETE FROM checkpoint"):
        with pytest.raises(sqlite3.IntegrityError, match="written once"):
            other.execute(statement)
    other.execute("DROP TRIGGER entry_no_delete")
    other.execute("DELETE FROM entry WHERE idx >= 4")
    with pytest.raises(StopConsumer, match="does not extend"):
        made.log.add_checkpoint()
    with pytest.raises(StopConsumer):
        made.log.check()


def test_a_changed_entry_is_not_signed_again(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=6)
    made.log.check()
    other = sqlite3.connect(tmp_path / "audit.sqlite", isolation_level=None)
    other.execute("DROP TRIGGER entry_no_update")
    other.execute("UPDATE entry SET leaf = replace(leaf, 'olga', 'omar') WHERE idx = 2")
    with pytest.raises(StopConsumer, match="do not hash"):
        made.log.check()


def test_filters_and_pages(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=12)
    searches = AuditFilter(action=Action.SEARCH, actor="olga")
    assert [e.index for e in made.log.page(searches, None, 10)] == [6, 0]
    assert made.log.matching(searches) == 2
    first = made.log.page(AuditFilter(), None, 5)
    assert [e.index for e in first] == [11, 10, 9, 8, 7]
    assert [e.index for e in made.log.page(AuditFilter(), first[-1].index, 5)] == [6, 5, 4, 3, 2]
    start = first[-1].entry.at_ms
    assert made.log.matching(AuditFilter(from_ms=start)) == 5
    assert made.log.matching(AuditFilter(to_ms=start)) == 7
    assert made.log.actors() == ["olga", "omar"]
    assert made.log.get(3).entry.id == "entry-3"  # type: ignore[union-attr]
    assert made.log.get(99) is None


def test_keys_are_made_once_and_kept_private(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path)
    assert SigningKey.load_or_create(tmp_path).public == key.public
    assert stat.S_IMODE((tmp_path / SIGNING_KEY_FILE).stat().st_mode) == 0o600
    assert read_public_key(tmp_path / PUBLIC_KEY_FILE) == key.public
    assert parse_public_key(key.public.text) == key.public
    (tmp_path / PUBLIC_KEY_FILE).write_text(SigningKey.generate().public.text)
    with pytest.raises(CheckpointRefused, match="a key was exchanged"):
        SigningKey.load_or_create(tmp_path)


@pytest.mark.parametrize("text", ["", "a+b", "name+00000000+AAAA", "name+zz+!!!!"])
def test_broken_public_keys_are_refused(text: str) -> None:
    with pytest.raises(CheckpointRefused, match="public key"):
        parse_public_key(text)


def test_checkpoints_are_signed_notes(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=7)
    checkpoint = made.log.add_checkpoint()
    lines = checkpoint.note.split("\n")
    assert lines[0] == made.public.name
    assert lines[1] == "7"
    assert lines[5] == ""
    assert lines[6].startswith(f"— {made.public.name} ")
    assert open_checkpoint(checkpoint.note, made.public) == checkpoint
    with pytest.raises(CheckpointRefused, match="changed after"):
        open_checkpoint(checkpoint.note.replace("\n7\n", "\n8\n"), made.public)
    with pytest.raises(CheckpointRefused, match="another key"):
        open_checkpoint(checkpoint.note, SigningKey.generate().public)
    with pytest.raises(CheckpointRefused, match="no signature"):
        open_checkpoint("nothing of the kind", made.public)


def test_checkpoints_go_into_the_write_once_folder_when_due(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=10, every=1)
    (first,) = made.log.kept.paths()
    assert read_checkpoint(first, made.public).size == 1
    assert stat.S_IMODE(first.stat().st_mode) == 0o444
    made.clock.advance(made.log.settings.keep_every_ms)
    made.log.add_checkpoint()
    assert [read_checkpoint(path, made.public).size for path in made.log.kept.paths()] == [1, 10]


def test_details_are_sealed_and_bound_to_their_entry(tmp_path: Path) -> None:
    made = MadeLog(tmp_path)
    recorder = AuditRecorder(made.log, bytes(range(32)), "console", made.clock)
    recorder.record("olga", "officer", Action.SEARCH, "index", detail="my card is \ud800 secret")
    recorder.record("olga", "officer", Action.SEARCH, "index", detail="other")
    one, two = made.log.page(AuditFilter(), None, 2)[::-1]
    assert b"secret" not in b"".join(leaf for _, leaf in made.log.leaves(0, 2))
    assert b"secret" not in (tmp_path / "audit.sqlite").read_bytes()
    assert recorder.open_detail(one) == "my card is ? secret"
    stolen = LoggedEntry(
        two.index, two.appended_ms, made_entry(0, made.clock, sealed_detail=one.entry.sealed_detail)
    )
    with pytest.raises(SealBroken):
        recorder.open_detail(stolen)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        AuditEntry,
        id=TEXTS,
        at_ms=st.integers(0, 1 << 50),
        actor=TEXTS,
        actor_role=TEXTS,
        action=st.sampled_from(Action),
        subject=TEXTS,
        outcome=st.sampled_from(Outcome),
        reason=TEXTS,
        via=TEXTS,
        address=TEXTS,
        sealed_detail=st.binary(max_size=20),
    ),
    st.integers(0, 1 << 50),
)
def test_leaves_have_one_reading_and_one_line(entry: AuditEntry, index: int) -> None:
    logged = LoggedEntry(index, 1_700_000_000_000, entry)
    leaf = encode_leaf(logged)
    assert decode_leaf(leaf) == logged
    assert b"\n" not in leaf
    assert leaf.startswith(b'{"appended_ms"')
    with pytest.raises(LeafRefused, match="canonical"):
        decode_leaf(leaf.replace(b":", b": ", 1))


def test_settings_check_their_relation() -> None:
    with pytest.raises(ValueError, match="heartbeat_ms"):
        AuditSettings(checkpoint_every_ms=10, heartbeat_ms=5)
