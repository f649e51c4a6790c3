"""Checkpoints, verification and exports of the access log."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from compliance.audit.audit_log import AuditFilter
from compliance.audit.checkpoint import Checkpoint, CheckpointRefused, open_checkpoint, read_checkpoint
from compliance.audit.export import ExportRefused, export_lines
from compliance.audit.verification import Verification
from compliance.audit.verify import verify_lines
from console.web.access import PageRefused, Visit
from console.web.audit_pages import audit_filter, filter_values
from events.audit_entry import Action, Outcome


def status(visit: Visit) -> Response:
    visit.record(Action.READ_AUDIT, "checkpoints")
    return _status(visit, None)


def _status(visit: Visit, found: Verification | None, problem: str = "") -> Response:
    log, key = visit.services.audit_log, visit.services.audit_key
    notes = log.checkpoint_notes()
    return visit.page(
        "audit_proof.html",
        found=found,
        problem=problem,
        size=log.size,
        newest=open_checkpoint(notes[-1], key) if notes else None,
        made=len(notes),
        kept=len(log.kept.paths()),
        key=key,
        heartbeat_ms=log.settings.heartbeat_ms,
    )


def verify(visit: Visit) -> Response:
    """Verify the whole log against every checkpoint of the write-once folder, and one that was pasted in."""
    log, key = visit.services.audit_log, visit.services.audit_key
    kept: list[Checkpoint] = []
    problem = ""
    try:
        kept = [read_checkpoint(path, key) for path in log.kept.paths()]
        pasted = visit.form.get("checkpoint", "").replace("\r\n", "\n").strip()
        if pasted:
            kept.append(open_checkpoint(pasted + "\n", key))
    except CheckpointRefused as refused:
        problem = str(refused)
    if problem:
        visit.record(Action.VERIFY_AUDIT, "audit-log", Outcome.FAILED)
        return _status(visit, None, problem)
    visit.record(Action.VERIFY_AUDIT, "audit-log")
    try:
        found = verify_lines(export_lines(log, key, clock=visit.services.clock), key, kept)
    except ExportRefused as refused:
        return _status(visit, None, str(refused))
    return _status(visit, found)


def export(visit: Visit) -> Response:
    reason = visit.asked_reason()
    values = filter_values(visit.form.items())
    only = audit_filter(values, visit.services.settings.timezone)
    visit.record(Action.EXPORT_AUDIT, "audit-log", reason=reason)
    lines = export_lines(
        visit.services.audit_log,
        visit.services.audit_key,
        None if only == AuditFilter() else only,
        visit.services.clock,
    )
    # Written aside first: an export that breaks off half way would look like one whose tail was cut.
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        for line in lines:
            file.write(line)
    except ExportRefused as refused:
        file.close()
        raise PageRefused(409, str(refused), "refused") from None
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0, os.SEEK_SET)

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(65_536):
                yield piece

    return StreamingResponse(
        pieces(),
        media_type="application/x-ndjson",
        headers={
            "Content-Disposition": 'attachment; filename="callwarden-audit.jsonl"',
            "Content-Length": str(size),
        },
    )


def public_key(visit: Visit) -> Response:
    visit.record(Action.READ_AUDIT, "public key")
    return PlainTextResponse(
        visit.services.audit_key.text + "\n",
        headers={"Content-Disposition": 'attachment; filename="public.key"'},
    )


def checkpoint(visit: Visit) -> Response:
    """The newest checkpoint, for the auditor to keep."""
    notes = visit.services.audit_log.checkpoint_notes()
    if not notes:
        raise PageRefused(404, "The audit log has no checkpoint yet.", "not_found")
    visit.record(Action.READ_AUDIT, "checkpoints")
    size = open_checkpoint(notes[-1], visit.services.audit_key).size
    return PlainTextResponse(
        notes[-1], headers={"Content-Disposition": f'attachment; filename="audit-{size}.checkpoint"'}
    )
