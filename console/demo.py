"""The demo: a whole engine, a call placed into it over real SIP and RTP, and what happens shown as it happens."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.console import Group as RichGroup
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from console.call_view import ROLE_STYLES, SEVERITY_STYLES, clock, words_as_text
from console.data_folder import DataFolder
from console.engine import Engine
from console.http_socket import AddressInUse
from console.settings import Settings
from console.users import UserRole
from console.wiring import Wiring
from events import topics
from events.audio import Encoding
from events.audit_entry import Action
from events.call_document import CallDocument, CallState
from events.codec import Record
from events.errors import CallwardenError
from events.finding import Alert, Finding
from events.identity import CallId
from events.lifecycle import CallEnded, CallStarted, LegAdded
from events.log import EventLog, Group, StartAt
from events.recording import RecordingKept
from events.transcript import CallTranscriptEnded, RedactedSegment
from indexer.index import CallQuery, SearchPage
from telephony.caller import Caller, Party

_TOPICS: Final = (
    topics.CALL_LIFECYCLE,
    topics.TRANSCRIPT_PARTIAL,
    topics.TRANSCRIPT_REDACTED,
    topics.FINDING,
    topics.ALERT,
    topics.CALL_RECORDING,
)
_COMPLETE_WITHIN_S: Final = 60.0
"""After the call has ended."""

_START_WITHIN_S: Final = 240.0
_PURPOSES: Final = {
    UserRole.OFFICER: "search calls, read and hear them",
    UserRole.SUPERVISOR: "follow calls live, acknowledge alerts",
    UserRole.AUDITOR: "review and verify the access log",
    UserRole.ADMINISTRATOR: "keep users and the engine",
}


class DemoFailed(CallwardenError):
    """The demo call did not come out as it must."""


@dataclass(frozen=True, slots=True)
class DemoCall:
    """The committed speech of the demo call and what must come of it."""

    agent: bytes
    """G.711 mu-law payload at 8 kHz."""
    customer: bytes
    search: str
    findings: frozenset[str]
    redactions: frozenset[str]


def load_demo_call() -> DemoCall:
    folder = files("console") / "demo_call"
    dialogue: dict[str, Any] = yaml.safe_load((folder / "dialogue.yaml").read_text())
    expected = dialogue["expected"]
    return DemoCall(
        _payload((folder / "agent.wav").read_bytes()),
        _payload((folder / "customer.wav").read_bytes()),
        expected["search"],
        frozenset(expected["findings"]),
        frozenset(expected["redactions"]),
    )


def _payload(wav: bytes) -> bytes:
    """The data chunk of one of our own two files (RIFF, format 7)."""
    place = wav.index(b"data")
    length = int.from_bytes(wav[place + 4 : place + 8], "little")
    return wav[place + 8 : place + 8 + length]


class Narrator:
    """Tells in a terminal what the topics say, one line an event, the words being spoken in the last line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()
        self.call: CallId | None = None
        self.ended = False
        self.transcript_ended = False

    def tell(self, record: Record) -> None:
        """Tell one record. Records come at least once; each is told once."""
        match record:
            case CallStarted():
                self.call = record.call
                self._line("capture", f"call {record.call[:8]} started ({record.source.value})")
            case LegAdded():
                verified = "role from metadata" if record.role_verified else "role guessed"
                self._line("capture", f"leg {record.leg}: {record.role.value}, {record.encoding}, {verified}")
            case CallEnded():
                self.ended = True
                lost = sum(leg.lost for leg in record.legs)
                packets = sum(leg.packets for leg in record.legs)
                self._line(
                    "capture", f"call ended after {clock(record.duration_ms)}: {packets} packets, {lost} lost"
                )
            case RedactedSegment(status="partial"):
                pass
            case RedactedSegment():
                self._segment(record)
            case CallTranscriptEnded():
                self.transcript_ended = True
                self._line("redaction", "the transcript is complete")
            case Finding():
                style = SEVERITY_STYLES[record.severity]
                self._line("rules", f"{record.rule}: {record.why}", style)
            case Alert():
                self._line("alerts", f"ALERT {record.title}", "bold white on red")
            case RecordingKept():
                self._line(
                    "archive",
                    f"recording kept: {clock(record.duration_ms)}, {record.bleeped_ms / 1000:.1f} s bleeped, "
                    "encrypted; the key of the raw audio is destroyed",
                )
            case _:
                pass

    def say(self, stage: str, text: str, style: str = "") -> None:
        self._line(stage, text, style)

    def _segment(self, segment: RedactedSegment) -> None:
        line = Text(f"{clock(segment.start_ms):>5}  ", style="dim")
        line.append(f"{segment.role.value:<9} ", style=f"bold {ROLE_STYLES[segment.role]}")
        line.append_text(words_as_text(segment.words, ROLE_STYLES[segment.role]))
        key = f"{segment.id}:{segment.revision}"
        if key not in self._told:
            self._told.add(key)
            self._console.print(line)

    def _line(self, stage: str, text: str, style: str = "") -> None:
        line = Text(f"{stage:>9}  ", style="dim")
        line.append(text, style=style)
        if line.plain not in self._told:
            self._told.add(line.plain)
            self._console.print(line)

    def call_ended(self) -> bool:
        return self.ended and self.transcript_ended


