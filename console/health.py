"""The engine's state as pages and `/healthz` show it: what the supervisor wrote, and how far each stage is behind."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from typing import Any

from console.data_folder import DataFolder
from console.web.services import Health, StageHealth
from events.errors import CallwardenError
from events.log import EventLog, Group
from events.topics import TOPICS


class HealthReader:
    """Answers `ConsoleServices.health`."""

    def __init__(self, folder: DataFolder, log: EventLog) -> None:
        self._folder = folder
        self._log = log

    def __call__(self) -> Health:
        supervised = self._supervised()
        stages = tuple(
            StageHealth(
                name,
                stage["state"] == "ready",
                stage["restarts"],
                self._lag(name.rstrip("0123456789").rstrip("-")),
                "" if stage["state"] == "ready" else stage["state"],
            )
            for name, stage in supervised.get("stages", {}).items()
        )
        usage = shutil.disk_usage(self._folder.root)
        facts = [("Version", version("callwarden"))]
        if supervised.get("sip"):
            facts.append(("SIP address", supervised["sip"]))
        facts.append(("Free disk", f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB"))
        return Health(stages, tuple(facts))

    def _supervised(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._folder.health_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _lag(self, stage: str) -> int | None:
        topics = [topic for topic in TOPICS if stage in topic.readers]
        if not topics or stage == "console":
            return None
        try:
            return sum(self._log.lag(Group(stage), topics).values())
        except CallwardenError:
            return None
