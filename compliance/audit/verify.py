"""Offline verification of an export: nothing is needed but the file, the public key and a kept checkpoint.

What is trusted: the public key, and the checkpoint that the auditor kept himself. Nothing that the export says of
itself. Problems mean that the log cannot be relied upon; notices are what an auditor should look at.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from compliance.audit import merkle
from compliance.audit.checkpoint import Checkpoint, CheckpointRefused, PublicKey, open_checkpoint
from compliance.audit.export import SELECTION, VERSION, WHOLE
from compliance.audit.leaf import LeafRefused, LoggedEntry, decode_leaf
from compliance.audit.silence import SilenceWatch
from compliance.audit.verification import Problem, ProblemKind, Verification

_MOST_LINE_BYTES: Final = 1 << 20
_MOST_PROBLEMS: Final = 50


class _Stop(Exception):
    """Going on makes no sense."""


class _Verifier:
    def __init__(self, key: PublicKey, kept: Sequence[Checkpoint]) -> None:
        self.key = key
        self.kept = list(kept)
        self.problems: list[Problem] = []
        self.notices: list[str] = []
        self.checkpoints: list[Checkpoint] = []
        self.consistency: dict[tuple[int, int], list[bytes]] = {}
        self.watch = SilenceWatch()
        self.header: dict[str, Any] = {}
        self.tree = merkle.CompactRange()
        self.wanted: dict[int, list[Checkpoint]] = {}
        self.broken_root = False
        self.last_index = -1
        self.entries = 0
        self.ids: set[str] = set()
        self.pending: tuple[int, bytes] | None = None
        self.ended: int | None = None
        self.first_ms: int | None = None
        self.last_ms: int | None = None

    def problem(self, kind: ProblemKind, text: str) -> None:
        self.problems.append(Problem(kind, text))
        if len(self.problems) >= _MOST_PROBLEMS:
            raise _Stop

    @property
    def selection(self) -> bool:
        return self.header.get("kind") == SELECTION

    @property
    def head(self) -> Checkpoint | None:
        return max(self.checkpoints, key=lambda c: (c.size, c.at_ms), default=None)

    def run(self, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            if self.ended is not None:
                self.problem(ProblemKind.UNREADABLE, f"Line {number} comes after the end of the export.")
                break
            if number == 1:
                self._header(line)
            elif line.startswith(b'{"appended_ms"'):
                self._leaf(number, line.rstrip(b"\n"))
            else:
                self._other(number, line)
        else:
            if not self.header:
                self.problem(ProblemKind.UNREADABLE, "The export is empty.")
        self._finish()

    def _header(self, line: bytes) -> None:
        header = _object(line)
        size = header.get("size")
        if (
            header.get("callwarden_audit_export") != VERSION
            or header.get("kind") not in (WHOLE, SELECTION)
            or not isinstance(size, int)
            or size < 0
        ):
            self.problem(ProblemKind.UNREADABLE, "The file is not an audit export of this version.")
            raise _Stop
        self.header = header

    def _other(self, number: int, line: bytes) -> None:
        value = _object(line)
        if isinstance(value.get("checkpoint"), str) and self.entries == 0:
            self._checkpoint(value["checkpoint"])
        elif isinstance(value.get("consistency"), dict) and self.entries == 0:
            self._consistency(number, value["consistency"])
        elif isinstance(value.get("inclusion"), dict):
            self._inclusion(number, value["inclusion"])
        elif isinstance(value.get("end"), dict) and isinstance(value["end"].get("entries"), int):
            self.ended = value["end"]["entries"]
        else:
            self.problem(
                ProblemKind.UNREADABLE,
                f"Line {number} is not a line of an audit export, or stands in a wrong place.",
            )

    def _checkpoint(self, note: str) -> None:
        try:
            checkpoint = open_checkpoint(note, self.key)
        except CheckpointRefused as refused:
            text = str(refused)
            self.problem(ProblemKind.KEY, f"Checkpoint {len(self.checkpoints) + 1} of the export: {_lower(text)}")
            return
        self.checkpoints.append(checkpoint)
        self.wanted.setdefault(checkpoint.size, []).append(checkpoint)

    def _consistency(self, number: int, value: dict[str, Any]) -> None:
        proof = _proof(value.get("proof"))
        old, new = value.get("old"), value.get("new")
        if proof is None or not isinstance(old, int) or not isinstance(new, int):
            self.problem(ProblemKind.PROOF, f"Line {number} does not hold a consistency proof.")
        else:
            self.consistency[old, new] = proof

    def _leaf(self, number: int, leaf: bytes) -> None:
        if self.entries == 0:
            self._before_entries()
        self._proof_missing()
        self.entries += 1
        try:
            logged = decode_leaf(leaf)
        except LeafRefused as refused:
            self.problem(ProblemKind.ENTRY, f"Line {number} {refused}.")
            logged = None
        if logged is not None:
            self._order(logged)
            self.watch.entry(logged)
            self.first_ms = logged.entry.at_ms if self.first_ms is None else self.first_ms
            self.last_ms = logged.entry.at_ms
            self.last_index = logged.index
        if self.selection:
            self.pending = (logged.index if logged else -1, merkle.leaf_hash(leaf))
        else:
            self.tree.append(merkle.leaf_hash(leaf))
            self._compare_root()

    def _order(self, logged: LoggedEntry) -> None:
        expected = self.last_index + 1
        if logged.index < expected:
            self.problem(
                ProblemKind.ORDER, f"Entry {logged.index} stands behind entry {self.last_index}, out of order."
            )
        elif logged.index > expected and not self.selection:
            missing = (
                f"Entry {expected} is"
                if logged.index == expected + 1
                else (f"Entries {expected} to {logged.index - 1} are")
            )
            self.problem(ProblemKind.ORDER, f"{missing} missing.")
        if logged.entry.id in self.ids:
            self.problem(ProblemKind.ORDER, f"Entry {logged.index} records an access that stands there already.")
        self.ids.add(logged.entry.id)

    def _inclusion(self, number: int, value: dict[str, Any]) -> None:
        proof, head = _proof(value.get("proof")), self.head
        if self.pending is None or proof is None or head is None:
            self.problem(ProblemKind.PROOF, f"Line {number} holds a proof that belongs to no entry.")
            return
        index, leaf = self.pending
        self.pending = None
        try:
            if value.get("index") != index or value.get("size") != head.size:
                raise merkle.ProofRefused("An inclusion proof is for another entry or checkpoint.")
            merkle.check_inclusion(leaf, index, head.size, proof, head.root)
        except merkle.ProofRefused as refused:
            self.problem(ProblemKind.PROOF, f"Entry {index} is not proven: {_lower(str(refused))}")

    def _proof_missing(self) -> None:
        if self.pending is not None:
            self.problem(ProblemKind.PROOF, f"Entry {self.pending[0]} comes without a proof.")
            self.pending = None

    def _before_entries(self) -> None:
        """All checkpoints are known: put those that the auditor kept beside them."""
        for kept in self.kept:
            self.wanted.setdefault(kept.size, []).append(kept)
        self._compare_root()

    def _compare_root(self) -> None:
        for checkpoint in self.wanted.pop(self.tree.size, ()):
            if self.selection or self.broken_root or checkpoint.root == self.tree.root():
                continue
            if checkpoint in self.kept:
                self.problem(
                    ProblemKind.FORK,
                    f"The first {checkpoint.size} entries are others than those that the kept checkpoint "
                    f"of {_time(checkpoint.at_ms)} covers.",
                )
            else:
                self.problem(
                    ProblemKind.ROOT,
                    f"The first {checkpoint.size} entries do not hash to the root of the checkpoint "
                    f"of {_time(checkpoint.at_ms)}: an entry up to there was changed, added or removed.",
                )
            # Every later root differs too; one sentence is enough.
            self.broken_root = True

    def _finish(self) -> None:
        if self.entries == 0:
            self._before_entries()
        self._proof_missing()
        head = self.head
        if self.ended is None:
            self.problem(ProblemKind.TRUNCATED, "The export has no end line: its tail was cut off.")
        elif self.ended != self.entries:
            self.problem(
                ProblemKind.TRUNCATED, f"The export says that it has {self.ended} entries and has {self.entries}."
            )
        if head is None:
            self.problem(ProblemKind.KEY, "The export has no checkpoint that the given key signed.")
        else:
            self._against_head(head)
        self._history()

    def _against_head(self, head: Checkpoint) -> None:
        if self.header["size"] != head.size:
            self.problem(
                ProblemKind.STALE,
                f"The export is for {self.header['size']} entries, its newest checkpoint for {head.size}.",
            )
        if not self.selection and self.tree.size < head.size:
            self.problem(
                ProblemKind.TRUNCATED,
                f"The newest checkpoint covers {head.size} entries and the export has {self.tree.size}.",
            )
        if not self.selection and self.tree.size > head.size:
            self.problem(
                ProblemKind.STALE,
                f"The newest checkpoint covers {head.size} entries and the export has {self.tree.size}: "
                "what comes after it is not signed.",
            )
        for kept in self.kept:
            if kept.size > head.size:
                self.problem(
                    ProblemKind.TRUNCATED,
                    f"The kept checkpoint of {_time(kept.at_ms)} covers {kept.size} entries, the newest one "
                    f"of the export {head.size}: entries were cut off, or an old checkpoint is shown.",
                )
            elif kept.at_ms > head.at_ms:
                self.problem(
                    ProblemKind.STALE,
                    f"The newest checkpoint of the export ({_time(head.at_ms)}) is older than the kept one "
                    f"({_time(kept.at_ms)}).",
                )
        if self.selection:
            for checkpoint in {c.size: c for c in [*self.checkpoints, *self.kept]}.values():
                self._consistent(checkpoint, head)
            for kept in self.kept:
                self._consistent(kept, head)

    def _consistent(self, old: Checkpoint, head: Checkpoint) -> None:
        if old.size == 0 or old.size > head.size:
            return
        proof = [] if old.size == head.size else self.consistency.get((old.size, head.size))
        which = "kept checkpoint" if old in self.kept else "checkpoint"
        if proof is None:
            self.problem(
                ProblemKind.PROOF,
                f"The export does not prove to extend the {which} of {old.size} entries; ask for a whole export.",
            )
            return
        try:
            merkle.check_consistency(old.size, head.size, proof, old.root, head.root)
        except merkle.ProofRefused as refused:
            self.problem(
                ProblemKind.FORK if old in self.kept else ProblemKind.PROOF,
                f"The log does not extend the {which} of {old.size} entries: {_lower(str(refused))}",
            )

    def _history(self) -> None:
        by_size: dict[int, bytes] = {}
        for checkpoint in self.checkpoints:
            if by_size.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                self.problem(
                    ProblemKind.FORK, f"Two signed checkpoints of {checkpoint.size} entries have different roots."
                )
        for old, new in zip(self.checkpoints, self.checkpoints[1:], strict=False):
            if new.size < old.size:
                self.problem(
                    ProblemKind.FORK,
                    f"A checkpoint of {new.size} entries follows one of {old.size}: the log was set back.",
                )
        if not self.selection:
            problems, notices = self.watch.judge(self.checkpoints)
            for text in problems:
                self.problem(ProblemKind.SILENCE, text)
            self.notices += notices
        for text in self.watch.clock:
            self.problem(ProblemKind.CLOCK, text)
        self.notices += self.watch.late

    def result(self) -> Verification:
        head = self.head
        return Verification(
            tuple(self.problems),
            tuple(self.notices),
            str(self.header.get("kind", "")),
            head.size if head else 0,
            head.root if head else b"",
            self.entries,
            len(self.checkpoints),
            self.first_ms,
            self.last_ms,
            head.at_ms if head else None,
            len(self.kept),
        )


def verify_lines(lines: Iterable[bytes], key: PublicKey, kept: Sequence[Checkpoint] = ()) -> Verification:
    """Verify an export that is read line by line; memory grows with entry ids and checkpoints only."""
    verifier = _Verifier(key, kept)
    with contextlib.suppress(_Stop):
        verifier.run(lines)
    return verifier.result()


def verify_export(path: Path, key: PublicKey, kept: Sequence[Checkpoint] = ()) -> Verification:
    """Verify an export file against the log's public key and checkpoints that the auditor kept.

    Parameters
    ----------
    kept
        From `checkpoint.read_checkpoint`. Without one, a log that was cut short or written anew by somebody who
        has the signing key cannot be told from a good one.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return verify_lines(_lines(file), key, kept)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MOST_LINE_BYTES):
        yield line


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _proof(value: object) -> list[bytes] | None:
    if not isinstance(value, list) or len(value) > 128:
        return None
    try:
        return [base64.b64decode(node, validate=True) for node in value]
    except (TypeError, ValueError, binascii.Error):
        return None


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "a time that no calendar has"
