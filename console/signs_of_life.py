"""What each process tells of itself: one small file a process, written from its working loop.

The supervisor, the health pages and `callwarden health` read them; none of them needs the others. A process that
hangs, is stopped or has lost its machine shows by its file growing old. Ages are counted on the file system's clock,
so that machines whose clocks differ can look at each other; the difference itself is told as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from events.clock import Clock

PROCESS_VARIABLE: Final = "CALLWARDEN_PROCESS"
"""Name of this process, set by the supervisor."""
SILENT_AFTER_S: Final = 30.0
"""A process that has given no sign for so long counts as down, unless the settings say otherwise."""
_WRITE_EVERY_S: Final = 1.0
_SUFFIX: Final = ".json"


class LifeState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    """At work, with everything it needs."""
    WAITING = "waiting"
    """Alive, but something that it needs is away or refused it; the notes say what."""
    STOPPED = "stopped"
    """Ended by itself because it could not go on; the notes say why."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The last that was heard of a process."""

    name: str
    stage: str
    host: str
    pid: int
    state: LifeState
    notes: Mapping[str, str]
    """What stands in its way, by what it concerns: a whole sentence each."""
    facts: Mapping[str, str]
    """What else it tells, for people."""
    at_ms: int
    """By the clock of the process."""
    beats: int
    """Grows with every sign."""
    age_s: float = 0.0
    """Since it was written, by the clock of the file system."""
    clock_ahead_s: float = 0.0
    """How far the process's clock is before that of the file system."""

    @property
    def note(self) -> str:
        return " ".join(dict.fromkeys(self.notes.values()))


class SignsOfLife:
    """Writes the file of this process; safe from several threads.

    Only a loop that does the work calls `beat`. A full disk stops no process: then the file grows old.
    """

    def __init__(self, folder: Path, stage: str, clock: Clock, name: str | None = None) -> None:
        self._host = socket.gethostname()
        self.name = name or os.environ.get(PROCESS_VARIABLE) or f"{stage}@{_safe(self._host)}"
        self._stage = stage
        self._file = folder / f"{self.name}{_SUFFIX}"
        self._clock = clock
        self._lock = threading.Lock()
        self._state = LifeState.STARTING
        self._ready = False
        self._notes: dict[str, str] = {}
        self._facts: dict[str, str] = {}
        self._beats = 0
        self._written_at = float("-inf")
        self._closed = False
        with self._lock:
            self._write()

    def ready(self) -> None:
        """The work has begun."""
        self._ready = True
        self.beat(at_once=True)

    def beat(self, *, at_once: bool = False) -> None:
        """The working loop went round once more."""
        with self._lock:
            if at_once or self._clock.monotonic() - self._written_at >= _WRITE_EVERY_S:
                self._write()

    def missing(self, what: str, sentence: str) -> None:
        """Something the work needs is away or refused us; told until `found`."""
        with self._lock:
            changed = self._notes.get(what) != sentence
            self._notes[what] = sentence
            if changed or self._clock.monotonic() - self._written_at >= _WRITE_EVERY_S:
                self._write()

    def found(self, what: str) -> None:
        """It is there (again)."""
        if what in self._notes:
            with self._lock:
                self._notes.pop(what, None)
                self._write()

    def tell(self, what: str, text: str) -> None:
        """Tell a fact with the next sign; an empty text takes it back."""
        with self._lock:
            if text:
                self._facts[what] = text
            else:
                self._facts.pop(what, None)

    def stopped(self, sentence: str) -> None:
        """The process ends because it cannot go on."""
        with self._lock:
            self._notes, self._state = {"stage": sentence}, LifeState.STOPPED
            self._write()
            self._closed = True

    def close(self) -> None:
        """The process ends as it was asked to: nothing is left behind."""
        with self._lock:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(OSError):
                    self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._closed:
            return
        if self._state is not LifeState.STOPPED:
            idle = LifeState.READY if self._ready else LifeState.STARTING
            self._state = LifeState.WAITING if self._notes else idle
        self._written_at = self._clock.monotonic()
        self._beats += 1
        sign = {
            "name": self.name,
            "stage": self._stage,
            "host": self._host,
            "pid": os.getpid(),
            "state": self._state,
            "notes": self._notes,
            "facts": self._facts,
            "at_ms": self._clock.now_ms(),
            "beats": self._beats,
        }
        fresh = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(sign))
            fresh.replace(self._file)


def read_signs(folder: Path) -> list[Sign]:
    """Return the last sign of every process, by name. A file that is no sign is passed over."""
    now_s = _file_system_now_s(folder)
    signs = []
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        sign = read_sign(file, now_s)
        if sign is not None:
            signs.append(sign)
    return signs


def read_sign(file: Path, now_s: float) -> Sign | None:
    """Return one process's last sign, None when there is none. `now_s` is the file system's time."""
    try:
        written_s = file.stat().st_mtime
        sign = msgspec.json.decode(file.read_bytes(), type=Sign)
    except (OSError, msgspec.DecodeError):
        return None
    return replace(sign, age_s=max(0.0, now_s - written_s), clock_ahead_s=sign.at_ms / 1000 - written_s)


def _file_system_now_s(folder: Path) -> float:
    """The time that the file system puts on files now; this machine's where nothing can be written."""
    probe = folder / f".now-{secrets.token_hex(4)}"
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        return time.time()


def _safe(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", host)[:60]
