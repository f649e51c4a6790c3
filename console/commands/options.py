"""Options that sub-commands share, and how they speak to a terminal."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from console.data_folder import DataFolder
from console.settings import load_settings
from console.wiring import Wiring

out = Console()
err = Console(stderr=True)


def _default_data() -> Path:
    return Path(os.environ.get("CALLWARDEN_DATA", "~/.local/share/callwarden"))


DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        default_factory=_default_data,
        show_default="CALLWARDEN_DATA, else ~/.local/share/callwarden",
        help="Folder that holds everything of this engine.",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file (TOML); see `callwarden settings`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


def wire(data: Path, config: Path | None = None) -> Wiring:
    """Open the data folder with its settings."""
    return Wiring(DataFolder.at(data), load_settings(config))


def operating_system_user() -> str:
    """Return who runs this command, as audit entries name them."""
    try:
        return f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"os:{os.getuid()}"
