"""Starts one process a stage, restarts what dies, stops them in the order of a call.

The supervisor opens the sockets of SIP, RTP and HTTP itself and hands them down, so that a stage that comes back
finds them as they were: packets that arrived meanwhile wait in the kernel's buffers.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from console.data_folder import DataFolder
from console.signs_of_life import PROCESS_VARIABLE, SILENT_AFTER_S, LifeState, read_sign
from events import metrics
from events.clock import Clock, SystemClock

logger = logging.getLogger(__name__)

READY_FD_VARIABLE = "CALLWARDEN_READY_FD"
Notes = Mapping[str, Sequence[str]]
"""What stands in the way of processes: their names, by the sentence that they say."""


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    first_restart_after_s: float = 0.1
    longest_restart_after_s: float = 10.0
    healthy_after_s: float = 30.0
    """A process that lived this long starts with the shortest delay again."""
    stop_within_s: float = 15.0
    """How long a process may take to stop by itself before it is killed."""
    silent_after_s: float = SILENT_AFTER_S
    """A process that has given no sign of life for so long is shown as down."""
    hung_after_s: float = 120.0
    """A process that has given no sign of life for so long is killed and started again."""

    def __post_init__(self) -> None:
        if not 2 <= self.silent_after_s <= self.hung_after_s:
            raise ValueError("silent_after_s must be at least 2 and not above hung_after_s.")
        if not 0 < self.first_restart_after_s <= self.longest_restart_after_s:
            raise ValueError("first_restart_after_s must be positive and not above longest_restart_after_s.")


@dataclass(frozen=True, slots=True)
class StageCommand:
    """How one process is started. `name` is the stage, with a number where there are several."""

    name: str
    stage: str
    argv: Sequence[str]
    pass_fds: Sequence[int] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    above_others: bool = False
    """Capture has priority over everything."""
    accepts: bool = False
    """It accepts calls or pages: the engine is not ready before it is."""


@dataclass(slots=True)
class _Child:
    command: StageCommand
    process: subprocess.Popen[bytes] | None = None
    ready_pipe: int | None = None
    ready: bool = False
    started_at: float = 0.0
    started_at_ms: int = 0
    restarts: int = 0
    failures_in_a_row: int = 0
    restart_at: float | None = None
    note: str = ""
    """What stands in its way, as it says."""
    beats: int = -1
    silent_s: float = 0.0
    """How long its sign of life has not changed while we looked."""


class Supervisor:
    """Runs the given stages until told to stop. One thread; `run` blocks."""

    def __init__(
        self,
        folder: DataFolder,
        commands: Sequence[StageCommand],
        settings: SupervisorSettings,
        *,
        clock: Clock | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock or SystemClock()
        self._children = [_Child(command) for command in commands]
        self.on_ready: Callable[[], None] = lambda: None
        self.on_notes: Callable[[Notes], None] = lambda notes: None
        """Called when what stands in the way of processes has changed."""
        self._told: Notes = {}
        self._looked_at = self._clock.monotonic()
        self._facts = dict(facts or {})
        self._announced = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask `run` to stop everything and return. Safe in a signal handler and from any thread."""
        self._stopping.set()
        os.write(self._wake_write, b"x")

    def pids(self) -> dict[str, int]:
        """Process ids of the stages that run now, by name."""
        return {
            child.command.name: child.process.pid
            for child in self._children
            if child.process and child.process.poll() is None
        }

    def run(self) -> None:
        """Start all, keep them alive until `stop`, then stop all."""
        try:
            for child in self._children:
                self._start(child)
            self._write_health()
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._stop_all()
            self._folder.health_file.unlink(missing_ok=True)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        delay = 1.0
        for child in self._children:
            if child.restart_at is not None:
                delay = min(delay, max(0.0, child.restart_at - now))
        handles: dict[int, _Child] = {}
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for child in self._children:
            if child.ready_pipe is not None:
                # The pipe says "ready" once and hangs up when the process ends: no waiting, no signal handler.
                handles[child.ready_pipe] = child
                poller.register(child.ready_pipe, select.POLLIN | select.POLLHUP)
        changed = False
        for handle, _ in poller.poll(delay * 1000):
            if handle == self._wake_read:
                os.read(self._wake_read, 4096)
                continue
            changed |= self._hear(handles[handle])
        now = self._clock.monotonic()
        for child in self._children:
            if child.restart_at is not None and child.restart_at <= now and not self._stopping.is_set():
                child.restart_at = None
                self._start(child)
                changed = True
        changed |= self._look_at_signs()
        if changed:
            self._write_health()
            self._announce()

    def _announce(self) -> None:
        """Say once that the engine is at work: all processes are, or have said what keeps them from it."""
        settled = all(child.ready or child.note for child in self._children)
        must = [child for child in self._children if child.command.accepts]
        if not self._announced and settled and all(child.ready for child in must):
            self._announced = True
            self.on_ready()
        if not self._announced and not settled:
            return
        notes: dict[str, list[str]] = {}
        for child in self._children:
            if child.note:
                notes.setdefault(child.note, []).append(child.command.name)
        if notes != self._told:
            self._told = notes
            self.on_notes(notes)

    def _look_at_signs(self) -> bool:
        """Take in what processes tell of themselves; end those that hang. Return whether anything changed."""
        now = self._clock.monotonic()
        if now - self._looked_at < 0.5:
            return False
        # When we were stopped ourselves, the others were not silent for all of that time.
        passed_s, self._looked_at = min(now - self._looked_at, 2.0), now
        changed = False
        for child in self._children:
            sign = read_sign(self._folder.processes / f"{child.command.name}.json", 0.0)
            if child.process is None or child.ready_pipe is None or sign is None or sign.pid != child.process.pid:
                continue
            if sign.note != child.note:
                child.note, changed = sign.note, True
            alive = sign.beats != child.beats or sign.state is LifeState.STARTING
            child.beats = sign.beats
            child.silent_s = 0.0 if alive else child.silent_s + passed_s
            if child.silent_s >= self._settings.hung_after_s:
                logger.warning(
                    "The process %s has given no sign of life for %.0f s and is killed.",
                    child.command.name,
                    child.silent_s,
                )
                child.silent_s = 0.0
                child.process.kill()
        return changed

    def _hear(self, child: _Child) -> bool:
        assert child.ready_pipe is not None
        said = os.read(child.ready_pipe, 64)
        if said:
            child.ready = True
            return True
        os.close(child.ready_pipe)
        child.ready_pipe = None
        assert child.process is not None
        code = child.process.wait()
        last = read_sign(self._folder.processes / f"{child.command.name}.json", 0.0)
        told = last is not None and last.pid == child.process.pid and last.state is LifeState.STOPPED
        child.note = last.note if told and last is not None else ""
        lived = self._clock.monotonic() - child.started_at
        child.failures_in_a_row = 1 if lived >= self._settings.healthy_after_s else child.failures_in_a_row + 1
        delay = min(
            self._settings.first_restart_after_s * 2 ** (child.failures_in_a_row - 1),
            self._settings.longest_restart_after_s,
        )
        child.ready = False
        child.restarts += 1
        child.restart_at = self._clock.monotonic() + delay
        metrics.count(metrics.STAGE_RESTARTS, stage=child.command.stage)
        logger.warning(
            "The process %s ended (%s) and is started again in %.1f s.", child.command.name, _how(code), delay
        )
        return True

    def _start(self, child: _Child) -> None:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        environment = {
            **os.environ,
            **child.command.environment,
            READY_FD_VARIABLE: str(theirs),
            PROCESS_VARIABLE: child.command.name,
        }
        output = open(self._folder.logs / f"{child.command.name}.log", "ab")  # noqa: SIM115 (handed down)
        try:
            child.process = subprocess.Popen(
                list(child.command.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=(*child.command.pass_fds, theirs),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid(), above_others=child.command.above_others),
            )
        finally:
            os.close(theirs)
            output.close()
        child.ready_pipe = ours
        child.beats, child.silent_s = -1, 0.0
        child.started_at = self._clock.monotonic()
        child.started_at_ms = self._clock.now_ms()

    def _stop_all(self) -> None:
        deadline = self._clock.monotonic() + self._settings.stop_within_s
        for child in self._children:
            if child.process and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("The process %s did not stop by itself and was killed.", child.command.name)
                child.process.kill()
                child.process.wait()
            if child.ready_pipe is not None:
                os.close(child.ready_pipe)
                child.ready_pipe = None

    def _write_health(self) -> None:
        health = {
            **self._facts,
            "pid": os.getpid(),
            "stages": {
                child.command.name: {
                    "state": _state(child),
                    "note": child.note,
                    "pid": child.process.pid if child.process else None,
                    "restarts": child.restarts,
                    "started_at_ms": child.started_at_ms,
                }
                for child in self._children
            },
        }
        _write_atomically(self._folder.health_file, json.dumps(health))


