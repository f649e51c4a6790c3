"""`callwarden index`: the state of the search index, and the index made anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from console.commands.options import ConfigOption, DataOption, JsonOption, err, operating_system_user, out, wire
from console.wiring import Wiring
from events.audit_entry import Action, Outcome
from indexer.rebuild import LogRebuild, Rebuilt, Tell

app = typer.Typer(help="The search index.", no_args_is_help=True)


class Source(StrEnum):
    LOG = "log"
    INDEX = "index"


@app.command("rebuild")
def rebuild(
    data: DataOption,
    source: Annotated[
        Source,
        typer.Option("--from", help="log: from the calls' events. index: from the documents that the index has."),
    ] = Source.LOG,
    config: ConfigOption = None,
) -> None:
    """Make the index anew while the engine runs; an interrupted run is simply started again.

    From the log: every call whose events are there (30 days) is folded again and put if that changes it; calls older
    than that stay as they are. From the index: every document is written again, under the mapping of this version.
    Forgotten calls stay forgotten. Exit status 1 if a call could not be written.
    """
    wiring = wire(data, config)
    recorder = wiring.audit_recorder("cli")
    who, reason = operating_system_user(), f"from the {source.value}"
    recorder.record(who, "operator", Action.REBUILD_INDEX, "index", reason=reason)
    try:
        failed = _rebuild(wiring, source)
    except BaseException:
        recorder.record(who, "operator", Action.REBUILD_INDEX, "index", Outcome.FAILED, reason=reason)
        raise
    finally:
        wiring.close()
    if failed:
        raise typer.Exit(1)


def _rebuild(wiring: Wiring, source: Source) -> bool:
    """Return whether anything failed."""
    # One that is away from the beginning is not waited for, as one that goes away meanwhile is.
    wiring.prepare_index()
    with _progress() as tell:
        if source is Source.INDEX:
            written = wiring.index.rebuild(lambda done, total: tell("documents written", done, total))
        else:
            made = LogRebuild(
                wiring.new_log,
                wiring.sealer,
                wiring.index,
                wiring.settings.indexer.keep_days,
                tell=tell,
                clock=wiring.clock,
            ).run()
    if source is Source.INDEX:
        out.print(f"{written} calls were written anew.", highlight=False)
        return False
    for line in _told(made):
        out.print(line, highlight=False, soft_wrap=True)
    return bool(made.failed or made.unreadable)


def _told(made: Rebuilt) -> Iterator[str]:
    yield (
        f"{made.written} calls written, {made.unchanged} unchanged, {made.forgotten} forgotten, {made.failed} failed."
    )
    if made.kept:
        yield f"{made.kept} calls of which the log no longer has everything stay as they are."
    if made.not_in_log:
        yield f"{made.not_in_log} calls of which the log has nothing any more stay as they are."
    if made.expired:
        yield f"{made.expired} calls are older than [indexer] keep_days and were left out."
    if made.failed:
        yield (
            "The failed calls were changed by others again and again, or the index refuses them (the error above says "
            "why); run the command once more."
        )
    if made.unreadable:
        yield f"{made.unreadable} records cannot be opened or read and were left out."


@app.command("status")
def status(data: DataOption, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Tell where the index lies, how many calls it holds, and how large it is."""
    wiring = wire(data, config)
    try:
        wiring.prepare_index()
        found = wiring.index.status()
    finally:
        wiring.close()
    if as_json:
        sums = {"calls": found.calls, "size_bytes": found.size_bytes}
        print(msgspec.json.encode({**msgspec.to_builtins(found), **sums}).decode())  # noqa: T201
        return
    table = Table("part", "calls", "MB", "mapping", box=None)
    for part in found.parts:
        table.add_row(part.name, str(part.calls), f"{part.size_bytes / 1e6:.1f}", part.mapping)
    out.print(
        f"{found.driver} at {found.where}: {found.calls} calls, {found.size_bytes / 1e6:.1f} MB, "
        f"{found.forgotten} forgotten; mapping {found.mapping}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    out.print(table)


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on a terminal; elsewhere a line for every tenth of the way."""
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=err) as bar:
            tasks = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total)

            yield show
        return
    told: dict[str, int] = {}

    def say(what: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if tenth > told.get(what, -1):
            told[what] = tenth
            print(f"{done} of {total} {what}", file=sys.stderr, flush=True)  # noqa: T201

    yield say
