"""`callwarden up`, `run`, `settings`, `version`."""

from __future__ import annotations

import logging
import signal
import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from console import stages
from console.commands.options import ConfigOption, DataOption, out
from console.data_folder import DataFolder
from console.engine import Engine
from console.settings import as_toml, load_settings
from events.errors import CallwardenError


class AddressRefused(CallwardenError):
    """Not HOST:PORT."""


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
    config: ConfigOption = None,
) -> None:
    """Run the engine until Ctrl-C. Prints one line `ready sip=... http=...` when calls and pages are accepted."""
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(asctime)s %(levelname)s %(message)s")
    engine = Engine(
        DataFolder.at(data), load_settings(config), config, sip=parse_address(sip), http=parse_address(http)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: engine.stop())
    engine.run(lambda: print(f"ready sip={engine.sip_address} http={engine.http_address}", flush=True))  # noqa: T201


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