class Listener:
    """Reads the topics from now on, in a thread, and hands records to a narrator."""

    def __init__(self, wiring: Wiring, narrator: Narrator) -> None:
        self._wiring = wiring
        self._narrator = narrator
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def start(self) -> None:
        """Return once nothing that is written from now on can be missed."""
        self._thread.start()
        self._listening.wait()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _listen(self) -> None:
        log: EventLog = self._wiring.new_log()
        group = Group(f"demo-{secrets.token_hex(4)}", StartAt.LAST)
        try:
            log.read(_TOPICS, group, 1, 0.0)
            self._listening.set()
            while not self._stop.is_set():
                for delivery in log.read(_TOPICS, group, 200, 0.2):
                    self._narrator.tell(self._wiring.sealer.record(delivery.topic, delivery.event))
        finally:
            self._listening.set()
            log.close()


class Demo:
    """One run of the demo on a data folder."""

    def __init__(
        self, folder: DataFolder, settings: Settings, console: Console, http: tuple[str, int] | None
    ) -> None:
        self._console = console
        self._folder = folder
        self._settings = replace(
            settings,
            sockets=replace(settings.sockets, sip_host="127.0.0.1", sip_port=0, rtp_first_port=0, legs=16),
        )
        self._wiring = Wiring(folder, self._settings)
        self._call = load_demo_call()
        self._engine = self._open_engine(http)
        self._narrator = Narrator(console)
        self._stop = threading.Event()
        self._ready = threading.Event()

    def run(self, once: bool) -> None:
        """Run the demo; with `once` it ends by itself, otherwise the engine goes on until `stop`.

        Raises
        ------
        DemoFailed
            The call did not come out as it must.
        """
        thread = threading.Thread(target=self._engine.run, args=(self._ready.set,), name="engine")
        thread.start()
        try:
            self._wait_until_ready()
            log_ins = self._add_users()
            if not self._stop.is_set():
                self._place_call()
            failures = self._check() if not self._stop.is_set() else []
            if not once and not self._stop.is_set():
                self._console.print(self._invitation(log_ins))
                self._stop.wait()
            if failures:
                raise DemoFailed(f"The demo call did not come out as it must: {'; '.join(failures)}.")
        finally:
            self._engine.stop()
            thread.join()
            self._wiring.close()

    def stop(self) -> None:
        self._stop.set()

    def _open_engine(self, http: tuple[str, int] | None) -> Engine:
        folder, settings = self._folder, self._settings
        if http is not None:
            return Engine(folder, settings, None, http=http)
        try:
            return Engine(folder, settings, None)
        except AddressInUse:
            # Somebody else has the usual port: the demo takes any.
            return Engine(folder, settings, None, http=(settings.engine.http_host, 0))

    def _wait_until_ready(self) -> None:
        started = time.monotonic()
        with self._console.status(
            "Starting the engine: capture, recogniser, redaction, rules, alerts, archive ..."
        ):
            while not self._ready.wait(0.1) and not self._stop.is_set():
                if time.monotonic() - started > _START_WITHIN_S:
                    raise DemoFailed(f"The engine did not start; its logs are in {self._folder.logs}.")
        self._narrator.say(
            "engine",
            f"ready after {time.monotonic() - started:.0f} s: SIP at {self._engine.sip_address}, "
            f"pages at http://{self._engine.http_address}",
            "bold",
        )

    def _add_users(self) -> list[tuple[str, str, str]]:
        recorder = self._wiring.audit_recorder("demo")
        log_ins = []
        for role in UserRole:
            password = "-".join(secrets.token_hex(2) for _ in range(3))
            name = f"demo-{role.value}"
            recorder.record("demo", "operator", Action.USER_ADDED, name, reason=f"role {role.value}")
            self._wiring.users.add(name, role, password)
            log_ins.append((name, password, _PURPOSES[role]))
        return log_ins

    def _place_call(self) -> None:
        call = self._call
        listener = Listener(self._wiring, self._narrator)
        listener.start()
        host, _, port = self._engine.sip_address.rpartition(":")
        self._narrator.say(
            "caller", "placing a SIPREC call of two parties over SIP and RTP; real time, about 70 s"
        )
        caller = Caller((host, int(port)), transport="tcp")
        parties = (
            Party("Robert", "sip:robert@agents.example.com", "agent"),
            Party("", "sip:caller@customers.example.com", "customer"),
        )
        try:
            with caller.call(
                (Encoding.PCMU, Encoding.PCMU), parties=parties, from_uri="sip:sbc@example.com"
            ) as placed:
                placed.send((call.agent, call.customer), self._stop)
            self._wait_until_complete()
        finally:
            caller.close()
            listener.stop()

    def _wait_until_complete(self) -> None:
        deadline = time.monotonic() + _COMPLETE_WITHIN_S
        while time.monotonic() < deadline and not self._stop.wait(0.1):
            document = self._document()
            if document is not None and document.state is CallState.COMPLETE:
                return

    def _document(self) -> CallDocument | None:
        call = self._narrator.call
        return self._wiring.index.get(call) if call is not None else None

    def _check(self) -> list[str]:
        """Search for the call as an officer would, and compare what was found with what must be."""
        recorder = self._wiring.audit_recorder("demo")
        recorder.record("demo", "operator", Action.SEARCH, "index", detail=self._call.search)
        page: SearchPage = self._wiring.index.search(CallQuery(text=self._call.search))
        document = self._document()
        checks: list[tuple[str, bool]] = [
            ("the call is complete", document is not None and document.state is CallState.COMPLETE),
            (
                f"found by search for {self._call.search}",
                any(h.summary.call == self._narrator.call for h in page.hits),
            ),
        ]
        found = {finding.rule for finding in document.findings} if document else set()
        kinds = {span.kind.value for s in document.segments for span in s.spans} if document else set()
        checks += [(f"finding {rule}", rule in found) for rule in sorted(self._call.findings)]
        checks += [
            (f"redacted: {kind.replace('_', ' ')}", kind in kinds) for kind in sorted(self._call.redactions)
        ]
        table = Table.grid(padding=(0, 1))
        for name, good in checks:
            table.add_row(Text("yes", "green") if good else Text("NO", "bold red"), name)
        self._console.print(Panel(table, title="What must come of the call", title_align="left", expand=False))
        return [f"not so: {name}" for name, good in checks if not good]

    def _invitation(self, log_ins: list[tuple[str, str, str]]) -> Panel:
        table = Table("log in as", "password", "to", box=None, pad_edge=False)
        for row in log_ins:
            table.add_row(*row)
        address = Text(f"http://{self._engine.http_address}", "bold underline")
        return Panel(
            RichGroup(Text("Open "), address, table),
            title="The console",
            subtitle="Ctrl-C stops the engine",
            expand=False,
            title_align="left",
        )


def run_demo(
    data: Path | None, settings: Settings, console: Console, http: tuple[str, int] | None, once: bool
) -> None:
    """Run the demo on `data`, or on a folder of its own that is removed at the end."""
    with _folder(data) as root:
        demo = Demo(DataFolder.at(root), settings, console, http)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: demo.stop())
        demo.run(once)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    made = Path(tempfile.mkdtemp(prefix="callwarden-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
