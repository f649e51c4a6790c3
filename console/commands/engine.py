"""`callwarden up`, `run`, `health`, `settings`, `version`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from console import stages
from console.commands.options import (
    ConfigOption,
    DataOption,
    EndpointDriver,
    EventLogDriver,
    IndexDriver,
    chosen_drivers,
    err,
    out,
)
from console.data_folder import DataFolder
from console.engine import Engine
from console.settings import as_toml, load_settings
from console.supervisor import Notes
from console.vitals import judge
from events.errors import CallwardenError


class AddressRefused(CallwardenError):
    """Not HOST:PORT."""


class NotRunning(CallwardenError):
    """Nothing runs that could be asked."""


AddressOption = Annotated[str | None, typer.Option(metavar="HOST:PORT")]


def parse_address(text: str | None) -> tuple[str, int] | None:
    """Return (host, port). Raises AddressRefused."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise AddressRefused(f"An address is HOST:PORT, such as 127.0.0.1:5060, not {text!r}.")
    return host.strip("[]"), int(port)


def up(
    data: DataOption,
    sip: Annotated[
        str | None, typer.Option("--sip", metavar="HOST:PORT", help="Where calls are accepted.")
    ] = None,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Where pages are served.")
    ] = None,
    log: Annotated[
        EventLogDriver | None, typer.Option("--log", help="Where stages leave events for each other: [kafka].")
    ] = None,
    index: Annotated[
        IndexDriver | None, typer.Option("--index", help="Where calls are searched: [elasticsearch].")
    ] = None,
    endpoint: Annotated[
        EndpointDriver | None, typer.Option("--endpoint", help="Which SIP stack answers calls: [pjsua2].")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run the engine until Ctrl-C. Prints one line `ready sip=... http=...` when calls and pages are accepted.

    What an option says goes before the settings, for every process of this engine. A broker or an index that is
    away is no reason not to start: what cannot work yet is said in one sentence, and begins when it is there.
    """
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(asctime)s %(levelname)s %(message)s")
    chosen = chosen_drivers(log, index, endpoint)
    engine = Engine(
        DataFolder.at(data),
        load_settings(config, {**os.environ, **chosen}),
        config,
        sip=parse_address(sip),
        http=parse_address(http),
        environment=chosen,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.stop())
    engine.run(
        lambda: print(f"ready sip={engine.sip_address} http={engine.http_address}", flush=True),  # noqa: T201
        Waiting().say,
    )


class Waiting:
    """Says on standard error what keeps processes from their work, and when it does no longer."""

    def __init__(self) -> None:
        self._told: dict[str, frozenset[str]] = {}

    def say(self, notes: Notes) -> None:
        for sentence, names in notes.items():
            if not self._told.get(sentence, frozenset()) >= set(names):
                _tell(f"{joined(names)} {'is' if len(names) == 1 else 'are'} not at work: {sentence}")
        waiting = {name for names in notes.values() for name in names}
        waited = {name for names in self._told.values() for name in names}
        again = sorted(waited - waiting)
        if again:
            _tell(f"{joined(again)} {'is' if len(again) == 1 else 'are'} at work.")
        self._told = {sentence: frozenset(names) for sentence, names in notes.items()}


def joined(names: Sequence[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tell(sentence: str) -> None:
    err.print(f"callwarden: {sentence}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def health(
    data: DataOption,
    stage: Annotated[str | None, typer.Argument(help="One stage; without, all of the engine.")] = None,
    alive: Annotated[
        bool,
        typer.Option(
            "--alive", help="Ask only whether it lives: waiting for a server that is away is no failure."
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Say how the engine, or one stage, does. Exit status 0 when it is at work, 1 with a sentence when not."""
    if stage is not None and stage not in stages.STAGES:
        raise stages.UnknownStage(f"There is no stage {stage!r}; the stages are {', '.join(stages.STAGES)}.")
    if not (data.expanduser() / "run").is_dir():
        raise NotRunning(f"No engine has run on the data folder {data}.")
    silent_after_s = load_settings(config).supervisor.silent_after_s
    verdict = judge(DataFolder.at(data).processes, stage, silent_after_s, alive)
    if verdict.problems:
        for problem in verdict.problems:
            err.print(problem, style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)
    out.print(verdict.sentence, highlight=False, markup=False, soft_wrap=True)


def run(
    stage: Annotated[str, typer.Argument(help="capture, recogniser, redaction, ...")],
    data: DataOption,
    config: ConfigOption = None,
) -> None:
    """Run one stage alone, as the supervisor and containers do."""
    raise typer.Exit(stages.run(stage, DataFolder.at(data), load_settings(config)))


def settings(config: ConfigOption = None) -> None:
    """Print the settings in force as a settings file, without secrets."""
    out.print(as_toml(load_settings(config)), markup=False, highlight=False, soft_wrap=True)


def version() -> None:
    """Print the version."""
    out.print(f"callwarden {installed_version('callwarden')}", highlight=False)
