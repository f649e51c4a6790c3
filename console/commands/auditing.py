"""`callwarden audit`: take the audit log away, and verify what was taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from compliance.audit.checkpoint import read_checkpoint, read_public_key
from compliance.audit.export import export as write_export
from compliance.audit.verify import verify_export
from console.commands.options import ConfigOption, DataOption, err, operating_system_user, out, wire
from events.audit_entry import Action
from events.errors import CallwardenError

app = typer.Typer(help="The tamper-evident audit log.", no_args_is_help=True)


class FileRefused(CallwardenError):
    """A file of the command line cannot be read or written."""


@app.command("export")
def export(
    data: DataOption,
    output: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the export.")] = Path(
        "audit-export.jsonl"
    ),
    reason: Annotated[str, typer.Option("--reason", help="Why it is taken; kept in the log itself.")] = "",
    config: ConfigOption = None,
) -> None:
    """Write the whole log with checkpoints and proofs to a file, for `audit verify` anywhere.

    The public key lies in the data folder under audit/public.key, checkpoints to keep under audit/checkpoints.
    """
    wiring = wire(data, config)
    recorder = wiring.audit_recorder("cli")
    recorder.record(operating_system_user(), "operator", Action.EXPORT_AUDIT, "audit", reason=reason)
    # The export ends with a checkpoint that covers its own entry.
    checkpoint = wiring.audit_log.add_checkpoint()
    try:
        written = write_export(wiring.audit_log, wiring.signing_key.public, output, clock=wiring.clock)
    except OSError as error:
        raise FileRefused(f"{output} cannot be written: {os.strerror(error.errno or 0).lower()}.") from None
    out.print(
        f"{output}: {checkpoint.size} entries, {written} bytes. Verify it with\n"
        f"  callwarden audit verify {output} --key {wiring.folder.audit / 'public.key'}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command("verify")
def verify(
    exported: Annotated[Path, typer.Argument(metavar="EXPORT", help="File written by `audit export`.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The log's public key.")],
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="An older checkpoint that you kept; may be repeated."),
    ] = None,
) -> None:
    """Verify an export offline. Exit status 0 if it can be relied on, 1 with one sentence per problem if not."""
    public = read_public_key(key)
    kept = [read_checkpoint(path, public) for path in checkpoint or ()]
    try:
        found = verify_export(exported, public, kept)
    except OSError as error:
        raise FileRefused(f"{exported} cannot be read: {os.strerror(error.errno or 0).lower()}.") from None
    for notice in found.notices:
        out.print(f"note: {notice}", markup=False, highlight=False, soft_wrap=True)
    for problem in found.problems:
        err.print(
            f"{problem.kind.value}: {problem.text}", style="red", markup=False, highlight=False, soft_wrap=True
        )
    if not found.ok:
        raise typer.Exit(1)
    out.print(
        f"Good: {found.entries} entries, {found.checkpoints} checkpoints, signed tree of size {found.size}, "
        f"compared with {found.kept} kept checkpoint{'' if found.kept == 1 else 's'}.",
        highlight=False,
        soft_wrap=True,
    )
