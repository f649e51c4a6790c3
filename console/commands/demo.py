"""`callwarden demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.commands.engine import parse_address
from console.commands.options import ConfigOption, out
from console.demo import run_demo
from console.settings import load_settings


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Keep everything in this folder; without, a temporary one is used."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End by itself; exit status 0 only if the call came out as it must.")
    ] = False,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Where pages are served.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start the whole engine, place a call of two parties into it over SIP and RTP, and show what happens."""
    run_demo(data, load_settings(config), out, parse_address(http), once)
