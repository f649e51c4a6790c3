"""Exports: one file of JSON lines that can be verified offline, written and read as a stream.

Lines, in this order:

1. ``{"callwarden_audit_export":1,"kind":"whole"|"selection","origin":...,"size":...,"exported_at_ms":...}``
2. ``{"checkpoint":"<signed note>"}`` for every checkpoint, oldest first; the last one covers all entries
3. only in a selection: ``{"consistency":{"old":...,"new":...,"proof":[...]}}`` from each size to the last
4. the leaves, byte for byte as they were hashed; in a selection each is followed by
   ``{"inclusion":{"index":...,"size":...,"proof":[...]}}``
5. ``{"end":{"entries":...}}``

A whole export needs no proofs, because whoever reads it builds the tree himself.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from compliance.audit.audit_log import AuditFilter, AuditLog
from compliance.audit.checkpoint import PublicKey, open_checkpoint
from events.clock import Clock, SystemClock
from events.errors import CallwardenError

VERSION: Final = 1
WHOLE: Final = "whole"
SELECTION: Final = "selection"


class ExportRefused(CallwardenError):
    """There is nothing that could be exported verifiably."""


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _hashes(proof: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(node).decode() for node in proof]


def export_lines(
    log: AuditLog, key: PublicKey, only: AuditFilter | None = None, clock: Clock | None = None
) -> Iterator[bytes]:
    """Yield the lines of an export of everything that the newest checkpoint covers.

    A log that holds its signing key makes a checkpoint first when entries have come since the last one.

    Parameters
    ----------
    only
        None exports the whole log; a filter exports the entries it lets through, each with its proof.

    Raises
    ------
    ExportRefused
        No checkpoint has been made yet.
    AuditUnavailable
        The log cannot be read.
    """
    newest = log.last_checkpoint_at()
    if log.can_sign and (newest is None or newest[0] < log.size):
        log.add_checkpoint()
    notes = log.checkpoint_notes()
    if not notes:
        raise ExportRefused("The audit log has no checkpoint yet, so that an export of it could not be verified.")
    checkpoints = [open_checkpoint(note, key) for note in notes]
    size = checkpoints[-1].size
    yield _line(
        {
            "callwarden_audit_export": VERSION,
            "kind": WHOLE if only is None else SELECTION,
            "origin": key.name,
            "size": size,
            "exported_at_ms": (clock or SystemClock()).now_ms(),
        }
    )
    for note in notes:
        yield _line({"checkpoint": note})
    if only is not None:
        for old in sorted({checkpoint.size for checkpoint in checkpoints} - {0, size}):
            proof = _hashes(log.consistency_proof(old, size))
            yield _line({"consistency": {"old": old, "new": size, "proof": proof}})
    entries = 0
    for index, leaf in log.leaves(0, size, only):
        yield leaf + b"\n"
        if only is not None:
            proof = _hashes(log.inclusion_proof(index, size))
            yield _line({"inclusion": {"index": index, "size": size, "proof": proof}})
        entries += 1
    yield _line({"end": {"entries": entries}})


def export(
    log: AuditLog, key: PublicKey, path: Path, only: AuditFilter | None = None, clock: Clock | None = None
) -> int:
    """Write an export to `path`, whole or not at all; return its size in bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for line in export_lines(log, key, only, clock):
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
            written = file.tell()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return written