def _state(child: _Child) -> str:
    if child.ready:
        return "ready"
    if child.restart_at is not None:
        return "restarting"
    return "waiting" if child.note else "starting"


def _write_atomically(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    try:
        draft.write_text(text)
        draft.replace(path)
    except OSError:
        # A full disk must not end the engine because its health page cannot be written.
        logger.warning("The health file cannot be written.")


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with(parent: int, *, above_others: bool) -> Callable[[], None]:
    """Return a hook for the child: it is killed when the supervisor is, so that nothing runs on unsupervised."""

    def hook() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        try:
            if above_others:
                os.setpriority(os.PRIO_PROCESS, 0, -10)
            else:
                os.nice(5)
        except OSError:
            pass  # only root may raise a priority; a lower one for the others has the same effect

    return hook


def is_supervised() -> bool:
    """Whether a supervisor started this process."""
    return READY_FD_VARIABLE in os.environ


def say_ready() -> None:
    """Tell the supervisor, if there is one, that this process is at work."""
    handle = os.environ.get(READY_FD_VARIABLE)
    if handle is not None:
        os.write(int(handle), b"ready")


def stage_argv(stage: str, folder: DataFolder, config: Path | None) -> list[str]:
    """Return the command line of one stage's process, the same that containers use."""
    argv = [sys.executable, "-m", "console.cli", "run", stage, "--data", str(folder.root)]
    if config is not None:
        argv += ["--config", str(config.absolute())]
    return argv
