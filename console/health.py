"""The engine's state as pages and `/healthz` show it: what processes tell of themselves, and how far they are behind.

It works with and without a supervisor: with one, its list of processes says who should be there; without, every
stage should.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from console.data_folder import DataFolder
from console.probe import Probe, no_answer
from console.settings import Settings
from console.signs_of_life import Sign, read_signs
from console.vitals import STAGE_NAMES, clock_warnings, judge_sign, vitals
from console.watched import EVENT_LOG, INDEX
from console.web.services import Health, PartHealth, StageHealth
from console.wiring import CLOCK
from events.clock import Clock
from events.log import EventLog, Group
from events.spill_state import SpillMode, SpillState
from events.topics import TOPICS
from indexer.index import CallIndex


class HealthReader:
    """Answers `ConsoleServices.health`; never waits long for something that is away."""

    def __init__(
        self, folder: DataFolder, settings: Settings, log: EventLog, index: CallIndex, clock: Clock
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._log = log
        self._lags = Probe(self._measure, EVENT_LOG, clock)
        self._index = Probe(lambda: index.status(), INDEX, clock)

    def __call__(self) -> Health:
        lags, log_problem = self._lags()
        status, index_problem = self._index()
        signs = read_signs(self._folder.processes)
        log_problem = _as_told(log_problem, signs, EVENT_LOG)
        index_problem = _as_told(index_problem, signs, INDEX)
        engine = self._settings.engine
        where = self._settings.kafka.bootstrap if engine.event_log == "kafka" else "in the data folder"
        parts = (
            PartHealth("Event log", f"{_NAMES[engine.event_log]}, {where}", not log_problem, log_problem),
            PartHealth(
                "Index",
                _NAMES[engine.index]
                if status is None
                else f"{_NAMES[engine.index]}, {status.calls:,} call{'' if status.calls == 1 else 's'}",
                not index_problem,
                index_problem,
            ),
        )
        supervised = self._supervised()
        spill = self._spill()
        usage = shutil.disk_usage(self._folder.root)
        facts = [("Version", version("callwarden")), ("SIP address", supervised.get("sip") or self._sip_address())]
        facts.append(("SIP endpoint", engine.endpoint))
        if spill is not None:
            facts.append(("Spill", spill_text(spill)))
        facts.append(("Free disk", f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB"))
        return Health(
            tuple(stages(supervised.get("stages"), signs, self._settings.supervisor.silent_after_s, lags or {})),
            tuple(facts),
            parts,
            tuple(self._warnings(signs, spill)),
        )

    def _sip_address(self) -> str:
        return f"{self._settings.sockets.sip_host}:{self._settings.sockets.sip_port}"

    def _supervised(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._folder.health_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _measure(self) -> dict[str, int]:
        """Events that wait for each stage."""
        lags = {}
        for stage in STAGE_NAMES:
            topics = [topic for topic in TOPICS if stage in topic.readers]
            if topics and stage != "console":
                lags[stage] = sum(self._log.lag(Group(stage), topics).values())
        return lags

    def _spill(self) -> SpillState | None:
        if self._settings.engine.event_log != "kafka":
            return None
        from telephony.capture import read_status

        status = read_status(self._folder.state / "capture")
        return None if status is None else status.spill

    def _warnings(self, signs: list[Sign], spill: SpillState | None) -> Iterator[str]:
        facts = [fact for sign in signs for fact in sign.facts.items()]
        yield from dict.fromkeys(warning for what, warning in facts if what.startswith(CLOCK))
        yield from clock_warnings(signs)
        if spill is not None and not spill.has_room:
            yield "The spill is nearly full: new calls are refused, those in progress go on."


_NAMES: Final = {"sqlite": "SQLite", "kafka": "Kafka", "elasticsearch": "Elasticsearch"}


def _as_told(problem: str, signs: Sequence[Sign], what: str) -> str:
    """Prefer the reason that a process knows to the finding that nothing answers."""
    known = [sign.notes[what] for sign in signs if what in sign.notes]
    return known[0] if known and problem == no_answer(what) else problem


def stages(
    supervised: Mapping[str, Mapping[str, Any]] | None,
    signs: Sequence[Sign],
    silent_after_s: float,
    lags: Mapping[str, int],
) -> Iterator[StageHealth]:
    """Join what the supervisor (where there is one) and the processes themselves say."""
    if not supervised:
        for one in vitals(signs, silent_after_s):
            yield StageHealth(one.name, one.running, 0, lags.get(one.stage), one.note, one.age_s)
        return
    by_name = {sign.name: sign for sign in signs}
    for name, state in supervised.items():
        sign = by_name.get(name)
        if sign is not None and sign.pid != state["pid"]:
            sign = None  # of its predecessor
        stage = sign.stage if sign is not None else name.rstrip("0123456789").rstrip("-")
        running, note = judge_sign(sign, silent_after_s)
        if state["state"] != "ready":
            running, note = False, state.get("note") or state["state"]
        yield StageHealth(
            name, running, state["restarts"], lags.get(stage), note, None if sign is None else sign.age_s
        )


def spill_text(spill: SpillState) -> str:
    """Say in a few words how the spill does."""
    if spill.mode is SpillMode.DIRECT:
        return "empty"
    since = datetime.fromtimestamp(spill.since_ms / 1000, UTC).strftime("%H:%M:%S UTC")
    return (
        f"{spill.mode.value} since {since}: {spill.records:,} events, {spill.bytes / 1e6:.1f} MB, "
        f"{spill.share:.0%} of its room"
    )
