"""docker-compose.yml as data: its services with their variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
COMPOSE_FILE: Final = ROOT / "docker-compose.yml"
_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Z0-9_]+):-(?P<default>[^}]*)\}")


@dataclass(frozen=True)
class Service:
    name: str
    profiles: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    healthcheck: tuple[str, ...]
    """Words behind CMD."""
    memory_mb: int
    raw: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The stage that it runs, empty for other services."""
        return self.command[1] if self.command[:1] == ("run",) else ""


def compose_file() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE_FILE.read_text()))


def services(variables: Mapping[str, str] | None = None) -> dict[str, Service]:
    """Return all services, with `variables` as those of the shell."""
    found = {}
    for name, raw in compose_file()["services"].items():
        environment = {key: filled(str(value), variables or {}) for key, value in raw["environment"].items()}
        memory = re.fullmatch(r"(\d+)m", raw["mem_limit"])
        assert memory, f"{name}: memory limits are whole megabytes"
        found[name] = Service(
            name,
            tuple(raw["profiles"]),
            tuple(raw.get("command", ())),
            environment,
            tuple(raw["healthcheck"]["test"][1:]),
            int(memory[1]),
            raw,
        )
    return found


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Fill variables in as Compose does: the shell's where it has one that is not empty, else the default."""
    return _VARIABLE.sub(lambda found: variables.get(found["name"]) or found["default"], text)
