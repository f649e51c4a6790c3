"""Offline verification: every attack of the domain's list is caught, and an honest log is not accused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.audit.audit_log import AuditFilter, AuditLog
from compliance.audit.checkpoint import Checkpoint, open_checkpoint
from compliance.audit.export import ExportRefused, export, export_lines
from compliance.audit.leaf import LoggedEntry, decode_leaf, encode_leaf
from compliance.audit.verification import ProblemKind, Verification
from compliance.audit.verify import verify_export, verify_lines
from events.audit_entry import Action, AuditEntry, Outcome
from tests.builders.audit_logs import MadeLog, made_entry


def lines_of(made: MadeLog, only: AuditFilter | None = None) -> list[bytes]:
    return list(export_lines(made.log, made.public, only, made.clock))


def kinds(found: Verification) -> set[ProblemKind]:
    assert all(problem.text.endswith(".") and problem.text[0].isupper() for problem in found.problems)
    return {problem.kind for problem in found.problems}


def is_leaf(line: bytes) -> bool:
    return line.startswith(b'{"appended_ms"')


def last_checkpoint(made: MadeLog) -> Checkpoint:
    return open_checkpoint(made.log.checkpoint_notes()[-1], made.public)


@pytest.fixture
def made(tmp_path: Path) -> MadeLog:
    return MadeLog(tmp_path / "log", entries=23)


def test_an_honest_export_has_no_problem(made: MadeLog, tmp_path: Path) -> None:
    kept = open_checkpoint(made.log.checkpoint_notes()[1], made.public)
    path = tmp_path / "export.jsonl"
    written = export(made.log, made.public, path, clock=made.clock)
    found = verify_export(path, made.public, [kept])
    assert found.problems == ()
    assert found.notices == ()
    assert (found.size, found.entries, found.checkpoints, found.kept) == (23, 23, 5, 1)
    assert found.root == made.log.root_at(23)
    assert path.stat().st_size == written


def test_an_honest_selection_has_no_problem(made: MadeLog) -> None:
    kept = open_checkpoint(made.log.checkpoint_notes()[1], made.public)
    found = verify_lines(lines_of(made, AuditFilter(action=Action.PLAY)), made.public, [kept])
    assert found.problems == ()
    assert (found.kind, found.entries, found.size) == ("selection", 7, 23)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_flipped_bit_of_an_entry_is_caught(made: MadeLog, data: st.DataObject) -> None:
    lines = lines_of(made)
    number = data.draw(st.sampled_from([n for n, line in enumerate(lines) if is_leaf(line)]))
    line = bytearray(lines[number])
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    lines[number] = bytes(line)
    assert not verify_lines(lines, made.public).ok


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_damaged_export_is_judged_and_never_crashes_the_verifier(made: MadeLog, data: st.DataObject) -> None:
    only = data.draw(st.sampled_from([None, AuditFilter(actor="olga")]))
    whole = b"".join(lines_of(made, only))
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(start + 400, len(whole))))
    put_in = data.draw(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"null", b"[]", b"1e999", b'{"end":{}}\n', b"-1"]))
    )
    damaged = whole[:start] + put_in + whole[end:]
    found = verify_lines(damaged.splitlines(keepends=True), made.public)
    if found.ok:
        assert [line for line in damaged.splitlines() if is_leaf(line)] == [
            line for line in whole.splitlines() if is_leaf(line)
        ]


def test_a_changed_entry_is_caught_at_the_next_checkpoint(made: MadeLog) -> None:
    lines = [line.replace(b'"olga"', b'"omar"') if b'"entry-6"' in line else line for line in lines_of(made)]
    found = verify_lines(lines, made.public)
    assert kinds(found) == {ProblemKind.ROOT}
    assert "The first 10 entries" in found.problems[0].text


def test_deletion_is_caught(made: MadeLog) -> None:
    found = verify_lines([line for line in lines_of(made) if b'"entry-7"' not in line], made.public)
    assert {ProblemKind.ORDER, ProblemKind.ROOT} <= kinds(found)
    assert "Entry 7 is missing." in [problem.text for problem in found.problems]


def _renumbered(lines: list[bytes]) -> list[bytes]:
    result, index = [], 0
    for line in lines:
        if is_leaf(line):
            logged = decode_leaf(line[:-1])
            line = encode_leaf(LoggedEntry(index, logged.appended_ms, logged.entry)) + b"\n"
            index += 1
        result.append(line)
    return result


def test_deletion_with_new_numbers_is_caught(made: MadeLog) -> None:
    lines = _renumbered([line for line in lines_of(made) if b'"entry-7"' not in line])
    assert {ProblemKind.ROOT, ProblemKind.TRUNCATED} <= kinds(verify_lines(lines, made.public))


def test_reordering_is_caught(made: MadeLog) -> None:
    lines = lines_of(made)
    leaves = [n for n, line in enumerate(lines) if is_leaf(line)]
    a, b = leaves[4], leaves[5]
    lines[a], lines[b] = lines[b], lines[a]
    assert {ProblemKind.ORDER, ProblemKind.ROOT} <= kinds(verify_lines(lines, made.public))
    assert ProblemKind.ROOT in kinds(verify_lines(_renumbered(lines), made.public))


def test_duplicate_delivery_is_caught(made: MadeLog) -> None:
    lines = lines_of(made)
    leaves = [n for n, line in enumerate(lines) if is_leaf(line)]
    lines.insert(leaves[5], lines[leaves[5]])
    found = verify_lines(lines, made.public)
    assert {ProblemKind.ORDER, ProblemKind.ROOT} <= kinds(found)
    assert any("stands there already" in problem.text for problem in found.problems)


def test_a_cut_tail_is_caught_in_every_way_of_cutting(made: MadeLog) -> None:
    lines = lines_of(made)
    kept = last_checkpoint(made)
    assert ProblemKind.TRUNCATED in kinds(verify_lines(lines[:-1], made.public))
    assert ProblemKind.TRUNCATED in kinds(verify_lines(lines[:-3] + lines[-1:], made.public))
    shorter = list(export_lines(Shorter(made.log, 20), made.public, clock=made.clock))
    assert verify_lines(shorter, made.public).ok, "without a kept checkpoint nobody can tell"
    found = verify_lines(shorter, made.public, [kept])
    assert kinds(found) == {ProblemKind.TRUNCATED}
    assert "covers 23 entries, the newest one of the export 20" in found.problems[0].text


class Shorter(AuditLog):
    """The log as it was: what somebody would show who hides its newest entries."""

    def __init__(self, log: AuditLog, size: int) -> None:
        self.__dict__.update(log.__dict__)
        self._key = None
        self._shown = size

    def checkpoint_notes(self, first: int = 0) -> list[str]:
        return [note for note in super().checkpoint_notes(first) if int(note.split("\n")[1]) <= self._shown]


def test_a_fork_is_caught_against_the_kept_checkpoint(made: MadeLog, tmp_path: Path) -> None:
    fork = MadeLog(tmp_path / "fork", key=made.key)
    fork.log.append(made_entry(99, fork.clock))
    fork.entries = 1
    fork.grow(29)
    fork.log.add_checkpoint()
    kept = open_checkpoint(made.log.checkpoint_notes()[2], made.public)
    found = verify_lines(lines_of(fork), made.public, [kept])
    assert kinds(found) == {ProblemKind.FORK}
    assert verify_lines(lines_of(fork), made.public).ok, "only the kept checkpoint shows it"
    selection = verify_lines(lines_of(fork, AuditFilter(actor="olga")), made.public, [kept])
    assert ProblemKind.FORK in kinds(selection)


def test_two_signed_histories_in_one_export_are_caught(made: MadeLog, tmp_path: Path) -> None:
    fork = MadeLog(tmp_path / "fork", key=made.key)
    fork.log.append(made_entry(99, fork.clock))
    fork.grow(4, every=9)
    lines = lines_of(made)
    note = fork.log.add_checkpoint().note
    lines.insert(2, json.dumps({"checkpoint": note}).encode() + b"\n")
    assert ProblemKind.FORK in kinds(verify_lines(lines, made.public))


def test_a_stale_checkpoint_is_caught(made: MadeLog) -> None:
    kept = last_checkpoint(made)
    lines = lines_of(made)
    notes = [n for n, line in enumerate(lines) if line.startswith(b'{"checkpoint"')]
    stale = [line for n, line in enumerate(lines) if n != notes[-1]]
    assert ProblemKind.STALE in kinds(verify_lines(stale, made.public))
    made.clock.advance(5_000)
    newer = made.log.add_checkpoint()
    found = verify_lines(lines, made.public, [kept, newer])
    assert kinds(found) == {ProblemKind.STALE}


def test_a_swapped_key_is_caught(made: MadeLog, tmp_path: Path) -> None:
    other = MadeLog(tmp_path / "other", entries=23)
    found = verify_lines(lines_of(other), made.public)
    assert ProblemKind.KEY in kinds(found)
    assert any("another key" in problem.text for problem in found.problems)


def _edit(lines: list[bytes], name: bytes, change: Callable[[dict[str, object]], object]) -> list[bytes]:
    result, done = [], False
    for line in lines:
        if not done and line.startswith(b'{"' + name):
            value = json.loads(line)
            change(value[name.decode()])
            line, done = json.dumps(value).encode() + b"\n", True
        result.append(line)
    assert done
    return result


@pytest.mark.parametrize("name", [b"inclusion", b"consistency"])
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(proof=[]),
        lambda value: value.update(proof=value["proof"][1:]),
        lambda value: value.update(proof=value["proof"] + value["proof"][-1:]),
        lambda value: value.update(proof=[base64.b64encode(bytes(32)).decode(), *value["proof"][1:]]),
        lambda value: value.update(proof=["AAAA"]),
        lambda value: value.update(proof="none"),
        lambda value: value.update(size=22, new=22),
    ],
    ids=["empty", "shorter", "longer", "other hash", "short hash", "no list", "wrong size"],
)
def test_forged_proofs_are_caught(
    made: MadeLog, name: bytes, change: Callable[[dict[str, object]], object]
) -> None:
    lines = lines_of(made, AuditFilter(actor="olga"))
    assert verify_lines(lines, made.public).ok
    assert ProblemKind.PROOF in kinds(verify_lines(_edit(lines, name, change), made.public))


def test_an_entry_of_a_selection_needs_its_own_proof(made: MadeLog) -> None:
    lines = lines_of(made, AuditFilter(actor="olga"))
    proofs = [n for n, line in enumerate(lines) if line.startswith(b'{"inclusion"')]
    missing = [line for n, line in enumerate(lines) if n != proofs[2]]
    assert ProblemKind.PROOF in kinds(verify_lines(missing, made.public))
    changed = [line.replace(b'"olga"', b'"omar"') for line in lines]
    assert ProblemKind.PROOF in kinds(verify_lines(changed, made.public))


def _started(made: MadeLog) -> AuditEntry:
    now = made.clock.now_ms()
    return AuditEntry(f"start-{now}", now, "audit", "stage", Action.ENGINE_STARTED, "audit-log", Outcome.ALLOWED)


def test_a_gap_while_the_writer_was_down_is_caught_unless_announced(made: MadeLog) -> None:
    made.log.add_checkpoint()
    made.clock.advance(3 * made.log.settings.heartbeat_ms)
    made.log.append(_started(made))
    made.log.add_checkpoint()
    announced = verify_lines(lines_of(made), made.public)
    assert announced.ok
    assert "entry 23 says so" in announced.notices[0]
    made.clock.advance(3 * made.log.settings.heartbeat_ms)
    made.grow(1)
    made.log.add_checkpoint()
    hidden = verify_lines(lines_of(made), made.public)
    assert kinds(hidden) == {ProblemKind.SILENCE}
    assert "silent between" in hidden.problems[0].text


def test_clocks_that_were_wrong_are_told(made: MadeLog) -> None:
    ahead = made.clock.now_ms() + 120_000
    made.log.append(made_entry(100, made.clock, at_ms=ahead))
    made.log.append(made_entry(101, made.clock, at_ms=made.clock.now_ms() - 120_000))
    made.clock.advance(-90_000)
    made.log.append(made_entry(102, made.clock))
    made.log.add_checkpoint()
    found = verify_lines(lines_of(made), made.public)
    assert kinds(found) == {ProblemKind.CLOCK, ProblemKind.SILENCE}
    assert any("went back by 90 s at entry 25" in problem.text for problem in found.problems)
    assert any("dated 120 s after it was written" in problem.text for problem in found.problems)
    assert found.notices == ("Entry 24 was written 120 s after what it records.",)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\n", b"[]\n", b"nothing\n", b'{"callwarden_audit_export":2}\n', b"\xff\xfe\n", b"[" * 100_000],
)
def test_garbage_is_refused_in_a_sentence(made: MadeLog, garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(garbage)
    assert ProblemKind.UNREADABLE in kinds(verify_export(path, made.public))


def test_lines_in_wrong_places_are_refused(made: MadeLog) -> None:
    lines = lines_of(made)
    assert not verify_lines([*lines, b"{}\n"], made.public).ok
    assert not verify_lines([*lines[:-1], lines[1], lines[-1]], made.public).ok


def test_a_log_without_checkpoint_is_not_exported(tmp_path: Path) -> None:
    made = MadeLog(tmp_path, entries=1)
    unsigned = AuditLog(tmp_path, clock=made.clock)
    with pytest.raises(ExportRefused, match="no checkpoint yet"):
        list(export_lines(unsigned, made.public))
    assert verify_lines(lines_of(made), made.public).entries == 1
