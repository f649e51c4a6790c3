"""The demo: a whole engine, a call placed into it over real SIP and RTP, and what happens shown as it happens."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import yaml
from rich.console import Console
from rich.text import Text

from console.call_view import ROLE_STYLES, SEVERITY_STYLES, clock, words_as_text
from console.wiring import Wiring
from events import topics
from events.codec import Record
from events.errors import CallwardenError
from events.finding import Alert, Finding
from events.identity import CallId
from events.lifecycle import CallEnded, CallStarted, LegAdded
from events.log import EventLog, Group, StartAt
from events.recording import RecordingKept
from events.transcript import CallTranscriptEnded, RedactedSegment

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
                    f"recording kept: {clock(record.duration_ms)}, {record.bleeped_ms / 1000:.1f} s bleeped, encrypted; "
                    "the key of the raw audio is destroyed",
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
