"""A whole engine for tests: `callwarden up` as a process of its own on free loopback ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent


def until(look: Callable[[], T | None], what: str, within_s: float = 60.0) -> T:
    """Look again and again until there is an answer; fail with `what` was awaited."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {within_s:g} s: {what}.")
        pause.wait(0.05)


@dataclass
class RunningEngine:
    """An engine that accepts calls and pages."""

    data: Path
    process: subprocess.Popen[str]
    sip: tuple[str, int]
    http: str
    errors: list[str] = field(default_factory=list)
    """Lines of its standard error so far."""

    def health(self) -> dict[str, object]:
        """What the supervisor says of its processes."""
        return dict(json.loads((self.data / "run" / "health.json").read_text()))

    def stages(self) -> dict[str, dict[str, object]]:
        return dict(self.health()["stages"])  # type: ignore[call-overload]

    def pid(self, stage: str) -> int:
        return int(self.stages()[stage]["pid"])  # type: ignore[call-overload]

    def kill(self, stage: str) -> None:
        """kill -9 the stage's process, and return when its successor is at work."""
        before = self.stages()[stage]
        os.kill(self.pid(stage), signal.SIGKILL)
        until(
            lambda: self.stages()[stage]["pid"] != before["pid"] and self.stages()[stage]["state"] == "ready",
            f"{stage} comes back",
        )

    def healthz(self) -> dict[str, Any]:
        """What the console says of the engine, whatever its status code."""
        try:
            return dict(json.loads(self.page("/healthz")))
        except urllib.error.HTTPError as error:
            return dict(json.loads(error.read()))

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
            return str(answer.read().decode())


@contextmanager
def running_engine(
    data: Path, *, config: Path | None = None, environment: dict[str, str] | None = None, more: Sequence[str] = ()
) -> Iterator[RunningEngine]:
    """Start `callwarden up` and yield it once it printed that it is ready; stop it at the end."""
    argv = [sys.executable, "-m", "console.cli", "up", "--data", str(data)]
    argv += ["--sip", "127.0.0.1:0", "--http", "127.0.0.1:0", *more]
    if config is not None:
        argv += ["--config", str(config)]
    settings = {"CALLWARDEN_SOCKETS__RTP_FIRST_PORT": "0", "CALLWARDEN_SOCKETS__LEGS": "16"}
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **settings, **(environment or {})},
    )
    errors: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    stderr = process.stderr
    reader = threading.Thread(target=lambda: errors.extend(stderr), daemon=True)
    reader.start()
    killer = threading.Timer(150, process.kill)  # a start that hangs ends as a failure, not as a hang
    killer.start()
    line = process.stdout.readline()
    killer.cancel()
    if not line.startswith("ready "):
        process.kill()
        process.wait()
        reader.join()
        logs = {file.name: file.read_text()[-2000:] for file in (data / "logs").glob("*.log")}
        raise AssertionError(f"The engine did not come up: {''.join(errors)} {logs}")
    said = dict(part.split("=", 1) for part in line.split()[1:])
    host, _, port = said["sip"].rpartition(":")
    try:
        yield RunningEngine(data, process, (host, int(port)), said["http"], errors)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
