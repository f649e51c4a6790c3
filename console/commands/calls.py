"""`callwarden import`, `search`, `show`: calls in, calls out. Every look is an access and is audited."""

from __future__ import annotations

import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from console.call_view import print_call, print_hits
from console.commands.options import ConfigOption, DataOption, JsonOption, err, operating_system_user, out, wire
from console.importing import consumers_at_work, find_files, import_files
from events.audit_entry import Action, Outcome
from events.errors import CallwardenError
from events.identity import parse_call_id
from indexer.index import CallQuery


class CallUnknown(CallwardenError):
    """No such call."""


def import_calls(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Recorded calls.")],
    data: DataOption,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Import recorded calls: WAV (also 8-bit mu-law and A-law; stereo is two legs), MP3, OGG and what ffmpeg reads.

    Works with and without a running engine on the same data folder. With --json one line is printed per call, as
    soon as it is indexed. Exit status 1 if any file was refused.
    """
    files = find_files(paths)
    wiring = wire(data, config)
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    recorder = wiring.audit_recorder("cli")
    who = operating_system_user()
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        console=err,
    )  # fmt: skip
    refused = 0
    with consumers_at_work(wiring, config), progress if not as_json else nullcontext():
        tasks = {path: progress.add_task(path.name, total=1.0) for path in files}
        for imported in import_files(
            wiring, files, lambda path, share: progress.update(tasks[path], completed=share), stop
        ):
            if imported.refused:
                refused += 1
                sentence = f"{imported.path}: {imported.refused}"
                err.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
            elif imported.call is not None:
                recorder.record(who, "operator", Action.IMPORT, imported.call)
            if as_json:
                line = {
                    "file": str(imported.path),
                    "call": imported.call,
                    "refused": imported.refused,
                    "already_there": imported.already_there,
                    "document": imported.document,
                }
                print(msgspec.json.encode(line).decode(), flush=True)  # noqa: T201
            elif imported.document is not None:
                found = imported.document
                note = ", two speakers in one channel" if found.speaker_turns else ""
                note += ", was there already" if imported.already_there else ""
                progress.console.print(
                    f"{imported.path.name}: call {found.call}, {len(found.segments)} segments, "
                    f"{len(found.findings)} findings{note}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )
    if stop.is_set():
        raise typer.Exit(130)
    if refused:
        raise typer.Exit(1)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help='Words, "phrases", AND OR NOT, agent:word.')],
    data: DataOption,
    as_json: JsonOption = False,
    most: Annotated[int, typer.Option("--most", help="How many calls at most.", min=1, max=200)] = 20,
    config: ConfigOption = None,
) -> None:
    """Search calls. An access: audited with the operating system's user, its words sealed."""
    wiring = wire(data, config)
    asked = CallQuery(text=query, page_size=most)
    recorder = wiring.audit_recorder("cli")
    # Durable before any answer appears.
    recorder.record(operating_system_user(), "operator", Action.SEARCH, "index", detail=query)
    page = wiring.index.search(asked)
    if as_json:
        print(msgspec.json.encode(page).decode())  # noqa: T201
    else:
        print_hits(out, page)


def show(
    call: Annotated[str, typer.Argument(metavar="CALL", help="Call id.")],
    data: DataOption,
    as_json: JsonOption = False,
    as_spoken: Annotated[bool, typer.Option("--as-spoken", help="Words as recognised, not for reading.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show one call: legs, transcript, findings, redactions, alerts. An access: audited."""
    try:
        identity = parse_call_id(call)
    except ValueError as error:
        raise CallUnknown(str(error)) from None
    wiring = wire(data, config)
    document = wiring.index.get(identity)
    wiring.audit_recorder("cli").record(
        operating_system_user(),
        "operator",
        Action.VIEW_CALL,
        identity,
        Outcome.ALLOWED if document else Outcome.FAILED,
    )
    if document is None:
        raise CallUnknown(f"There is no call {identity} in this data folder.")
    if as_json:
        print(msgspec.json.encode(document).decode())  # noqa: T201
    else:
        print_call(out, document, as_spoken)
