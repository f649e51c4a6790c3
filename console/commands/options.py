"""Options that sub-commands share, and how they speak to a terminal."""

from __future__ import annotations

import os
import pwd
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from console.data_folder import DataFolder
from console.settings import ENVIRONMENT_PREFIX, load_settings
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


class EventLogDriver(StrEnum):
    SQLITE = "sqlite"
    KAFKA = "kafka"


class IndexDriver(StrEnum):
    SQLITE = "sqlite"
    ELASTICSEARCH = "elasticsearch"


class EndpointDriver(StrEnum):
    BUILT_IN = "built-in"
    PJSUA2 = "pjsua2"


def chosen_drivers(
    log: EventLogDriver | None, index: IndexDriver | None, endpoint: EndpointDriver | None
) -> dict[str, str]:
    """Return the choice as settings in an environment, where every process of the engine finds it."""
    choices = {"EVENT_LOG": log, "INDEX": index, "ENDPOINT": endpoint}
    return {f"{ENVIRONMENT_PREFIX}ENGINE__{name}": one.value for name, one in choices.items() if one is not None}


def wire(data: Path, config: Path | None = None) -> Wiring:
    """Open the data folder with its settings."""
    return Wiring(DataFolder.at(data), load_settings(config))


def operating_system_user() -> str:
    """Return who runs this command, as audit entries name them."""
    try:
        return f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"os:{os.getuid()}"
